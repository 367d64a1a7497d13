# SPDX-License-Identifier: GPL-3.0-or-later
"""The installation in one guest, from its enrolment to its clean drive.

The same steps as the role `guest_agent`. Nothing but the enrolment is changed before the guest's prerequisites are met,
and nothing at all in check mode. However it ends, the tools ISO is ejected.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from ... import enrolment, link, mounting
from ...client import Client
from ...errors import OpenNGTError
from ...failpoints import failpoint
from ...holder import is_dead
from ...version import __version__
from ..agent_steps import INSTALL_SECONDS
from ..transports.base import Transport
from ..windows.carried_python import windows_python
from . import readiness
from .guest_program import Conversation, Program, careful_command_for, command_for, header
from .report import Options, Phase, Row, RowState
from .target import SshLogin, Target, WinrmLogin

__all__ = ["GuestInstall", "Site"]

Json = dict[str, Any]
T = TypeVar("T")

PREREQUISITES_SECONDS = 300.0
PLAN_SECONDS = 120.0
CONNECT_SECONDS = 60.0
LAST_WORD_SECONDS = 60.0
AFTER_FAILURE_SECONDS = 5.0
"""For the link of an agent that said itself that it has none: the service may know better, or why."""
RESTART_SECONDS = 120.0
CLEAN_UP_SECONDS = 120.0
UP_TO_MOUNT = ("enrol", "connect", "prerequisites", "mount")


class Site(NamedTuple):
    """This side of an installation. The client is one thread's own."""

    client: Client
    connect: Callable[[SshLogin | WinrmLogin, float], Transport]
    holder: str
    stop: threading.Event
    """Once it is set, nothing is begun that would have to be taken back."""
    connections: set[Transport]
    """Those that are open now, of all guests."""
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    """Between two looks at the service; it may raise INSTALL_INTERRUPTED."""


class GuestInstall:
    """One guest's installation; `run` is called once."""

    def __init__(
        self,
        target: Target,
        seen: Json,
        options: Options,
        site: Site,
        on_phase: Callable[[Phase, float | None], None],
    ) -> None:
        """`seen`: the VM as the hypervisor has it. `on_phase` hears of each phase's begin, then its seconds."""
        self._target = target
        self._seen = seen
        self._options = options
        self._site = site
        self._on_phase = on_phase
        self._deadline = site.clock() + options.host_seconds
        self._phase: Phase | None = None
        self._seconds: dict[str, float] = {}
        self._error: OpenNGTError | None = None
        self._transport: Transport | None = None
        self._talk: Conversation | None = None
        self._mounted = False
        self._changed = False
        self._state: RowState = "unchanged"
        self._message = ""
        self._carried: Json = {}
        """What the guest has to know of its disc before it starts anything from there."""
        self._before: Json = {}
        self._after: Json = {}

    def run(self) -> Row:
        """What became of it. Raises nothing that a guest or the service can bring about."""
        try:
            self._install()
        except OpenNGTError as error:
            self._error = error
        finally:
            self._clean_up()
        return self._row()

    def _install(self) -> None:
        with self._timed("enrol"):
            record = self._enrol()
        with self._timed("connect"):
            self._connect()
        with self._timed("prerequisites"):
            plan = self._examine(record)
        if plan is None:
            return
        well = plan["operation"] == "none"
        self._message = str(plan["reason"])
        self._before.update(plan["before"])
        self._after.update(plan["after"])
        if well and record["communication_link_active"] and not record["tools_iso_mounted"]:
            return
        if self._options.check:
            self._foretell(well)
            return
        generation, guest_saw, patience = None, plan["agent"], self._options.wait_seconds
        if not well:
            with self._timed("mount"):
                mount = self._mount()
            generation = mount["generation"]
            with self._timed("install"):
                guest_saw, patience = self._go(mount)
        with self._timed("prove"):
            self._prove(generation, guest_saw, patience)

    # The phases.

    def _enrol(self) -> Json:
        client, options = self._site.client, self._options
        vm_uuid = self._seen["vm_uuid"]
        if self._target.platform == "windows":
            self._carried = self._asking(lambda: windows_python(client))
        planned = self._asking(
            lambda: enrolment.plan(client, vm_uuid, "present", options.capabilities, require_running=True)
        )
        record = planned.record
        if planned.action != "none":
            if not options.check:
                record = self._asking(lambda: enrolment.apply(client, planned))
            self._before.update(planned.before)
            self._after.update(planned.after)
            self._will_change()
        self._mounted = record["tools_iso_mounted"] and not options.check
        failpoint("fleet.enrol.enrolled")
        return record

    def _connect(self) -> None:
        self._transport = self._site.connect(self._target.login, min(CONNECT_SECONDS, self._left()))
        self._site.connections.add(self._transport)
        failpoint("fleet.connect.connected")

    def _examine(self, record: Json) -> Json | None:
        """The plan of the guest; None where check mode can foretell nothing further."""
        first = header(self._options, record.get("available_version") or __version__)
        talk, answer = self._converse(first)
        if isinstance(answer, str):
            brought = readiness.python_for(self._target, answer, self._options, self._open(), self._left)
            self._will_change()
            if brought is not None:
                self._message = brought
                return None
            talk, answer = self._converse(first)
            if isinstance(answer, str):
                raise readiness.still_without(answer)
        if answer.get("installed"):
            self._will_change()
        readiness.demand_met(answer, self._options)
        plan = talk.hear("plan", PLAN_SECONDS)
        self._talk = talk
        failpoint("fleet.prerequisites.met")
        return plan

    def _mount(self) -> Json:
        client, options, holder = self._site.client, self._options, self._site.holder
        vm_uuid = self._seen["vm_uuid"]
        planned = self._asking(lambda: mounting.plan_mount(client, vm_uuid, holder, is_dead))
        self._mounted = True  # from now on it may be, whatever we are told
        mount: Json | None = self._asking(
            lambda: mounting.apply(
                client, planned, is_dead, lease_seconds=options.lease_seconds, force=False, timeout=self._left()
            )
        )
        if mount is None:
            raise OpenNGTError("API_ERROR", "the service has mounted nothing and calls that a success")
        failpoint("fleet.mount.mounted")
        return mount

    def _go(self, mount: Json) -> tuple[Any, float]:
        """What the guest saw, and how long its link may still take."""
        if self._talk is None:
            raise OpenNGTError("PROTOCOL_ERROR", "the guest's program is not there any longer")
        talk, self._talk = self._talk, None
        self._will_change()
        wait = self._options.wait_seconds
        try:
            word = {"ca_sha256": mount["ca_sha256"], **self._carried}
            answer = talk.go(word, INSTALL_SECONDS + wait + LAST_WORD_SECONDS)
        except OpenNGTError as error:
            # An agent that is installed but not connected is not the end yet: the proof adds what the service saw.
            if error.code != "LINK_NOT_ACTIVE":
                raise
            return error.details, AFTER_FAILURE_SECONDS
        failpoint("fleet.install.installed")
        return answer.get("agent"), wait

    def _prove(self, generation: int | None, guest_saw: Any, seconds: float) -> None:
        [record] = link.wait_for_links(
            self._site.client,
            [self._seen["vm_uuid"]],
            min(seconds, self._left()),
            generation=generation,
            guest_saw=guest_saw,
            clock=self._site.clock,
            pause=self._site.pause,
        )
        self._message = f"version {record['agent_version']} runs and its link over {record['transport']} is active"
        failpoint("fleet.prove.proven")

    def _clean_up(self) -> None:
        """Close the connection, then eject what this run or a dead one has mounted."""
        began = self._site.clock()
        self._on_phase("clean_up", None)
        self._hang_up()
        if self._mounted:
            self._deadline = began + CLEAN_UP_SECONDS
            try:
                self._asking(self._eject)
            except OpenNGTError as error:
                self._note(error)
        failpoint("fleet.clean_up.ejected")
        self._seconds["clean_up"] = self._site.clock() - began
        self._on_phase("clean_up", self._seconds["clean_up"])

    def _eject(self) -> None:
        client = self._site.client
        try:
            planned = mounting.plan_eject(client, self._seen["vm_uuid"], self._site.holder, is_dead, force=False)
            mounting.apply(client, planned, is_dead, lease_seconds=0, force=False, timeout=self._left())
        except OpenNGTError as error:
            if error.code != "VM_BUSY":  # what another living run holds is its own
                raise

    # What they share.

    def _will_change(self) -> None:
        self._changed = True
        self._state = "would_install" if self._options.check else "installed"

    def _foretell(self, well: bool) -> None:
        """Check mode: what the service would refuse later is refused now."""
        if not well:
            self._asking(
                lambda: mounting.plan_mount(self._site.client, self._seen["vm_uuid"], self._site.holder, is_dead)
            )
        self._will_change()

    def _converse(self, first: Json) -> tuple[Conversation, Json | str]:
        talk, answer = self._start(command_for(self._target), first)
        # A Python may tell its version and still not start; another one that does may be there.
        careful = careful_command_for(self._target) if answer is None else None
        if careful is not None:
            talk, answer = self._start(careful, first)
        if answer is None:
            raise talk.ended()
        return talk, answer

    def _start(self, program: Program, first: Json) -> tuple[Conversation, Json | str | None]:
        talk = Conversation(self._open().start(program.command), self._left)
        talk.begin(program, first)
        return talk, talk.hear_first(readiness.patience(self._options, PREREQUISITES_SECONDS))

    def _open(self) -> Transport:
        if self._transport is None:
            raise OpenNGTError("GUEST_CONNECTION_LOST", "the connection to the guest is closed")
        return self._transport

    def _hang_up(self) -> None:
        if self._talk is not None:
            with contextlib.suppress(OpenNGTError):  # it ends without this word as well
                self._talk.stop()
        if self._transport is not None:
            self._transport.close()
            self._site.connections.discard(self._transport)

    def _asking(self, call: Callable[[], T]) -> T:
        """The service's answer; one that restarts meanwhile is waited for."""
        until = self._site.clock() + RESTART_SECONDS
        while True:
            try:
                return call()
            except OpenNGTError as error:
                if error.code != "ENDPOINT_UNREACHABLE" or self._site.clock() > until:
                    raise
            self._site.pause(min(1.0, self._left()))

    def _left(self) -> float:
        left = self._deadline - self._site.clock()
        if left <= 0:
            message = f"not done within {self._options.host_seconds:g} s (host_seconds)"
            raise OpenNGTError("GUEST_TIMED_OUT", message)
        return left

    @contextlib.contextmanager
    def _timed(self, phase: Phase) -> Iterator[None]:
        if phase in UP_TO_MOUNT and self._site.stop.is_set():
            raise OpenNGTError("INSTALL_INTERRUPTED", f"the run was ended before the phase {phase}")
        self._phase = phase
        self._on_phase(phase, None)
        began = self._site.clock()
        try:
            yield
        finally:
            self._seconds[phase] = self._site.clock() - began
        self._on_phase(phase, self._seconds[phase])

    def _note(self, error: OpenNGTError) -> None:
        """A failure of the cleaning up: the whole failure, or a part of the one before it."""
        if self._error is None:
            self._phase, self._error = "clean_up", error
        else:
            self._error.details = {**self._error.details, "clean_up": error.to_dict()}

    def _row(self) -> Row:
        error = self._error
        return Row(
            name=self._target.name,
            vm=self._target.vm,
            state="failed" if error else self._state,
            vm_uuid=self._seen["vm_uuid"],
            vm_name=self._seen["vm_name"],
            phase=self._phase,
            changed=self._changed,
            code=error.code if error else None,
            message=error.message if error else self._message,
            remedy=error.remedy if error else None,
            details=error.details if error else {},
            diff={"before": self._before, "after": self._after} if self._changed else {},
            seconds=self._seconds,
        )
