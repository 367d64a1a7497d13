# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system of a few MiB that can be filled to its last byte: a real ENOSPC for whoever writes there."""

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["MAY_MOUNT", "SmallDisk"]

MAY_MOUNT = os.geteuid() == 0


class SmallDisk:
    """`with SmallDisk(folder, kib) as disk:` a tmpfs over the folder, which is made where it is missing."""

    def __init__(self, folder: Path, kib: int) -> None:
        self.folder = folder
        self._kib = kib
        self._ballast = folder / "ballast"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = f"size={self._kib}k,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Lazily: whoever still has a file open there is not this test's business.
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def fill(self) -> None:
        """Not a byte is left."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        ballast.write(b"\0" * size)
                except OSError:
                    continue

    def relieve(self) -> None:
        self._ballast.unlink()
