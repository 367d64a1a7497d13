# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python that a tools ISO carries for Windows guests: python.org's embeddable package, which the user supplies."""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from ..effects import file_errors
from ..errors import OpenNGTError
from .layout import EXTRAS
from .manifest import FileEntry

__all__ = ["ON_ISO", "WindowsPython", "inspect_windows_python"]

ON_ISO = EXTRAS + "windows/python.zip"
OLDEST = (3, 8)
NEEDED = ("python.exe", "_ctypes.pyd", "_socket.pyd", "_ssl.pyd", "select.pyd")
"""What an agent cannot do without. The package of a full installation, and of another product, lacks some."""
LIBRARY = re.compile(r"python3(\d{1,2})\.dll")
MACHINES = {0x8664: "amd64", 0xAA64: "arm64", 0x014C: "win32"}
"""Of a program's PE header, by the names that python.org gives its packages."""


class WindowsPython(NamedTuple):
    path: Path
    entry: FileEntry
    """As it stands on the ISO."""
    version: str
    """`3.12`: of the package's library."""
    architecture: str
    """amd64, arm64 or win32."""

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "version": self.version,
            "architecture": self.architecture,
            "size": self.entry.size,
            "sha256": self.entry.sha256,
        }


def inspect_windows_python(path: Path) -> WindowsPython:
    """Judge the package and measure it; it is read once. INVALID_INPUT says what it lacks, naming `windows_python`."""
    with file_errors(str(path)):
        content = path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.lower() for name in archive.namelist()}
            missing = [name for name in NEEDED if name not in names]
            versions = [int(found[1]) for name in names if (found := LIBRARY.fullmatch(name))]
            if missing or not versions:
                wanted = ", ".join(missing) or "python3?.dll"
                raise _unfit(path, f"lacks {wanted}: take the *embeddable* package, not the installer or another zip")
            version = (3, max(versions))
            machine = _machine(archive.read("python.exe"))
    except (zipfile.BadZipFile, KeyError, RuntimeError, NotImplementedError) as exc:
        raise _unfit(path, f"cannot be read as a zip file: {exc}") from exc
    if version < OLDEST:
        raise _unfit(path, f"is Python {_dotted(version)}; {_dotted(OLDEST)} or newer is wanted")
    if machine is None:
        raise _unfit(path, "holds a python.exe that is no program of Windows")
    return WindowsPython(path, FileEntry.of(ON_ISO, content), _dotted(version), machine)


def _machine(program: bytes) -> str | None:
    """Of what processor a program is, by its PE header."""
    try:
        (header,) = struct.unpack_from("<I", program, 0x3C)
        signature, machine = struct.unpack_from("<4sH", program, header)
    except struct.error:
        return None
    return MACHINES.get(machine) if program[:2] == b"MZ" and signature == b"PE\0\0" else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _unfit(path: Path, why: str) -> OpenNGTError:
    return OpenNGTError("INVALID_INPUT", f"windows_python: {path} {why}", {"field": "windows_python"})
