# SPDX-License-Identifier: GPL-3.0-or-later
"""A zip file with the names and headers of python.org's embeddable package for Windows, and no Python in it."""

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["embeddable"]

PROGRAM = b"MZ" + b"\0" * 58 + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", 0x8664) + b"\0" * 64


def embeddable(path: Path, *, version: int = 12, without: Sequence[str] = (), program: bytes = PROGRAM) -> Path:
    """`path`, written; `version` is the 12 of Python 3.12."""
    names = ["python.exe", f"python3{version}.dll", f"python3{version}.zip", f"python3{version}._pth", "python3.dll"]
    names += ["_ctypes.pyd", "_socket.pyd", "_ssl.pyd", "select.pyd", "vcruntime140.dll"]
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            if name not in without:
                archive.writestr(name, program if name == "python.exe" else b"not here")
    return path
