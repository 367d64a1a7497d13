# SPDX-License-Identifier: GPL-3.0-or-later
"""The ISO files of the service: one template for each kind, one file a VM, named by its UUID."""

import datetime
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openngt.errors import OpenNGTError
from openngt.iso.layout import CONFIG
from openngt.iso.manifest import Upgrade
from openngt.iso.payload import config_payload, tools_payload
from openngt.iso.template import Template, ensure_template
from openngt.iso.tools_iso import Cluster, Unsigned, prepare, write_iso
from openngt.iso.tools_iso import Vm as IsoVm
from openngt.version import __version__

from ..config import Settings
from ..store.registry import Vm
from .iso_folder import IsoFolder

__all__ = ["Media", "PreparedIso"]

SPARE_BYTES = 64 * 1024 * 1024
"""Left free on the ISO's file system, which the database may share."""


@dataclass(frozen=True)
class PreparedIso:
    template: Template
    unsigned: Unsigned
    path: Path

    @property
    def manifest_sha256(self) -> str:
        """What the certificate has to carry."""
        return self.unsigned.manifest_sha256


class Media(IsoFolder):
    """Tools ISOs. A kind's template is made once, and each VM's ISO is written from it."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        super().__init__(settings.iso_directory)
        self.cluster = cluster
        self._extras = settings.payload_extras
        self._windows_python = settings.inspect_windows_python()
        self._label = settings.iso_label
        self._templates: dict[bool, Template] = {}

    def describe(self) -> dict[str, Any]:
        """What tools ISOs carry, for those who install from them."""
        python = self._windows_python
        return {"agent_version": __version__, "windows_python": None if python is None else python.to_dict()}

    async def prepare(
        self,
        vm: Vm,
        *,
        generation: int,
        created: datetime.datetime,
        expires: datetime.datetime,
        config_only: bool,
        upgrade: Upgrade | None = None,
    ) -> PreparedIso:
        """All of the VM's ISO but its certificate, in memory. NO_SPACE before anything is signed."""
        template = await self._template(config_only)
        await self._on_disk(self._require_space, template.size)
        iso_vm = IsoVm(vm.vm_uuid, vm.vm_name, vm.ngt_uuid, vm.capabilities.to_dict())
        unsigned = prepare(
            template,
            iso_vm,
            self.cluster,
            generation=generation,
            created=created,
            expires=expires,
            upgrade=upgrade,
        )
        return PreparedIso(template, unsigned, self.path(vm.vm_uuid))

    async def write(self, iso: PreparedIso, client_pem: bytes) -> None:
        """Put the ISO under its name, complete or not at all."""
        try:
            await self._on_disk(write_iso, iso.template, iso.unsigned, client_pem, iso.path)
        except OpenNGTError:
            self._templates.clear()  # a template that was damaged on the disk is made again next time
            raise

    async def guest_config(
        self, vm: Vm, *, generation: int, created: datetime.datetime, expires: datetime.datetime
    ) -> dict[str, Any]:
        """What `config/ngt_config.json` would say on an ISO of this generation."""
        iso = await self.prepare(vm, generation=generation, created=created, expires=expires, config_only=True)
        config: dict[str, Any] = json.loads(iso.unsigned.slots[CONFIG])
        return config

    async def _template(self, config_only: bool) -> Template:
        known = self._templates.get(config_only)
        if known is None:
            known = self._templates[config_only] = await self._on_disk(self._ensure, config_only)
        return known

    def _ensure(self, config_only: bool) -> Template:
        folder = self.folder / "templates"
        self._make()
        if config_only:
            return ensure_template(folder, config_payload(), kind="config", label=self._label)
        return ensure_template(
            folder, tools_payload(self._extras, self._windows_python), kind="tools", label=self._label
        )

    def _require_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed + SPARE_BYTES:
            raise OpenNGTError(
                "NO_SPACE",
                f"{self.folder}: {free >> 20} MiB are free, an ISO needs {(needed + SPARE_BYTES) >> 20} MiB",
                {"path": str(self.folder)},
            )
