# SPDX-License-Identifier: GPL-3.0-or-later
"""One identity in two machines at the same time: who is the VM is not guessed, and neither gets an operation (T1).

A guest that was reset comes back with the same serial and another boot before its old session is found dead. So two
sessions alone prove nothing: the newer one waits for its answer to `hello` until the older one beats again, which means
two machines, or ends, which means one. Two machines stay in quarantine, where they may beat and nothing else, until
the VM itself is known by what no copy has: its own serial port, or an identity that was issued since.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from ..ports import SessionInfo
from .connection import Connection
from .session import Hello

__all__ = ["Contests", "second_machine"]

NOTHING: Final[dict[str, Any]] = {}
"""The capabilities of who is in quarantine."""


@dataclasses.dataclass
class _Contest:
    serial: int
    members: dict[Connection, Hello | None] = dataclasses.field(default_factory=dict)
    """In the order of their coming; None for the one that was live before. A session over the VM's port is none."""
    confirmed: bool = False
    """Two machines were seen to live. It stays so for this serial, whoever leaves."""


def second_machine(older: SessionInfo, newer: SessionInfo) -> bool:
    """The same identity from another boot: a copy, or a guest that was reset within seconds."""
    return older.serial == newer.serial and older.boot_id != newer.boot_id


def _doubtful(live: Connection, older: SessionInfo, newer: SessionInfo) -> bool:
    """A boot id is the guest's word: the VM's own port is not given up for it before the port falls silent."""
    return older.serial == newer.serial and (proven(live) or second_machine(older, newer))


def proven(live: Connection | None) -> bool:
    """It came over the VM's own port, which says who it is."""
    return live is not None and live.line is not None


class Contests:
    """`confirmed` is called with an older and a newer session once it is known that both machines run.

    `live` is always the VM's live session, None where there is none.
    """

    def __init__(self, confirmed: Callable[[Connection, Connection], None]) -> None:
        self._confirmed = confirmed
        self._of: dict[str, _Contest] = {}

    def __len__(self) -> int:
        """VMs whose identity is known to be in two machines."""
        return sum(contest.confirmed for contest in self._of.values())

    def hides(self, vm_uuid: str, live: Connection | None) -> bool:
        """Is it unknown which session is the VM's?"""
        contest = self._of.get(vm_uuid)
        return contest is not None and bool(contest.members) and not proven(live)

    def enter(self, newer: Connection, hello: Hello, live: Connection | None) -> bool:
        """Somebody has said hello. True: he waits or is in quarantine; False: he is the VM."""
        info = newer.info
        assert info is not None, "hello is said"
        contest = self._of.get(info.vm_uuid)
        if contest is not None and contest.serial != info.serial:
            del self._of[info.vm_uuid]  # its identity has been taken back by the ledger
            _end(contest, "retired")
            return False
        if newer.line is not None:
            if contest is not None:
                _end(contest, "identity_mismatch" if contest.confirmed else "superseded")
                self._drop(info.vm_uuid, contest)
            return False
        if contest is None:
            if live is None or live.info is None or not _doubtful(live, live.info, info):
                return False
            contest = self._of[info.vm_uuid] = _Contest(info.serial)
            if not proven(live):
                contest.members[live] = None
        contest.members[newer] = hello
        if contest.confirmed:
            newer.admit(NOTHING)
        else:
            newer.bear(newer.limits.silence_seconds)  # the older one's time is up before this one's
        return True

    def beat(self, connection: Connection, live: Connection | None) -> bool:
        """A session lives. True: it is in quarantine, and what it says is no news of the VM."""
        contest = self._of.get(connection.vm_uuid or "")
        if contest is None or not contest.members:
            return False
        newest = next(reversed(contest.members))
        if connection in contest.members:
            # Beside the VM's own port, copies prove nothing by living.
            if not contest.confirmed and connection is not newest and not proven(live):
                self._confirm(contest, connection, newest)
                for member, hello in contest.members.items():
                    if hello is not None:
                        member.admit(NOTHING)
            return True
        if connection is live and connection.info is not None:  # over the VM's own port: the others are copies
            older = connection.info
            copies = [one for one in contest.members if one.info is not None and second_machine(older, one.info)]
            if copies:
                self._confirm(contest, connection, copies[-1])
            # From the same boot it may be the agent itself, which took the port for dead a moment too early.
            _end(contest, "identity_mismatch" if copies else "superseded")
            self._drop(connection.vm_uuid or "", contest)
        return False

    def left(self, connection: Connection, live: Connection | None) -> tuple[Connection, Hello | None] | None:
        """A session has ended; the one that is left and was never seen beside another one: it is the VM."""
        vm_uuid = connection.vm_uuid or ""
        contest = self._of.get(vm_uuid)
        if contest is None:
            return None
        contest.members.pop(connection, None)
        self._drop(vm_uuid, contest)
        if contest.confirmed or proven(live) or len(contest.members) != 1:
            return None
        del self._of[vm_uuid]
        return next(iter(contest.members.items()))

    def _confirm(self, contest: _Contest, older: Connection, newer: Connection) -> None:
        contest.confirmed = True
        self._confirmed(older, newer)

    def _drop(self, vm_uuid: str, contest: _Contest) -> None:
        """What was nothing but a suspicion is forgotten with the last one that was under it."""
        if not contest.confirmed and not contest.members and self._of.get(vm_uuid) is contest:
            del self._of[vm_uuid]


def _end(contest: _Contest, reason: str) -> None:
    members, contest.members = list(contest.members), {}
    for member in members:
        member.end(reason)
