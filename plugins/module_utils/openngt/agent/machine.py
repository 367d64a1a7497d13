# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What this VM is called by its hypervisor."""

from typing import Optional

from .certificate import UUID
from .files import read_text
from .paths import Paths

__all__ = ["vm_uuid"]

# SMBIOS; device tree (no SMBIOS on some ARM and POWER machines).
SOURCES = ("sys/class/dmi/id/product_uuid", "proc/device-tree/vm,uuid")


def vm_uuid(paths: Paths) -> Optional[str]:
    """The VM's UUID in lower case as its firmware gives it; None where there is none or root is needed to read it."""
    for source in SOURCES:
        text = (read_text(paths.at(source)) or "").strip(" \n\0").lower()
        if UUID.fullmatch(text):
            return text
    return None
