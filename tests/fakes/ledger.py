# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger in memory (LedgerPort), with the rules of the real one and without its durability."""

import dataclasses
import datetime

from openngt.errors import OpenNGTError
from openngt_service.ports import Accepted, CertificateKind, Refused, SerialState

__all__ = ["FakeLedger"]


class FakeLedger:
    def __init__(self) -> None:
        self.rows: dict[int, Accepted] = {}
        self.disabled: set[str] = set()
        self.promoted: list[int] = []
        self.broken = False
        """Makes `promote` fail as it does when the database is out of reach."""

    def add(
        self,
        serial: int,
        vm_uuid: str,
        ngt_uuid: str,
        *,
        generation: int = 1,
        kind: CertificateKind = "link",
        state: SerialState = "current",
    ) -> None:
        self.rows[serial] = Accepted(vm_uuid, ngt_uuid, serial, generation, kind, state)

    def set_state(self, serial: int, state: SerialState) -> None:
        self.rows[serial] = dataclasses.replace(self.rows[serial], state=state)

    def judge(self, serial: int, now: datetime.datetime) -> Accepted | Refused:
        row = self.rows.get(serial)
        if row is None:
            return Refused("unknown_serial")
        if row.vm_uuid in self.disabled:
            return Refused("vm_disabled", row.vm_uuid)
        if row.state == "retired":
            return Refused("retired", row.vm_uuid)
        if row.state == "revoked":
            return Refused("revoked", row.vm_uuid)
        return row

    async def promote(self, serial: int) -> Accepted:
        if self.broken:
            raise OpenNGTError("INTERNAL", "the database is out of reach")
        self.promoted.append(serial)
        row = self.rows[serial]
        for other in self.rows.values():
            if other.vm_uuid == row.vm_uuid and other.state == "current" and other.serial != serial:
                self.set_state(other.serial, "retired")
        self.set_state(serial, "current")
        return self.rows[serial]
