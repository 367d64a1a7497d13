# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of the service's ISO files: one file a VM, named by its UUID."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from openngt import effects
from openngt.iso.tools_iso import sweep

__all__ = ["IsoFolder", "vm_of_iso"]

P = ParamSpec("P")
T = TypeVar("T")

FILE_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.iso")


def vm_of_iso(folder: Path, holds: str | None) -> str | None:
    """The VM whose ISO of ours this medium is; None for anybody else's medium, which is nobody's business here."""
    if holds is None:
        return None
    path = Path(holds)
    match = FILE_NAME.fullmatch(path.name)
    return match[1] if match is not None and path.parent == folder else None


class IsoFolder:
    """Blocking file work is done in threads. What the system says about files is raised by its code (`file_errors`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, vm_uuid: str) -> Path:
        return self.folder / f"{vm_uuid}.iso"

    async def remove(self, vm_uuid: str) -> bool:
        """Delete the VM's ISO file; False when there is none."""
        return await self._on_disk(self._remove, vm_uuid)

    async def of_vms(self) -> set[str]:
        """The VMs that have an ISO file."""
        return await self._on_disk(self._of_vms)

    async def sweep(self) -> None:
        """Remove unfinished files whose writer was killed; safe beside living writers."""
        await self._on_disk(self._sweep)

    async def _on_disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with effects.file_errors(str(self.folder)):
            return await asyncio.to_thread(work, *args, **kwargs)

    def _make(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _remove(self, vm_uuid: str) -> bool:
        try:
            self.path(vm_uuid).unlink()
        except FileNotFoundError:
            return False
        return True

    def _of_vms(self) -> set[str]:
        if not self.folder.is_dir():
            return set()
        matches = (FILE_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return {match[1] for match in matches if match is not None}

    def _sweep(self) -> None:
        if self.folder.is_dir():
            sweep(self.folder)
