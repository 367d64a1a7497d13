# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file of the library that imports `pycdlib`.

Where the package is missing, importing this file still works, so that a module can answer with LIBRARY_MISSING instead
of a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from ..errors import OpenNGTError

try:
    import pycdlib
    from pycdlib.pycdlibexception import PyCdlibException
except ImportError as exc:
    MISSING: ImportError | None = exc
else:
    MISSING = None

__all__ = ["Entry", "master"]


@dataclass(frozen=True)
class Entry:
    """A folder, or with `content` and `size` a file; the two names carry the whole path."""

    iso_path: str
    """As plain ISO 9660 has it: upper case, short, with `;1` for a file."""
    path: str
    """The real path, absolute."""
    mode: int
    content: BinaryIO | None = None
    size: int = 0


def master(stream: BinaryIO, entries: Iterable[Entry], *, label: str) -> None:
    """Write a volume with Joliet and Rock Ridge; a folder comes before what it holds.

    `content` is read from where it stands, when the volume is written. LIBRARY_MISSING; INVALID_INPUT for what cannot
    stand on such a volume. OSError passes.
    """
    if MISSING is not None:
        raise OpenNGTError(
            "LIBRARY_MISSING", f"the Python library pycdlib 1.14 or newer is needed: {MISSING}"
        ) from MISSING
    image = pycdlib.PyCdlib()
    try:
        image.new(interchange_level=3, vol_ident=label, joliet=3, rock_ridge="1.09")
        for entry in entries:
            name = entry.path.rpartition("/")[2]
            if entry.content is None:
                image.add_directory(entry.iso_path, name, entry.path, file_mode=entry.mode)
            else:
                image.add_fp(entry.content, entry.size, entry.iso_path, name, entry.path, file_mode=entry.mode)
        image.write_fp(stream, blocksize=1 << 20)
        image.close()
    except PyCdlibException as exc:
        raise OpenNGTError("INVALID_INPUT", f"the volume cannot be written: {exc}") from exc
