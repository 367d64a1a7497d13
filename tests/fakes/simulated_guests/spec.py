# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes one simulated guest different from the next; goes from the test to the hub as JSON."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["ADMIN", "PORT", "Spec"]

PORT = 2222
ADMIN = "admin"
"""Who logs in beside root; both have the guest's one password."""


@dataclass(frozen=True)
class Spec:
    name: str
    vm_uuid: str
    address: str
    password: str
    password_hash: str
    """As crypt(5) has it."""
    host_key: str
    """OpenSSH private key."""
    hypervisor: str
    """Path of the fake hypervisor's file: what its drives hold is what the guest's drives hold."""
    authorized_key: str = ""
    sudo: Literal["passwordless", "asks", "none"] = "passwordless"
    sshd: tuple[str, ...] = ()
    """Further lines of sshd_config, which win."""
    disk_mib: int = 0
    """Size of the disk; 0: a share of the one that all guests have together."""
    files: dict[str, str] = field(default_factory=dict)
    """Path -> text of a program that stands in the guest instead of what is there (mode 0755)."""
