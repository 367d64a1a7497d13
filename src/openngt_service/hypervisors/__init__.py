# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapters by name. A new one is a file beside `qemu.py` and a line in ADAPTERS."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from openngt.errors import OpenNGTError

from .base import Hypervisor
from .qemu import QemuHypervisor

__all__ = ["ADAPTERS", "HypervisorSettings", "open_hypervisor"]


class HypervisorSettings(Protocol):
    """What the adapters read of the service's settings."""

    @property
    def hypervisor(self) -> str: ...

    @property
    def qemu_directory(self) -> Path: ...


ADAPTERS: dict[str, Callable[[HypervisorSettings], Hypervisor]] = {
    "qemu": lambda settings: QemuHypervisor(settings.qemu_directory),
}


def open_hypervisor(settings: HypervisorSettings) -> Hypervisor:
    """The adapter that the settings name; CONFIG_INVALID lists the known names."""
    factory = ADAPTERS.get(settings.hypervisor)
    if factory is None:
        known = ", ".join(sorted(ADAPTERS))
        raise OpenNGTError("CONFIG_INVALID", f"hypervisor: {settings.hypervisor!r} is unknown; known: {known}")
    return factory(settings)
