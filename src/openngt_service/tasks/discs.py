# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of customization discs: one a VM, 0600, named by its UUID, there for no longer than the disc is needed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from openngt import effects
from openngt.customization.authoring import write_media
from openngt.customization.model import Media
from openngt.iso.tools_iso import sweep

from .media import FILE_NAME

__all__ = ["Discs"]

P = ParamSpec("P")
T = TypeVar("T")


class Discs:
    """Blocking file work is done in threads. What the system says about files is raised by its code (`file_errors`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, vm_uuid: str) -> Path:
        return self.folder / f"{vm_uuid}.iso"

    async def write(self, vm_uuid: str, media: Media) -> None:
        """Put the disc under its name, complete or not at all. ISO_TOO_LARGE, NO_SPACE, …"""
        await self._on_disk(self._write, vm_uuid, media)

    async def remove(self, vm_uuid: str) -> bool:
        """Delete the VM's disc; False when there is none."""
        return await self._on_disk(self._remove, vm_uuid)

    async def of_vms(self) -> set[str]:
        """The VMs that have a disc."""
        return await self._on_disk(self._of_vms)

    async def sweep(self) -> None:
        """Remove unfinished files whose writer was killed; safe beside living writers."""
        await self._on_disk(self._sweep)

    async def _on_disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with effects.file_errors(str(self.folder)):
            return await asyncio.to_thread(work, *args, **kwargs)

    def _write(self, vm_uuid: str, media: Media) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_media(media, str(self.path(vm_uuid)))

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
