# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM is to become at its first boot, and what is written for it on a CD-ROM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

__all__ = [
    "DATASOURCES",
    "FORMATS",
    "INSTALL_TYPES",
    "Customization",
    "Finding",
    "GuestFile",
    "Media",
    "MediaFile",
    "MediaVm",
    "Script",
]

Json = dict[str, Any]
FORMATS = ("cloud_init", "sysprep", "cloudbase_init")
DATASOURCES = ("nocloud", "config_drive")
INSTALL_TYPES = ("prepared", "fresh")
"""Of Windows, named as the original's API names them. `prepared`: Sysprep has generalized the image, its answers are
`unattend.xml`. `fresh`: Windows Setup runs from its own disc and reads `Autounattend.xml`.
"""


@dataclass(frozen=True)
class Script:
    """One part of the user-data, or an answer file. What kind it is stands in its first line, as cloud-init has it."""

    content: bytes
    name: str = ""
    """File name in a multi-part message, and in findings."""


@dataclass(frozen=True)
class GuestFile:
    """A file to copy into the guest."""

    path: str
    """Absolute, as the guest writes it."""
    content: bytes
    mode: str = "0644"
    owner: str = "root:root"
    """Not on Windows, as `mode`."""


@dataclass(frozen=True)
class Customization:
    format: Literal["cloud_init", "sysprep", "cloudbase_init"] = "cloud_init"
    scripts: tuple[Script, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """High-level options, from which a further part is built; `cloud_config` and `unattend` say which there are."""
    network: Mapping[str, Any] | None = None
    """Network config, version 2. None leaves the network to the guest."""
    files: tuple[GuestFile, ...] = ()
    datasource: Literal["nocloud", "config_drive"] = "nocloud"
    """Of cloud_init; cloudbase_init is given a config drive or NoCloud, too."""
    install_type: Literal["prepared", "fresh"] = "prepared"
    """Of sysprep."""
    instance_id: str | None = None
    """A guest that has seen it before does nothing. None: one that follows from the VM's UUID."""
    meta_data: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the datasource's meta-data."""


class Finding(NamedTuple):
    """Something in an input that is wrong or will not do what its author expects. It never holds a value."""

    severity: Literal["error", "warning"]
    code: str
    """Stable, upper case, as BAD_KEY; all of them stand in `findings.CODES`."""
    part: str
    """Which input: `options`, `network`, `meta_data`, `scripts[0]`, `files[2]`…, with its file name if it has one."""
    message: str
    remedy: str
    line: int | None = None
    """From 1."""
    key: str = ""
    """Dotted, as `users.0.ssh_authorized_keys`; in XML the path of element names."""

    def to_dict(self) -> Json:
        return self._asdict()


class MediaVm(NamedTuple):
    vm_uuid: str
    vm_name: str
    instance_id: str


class MediaFile(NamedTuple):
    path: str
    """On the disc, with `/` between names and none before the first."""
    content: bytes


@dataclass(frozen=True)
class Media:
    """What a CD-ROM holds. Its order is that of `files`."""

    label: str
    files: tuple[MediaFile, ...]
