# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of the agent, for images and templates: the same bytes for the same options, whoever builds them."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from openngt.effects import file_errors, replace_file
from openngt.errors import OpenNGTError
from openngt.version import __version__

from .contents import NAME, Contents, contents
from .deb import build_deb
from .rpm import build_rpm

__all__ = ["FORMATS", "build_packages"]

FORMATS: Final[Mapping[str, Callable[[Contents, Path], Path]]] = {"deb": build_deb, "rpm": build_rpm}
DATE: Final = 1767225600
"""2026-01-01: that of the agent's own archive, where SOURCE_DATE_EPOCH names no other."""


def build_packages(
    directory: Path, formats: Sequence[str], *, ca_sha256: str | None = None, revision: int = 1
) -> list[dict[str, Any]]:
    """Built, and put into the folder under their names; JSON values that describe each.

    INVALID_INPUT, COMMAND_NOT_FOUND (dpkg-deb, rpmbuild), COMMAND_FAILED, and those of files.
    """
    found = contents(ca_sha256, revision, _epoch(os.environ.get("SOURCE_DATE_EPOCH")))
    built = []
    with file_errors(str(directory)), tempfile.TemporaryDirectory(prefix="openngt-package-") as work:
        if not directory.is_dir():
            raise OpenNGTError("FILE_UNUSABLE", f"{directory}: no such folder", {"path": str(directory)})
        for form in formats:
            below = Path(work, form)
            below.mkdir()
            package = FORMATS[form](found, below)
            built.append((form, package.name, package.read_bytes()))
        # Only now: when one cannot be built, none is left.
        for _, name, data in built:
            replace_file(str(directory / name), data)
    return [
        {
            "path": str(directory / name),
            "format": form,
            "name": NAME,
            "version": f"{found.version}-{found.revision}",
            "agent_version": __version__,
            "first_disc": ca_sha256.strip().lower() if ca_sha256 else "any",
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        for form, name, data in built
    ]


def _epoch(text: str | None) -> int:
    if text is None:
        return DATE
    if not (text.isascii() and text.isdecimal()):
        raise OpenNGTError("INVALID_INPUT", "SOURCE_DATE_EPOCH: seconds since 1970", {"field": "SOURCE_DATE_EPOCH"})
    return int(text)
