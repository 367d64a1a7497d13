# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's guest image as a tree to run commands in, with neither kernel nor systemd of its own; see nspawn.sh."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openngt.effects import Finished, run
from openngt_service.lab.image import Image

from .systemd_host import as_root, end, privileged

__all__ = ["ImageRoot", "image_root"]


@dataclass(frozen=True)
class ImageRoot:
    """What is written into it is gone with it. `packages` is at /mnt in it."""

    folder: Path
    pid: str

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    def inside(self, command: str) -> Finished:
        return self.beside(["chroot", str(self.folder / "root"), "sh", "-c", f"exec 2>&1; {command}"])

    def beside(self, command: Sequence[str]) -> Finished:
        """A program of this machine that is told where the tree is: FOLDER/root."""
        return run([*as_root(), "nsenter", f"--target={self.pid}", "--mount", *command], timeout=300)

    def say(self, command: str) -> str:
        """What a command inside prints that has to succeed."""
        done = self.inside(command)
        assert done.returncode == 0, done
        return done.stdout.strip()


@contextlib.contextmanager
def image_root(image: Image, folder: Path) -> Iterator[ImageRoot]:
    (folder / "packages").mkdir()
    process = subprocess.Popen(
        privileged("hold", image, folder), stdout=subprocess.PIPE, start_new_session=True, text=False
    )
    try:
        assert process.stdout is not None
        pid = process.stdout.readline().decode().strip()
        assert pid, "the tree was not mounted"
        yield ImageRoot(folder, pid)
    finally:
        end(process)
