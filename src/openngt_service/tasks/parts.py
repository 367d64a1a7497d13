# SPDX-License-Identifier: GPL-3.0-or-later
"""What a piece of work is given."""

import datetime
from dataclasses import dataclass

from ..config import Settings
from ..ports import CertificateKind, GatewayPort
from ..store.opening import Store
from ..store.registry import Vm, not_enrolled
from .discs import Discs
from .engine import TaskEngine
from .hypervisor import PatientHypervisor
from .media import Media

__all__ = ["Parts"]


@dataclass(frozen=True)
class Parts:
    settings: Settings
    store: Store
    hypervisor: PatientHypervisor
    media: Media
    discs: Discs
    gateway: GatewayPort
    engine: TaskEngine

    def enrolled(self, vm_uuid: str) -> Vm:
        """The VM's row as it is now; NOT_ENROLLED when it has been disabled since."""
        vm = self.store.registry.get(vm_uuid)
        if vm is None:
            raise not_enrolled(vm_uuid)
        return vm

    def lifetime(self, kind: CertificateKind, now: datetime.datetime, days: int | None = None) -> datetime.timedelta:
        """How long a certificate of this kind lives: what the settings say, but never longer than its CA.

        `days` stands in for the setting `validity_days`.
        """
        life = datetime.timedelta(days=self.settings.validity_days if days is None else days)
        if kind == "bootstrap" and self.settings.bootstrap_hours:
            life = datetime.timedelta(hours=self.settings.bootstrap_hours)
        # An expired CA is left for the library to name.
        left = (self.store.ledger.authority.not_after - now) // datetime.timedelta(seconds=1)
        return min(life, datetime.timedelta(seconds=left)) if left > 0 else life
