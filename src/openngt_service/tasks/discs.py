# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of customization discs: one a VM, 0600, named by its UUID, there for no longer than the disc is needed."""

from openngt.customization.authoring import write_media
from openngt.customization.model import Media

from .iso_folder import IsoFolder

__all__ = ["Discs"]


class Discs(IsoFolder):
    """Customization discs."""

    async def write(self, vm_uuid: str, media: Media) -> None:
        """Put the disc under its name, complete or not at all. ISO_TOO_LARGE, NO_SPACE, …"""
        await self._on_disk(self._write, vm_uuid, media)

    def _write(self, vm_uuid: str, media: Media) -> None:
        self._make()
        write_media(media, str(self.path(vm_uuid)))
