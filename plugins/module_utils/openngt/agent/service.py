# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The agent as it runs: keeps one link to the service, does what the service may ask, takes newer identities."""

import contextlib
import logging
import os
import signal
import sys
from typing import Any, Dict, Mapping, Optional, Tuple

from . import identity as identities
from .backoff import CAP, Backoff
from .blocked import is_blocked
from .config import load_config, transport_order
from .errors import AgentError
from .files import Runner
from .files import run as run_program
from .first_disc import check_not_awaited
from .identity import Identity
from .key_request import run_briefly
from .messages import PROTOCOL
from .paths import Paths
from .protocol import Active, Closed, Event, LinkProtocol, Operation, Steady, Welcomed
from .runtime_status import RuntimeStatus
from .serial_view import SerialView
from .status import changed
from .system import this_system
from .systemd import Notifier
from .times import now_text
from .tls import TlsClient, certificates_in, client_context, fingerprint
from .transport_policy import TransportPolicy
from .transport_serial import Probe, call
from .transport_tls import connect
from .upgrade_offer import Receiver, verify_offer
from .version import __version__
from .waiter import Waiter
from .wire import Wire, drive

__all__ = ["Agent", "serve"]

log = logging.getLogger("openngt.agent")

GOING_DOWN = ("guest.shutdown", "guest.reboot")
STATUS_SECONDS = 60.0
TRIAL_SECONDS = 2.0  # how often, while an upgrade or cloud-init is at work: the service waits for its end
# A guest that is told to go down ends the agent long before; one that does not is worth a new link.
GOING_DOWN_SECONDS = 120.0
CLOCK_SECONDS = 60.0  # how often the service is told what time it is here


class Agent:
    """One agent of one guest. `run` returns when the waiter is stopped."""

    def __init__(
        self,
        paths: Paths,
        waiter: Waiter,
        shown: RuntimeStatus,
        runner: Runner = run_program,
        run_briefly: Runner = run_briefly,
    ) -> None:
        self._paths = paths
        self._system = this_system(paths, runner, run_briefly)
        self._check_time = True  # whether certificates of this session are judged by the guest's clock
        self._own_key: Optional[str] = None  # secret; whose certificate was asked for in this session
        self._waiter = waiter
        self._shown = shown
        self._serial = SerialView(shown)
        self._backoff = Backoff()
        self._order: Tuple[str, ...] = ("tls",)
        self._policy = TransportPolicy(self._order)
        self._linked = False  # the running session, or the last one, came up
        self._last_failure = ""
        self._reported: Optional[Dict[str, Any]] = None
        self._clock_told = 0.0
        self._leave: Optional[str] = None  # why the running session should end
        self._receiver = Receiver()
        self._going_down: Optional[str] = None  # the operation that was answered and is to be carried out

    def watch_discs(self) -> None:
        """Take a newer identity from each disc that brings one, from now on."""
        self._system.watch_discs(self.identity_taken)

    def identity_taken(self, identity: Identity) -> None:
        """A newer identity was stored beside the link: change over to it. May be called from another thread."""
        self._leave = "identity taken from disc"
        self._waiter.wake()

    def run(self) -> None:
        while not self._waiter.stopping:
            self._leave = None
            self._linked = False
            started = self._waiter.monotonic()
            try:
                end = self._session()
            except AgentError as exc:
                end = Closed(exc.code, exc.message)
            self._shown.disconnected(end.code, end.message)
            self._policy.ended(self._linked, end.code is None, self._waiter.monotonic())
            self._serial.held(self._serial_held())
            if self._going_down is not None:
                self._go_down(self._going_down)
            if self._leave is not None:
                log.info("link left: %s", end.message)
                continue  # changing over, not failing
            # A copy of a VM may wait for its own disc for days: once is enough to say so.
            again = end.code == "IDENTITY_INVALID" and end.message == self._last_failure
            self._last_failure = end.message
            level = logging.INFO if end.code is None else logging.DEBUG if again else logging.WARNING
            log.log(level, "link ended: %s", end.message)
            if self._waiter.monotonic() - started > CAP:
                self._backoff.succeeded()
            if self._policy.wants_pause:
                self._waiter.pause(self._backoff.failed())

    def _go_down(self, method: str) -> None:
        """What was answered and has left the socket by now; returns only if the guest stays."""
        self._going_down = None
        if self._system.go_down(method):
            end = self._waiter.monotonic() + GOING_DOWN_SECONDS
            while not self._waiter.stopping and self._waiter.monotonic() < end:
                self._waiter.pause(end - self._waiter.monotonic())

    def _session(self) -> Closed:
        """One session from connecting to its end."""
        self._own_key = None
        identity = self._own_identity()
        config = load_config(self._paths)
        self._follow(transport_order(config))
        wire = self._connect(config)
        # Only the host is at the other end of a port: there, a guest whose clock is years off can be helped.
        self._check_time = wire.transport != "serial"
        tls = TlsClient(client_context(identity.client_pem, identity.ca_pem, self._check_time), config["service_name"])
        protocol = LinkProtocol(
            tls,
            self._waiter.monotonic(),
            identity.cluster_uuid,
            self._hello,
            self._heartbeat,
            lambda method: is_blocked(self._paths, method),
            wire.most_message,
            wire.misses,
        )
        next_status = self._waiter.monotonic() + TRIAL_SECONDS
        probe = Probe(lambda: self._system.open_port(config["serial_ports"]))

        def on_event(event: Event) -> None:
            if isinstance(event, Welcomed):
                log.info("connected to %s with generation %d (%s)", wire.peer, identity.generation, identity.kind)
            elif isinstance(event, Active):
                self._active(wire, event)
            elif isinstance(event, Steady):
                self._shown.steady()
            elif isinstance(event, Operation):
                self._operate(protocol, event, identity)

        def on_turn(now: float) -> Optional[str]:
            nonlocal next_status
            if now >= next_status:
                self._report_changes(protocol)
                next_status = now + self._status_seconds()
            if self._linked and wire.transport != self._order[0]:
                self._consider_return(probe, now)
            return "stopping" if self._waiter.stopping else self._leave

        with contextlib.closing(probe):
            return drive(wire, protocol, self._waiter, on_event, on_turn)

    def _follow(self, order: Tuple[str, ...]) -> None:
        """The configuration may have come with a new identity."""
        if order != self._order:
            self._order = order
            self._policy = TransportPolicy(order)
        if "serial" not in order:
            self._serial.unused()

    def _connect(self, config: Mapping[str, Any]) -> Wire:
        """The wire of the transport whose turn it is."""
        if self._policy.next == "tls":
            return connect(config["cluster_ip"], config["port"], self._waiter)
        try:
            return call(self._system.open_port(config["serial_ports"]), self._waiter)
        except AgentError as exc:
            self._serial.failed(exc)
            raise

    def _serial_held(self) -> float:
        """For how many seconds the port, where it is preferred, is not returned to."""
        return self._policy.held(self._waiter.monotonic()) if self._order[0] == "serial" else 0.0

    def _active(self, wire: Wire, event: Active) -> None:
        self._linked = True
        self._policy.linked(self._waiter.monotonic())
        if wire.transport == "serial":
            self._serial.linked(wire.peer)
        self._shown.connected(wire.transport, wire.peer, event.capabilities)

    def _consider_return(self, probe: Probe, now: float) -> None:
        """Ask on the preferred transport, and leave for it when it has answered for long enough."""
        if self._order[0] == "serial":
            self._ask(probe, now)
            reason = "the serial port answers again"
        else:
            # A connection that is not used is a failed handshake to the service: trying is asking, and seldom enough.
            self._policy.answered(True, now)
            reason = "the network is tried again"
        if self._policy.wants_return(now):
            self._policy.returning(now)
            self._leave = reason

    def _ask(self, probe: Probe, now: float) -> None:
        answered = probe.turn(now)
        if answered is None:
            return
        self._policy.answered(answered, now)
        if probe.failure is not None:
            self._serial.failed(probe.failure)
        elif answered:
            self._serial.answers(probe.device)

    def _own_identity(self) -> Identity:
        """The stored identity; IDENTITY_INVALID when this is not the VM that it was given to (a clone)."""
        try:
            check_not_awaited(self._paths)
            identity = identities.load(self._paths)
        except AgentError:
            self._shown.identity(None)
            raise
        self._shown.identity(identity)
        here = self._system.vm_uuid()
        if here is not None and here != identity.vm_uuid:
            text = (
                "the stored identity is that of VM {0}, and this is {1}: a copy of it, which takes an identity of its "
                "own from the disc that the service mounts once this VM is enabled (openngt vm enable {1})"
            )
            raise AgentError("IDENTITY_INVALID", text.format(identity.vm_uuid, here))
        return identity

    def _hello(self) -> Dict[str, Any]:
        self._reported = self._system.record(self._serial.reported)
        self._clock_told = self._waiter.monotonic()
        return {
            "protocol": PROTOCOL,
            "agent_version": __version__,
            "boot_id": self._reported["boot_id"],
            "status": self._reported,
            "time": now_text(),
        }

    def _heartbeat(self) -> Dict[str, Any]:
        """With the time of this guest's clock now and then, so that the service sees it go wrong."""
        said: Dict[str, Any] = {"disc_mounted": self._system.disc_mounted()}
        now = self._waiter.monotonic()
        if now - self._clock_told >= CLOCK_SECONDS:
            self._clock_told = now
            said["time"] = now_text()
        return said

    def _report_changes(self, protocol: LinkProtocol) -> None:
        self._serial.held(self._serial_held())
        record = self._system.record(self._serial.reported)
        if changed(self._reported, record):
            self._reported = record
            protocol.status(record)

    def _status_seconds(self) -> float:
        record = self._reported or {}
        upgrade, customization = record.get("upgrade") or {}, record.get("customization") or {}
        awaited = upgrade.get("state") == "on_trial" or customization.get("status") == "running"
        return TRIAL_SECONDS if awaited else STATUS_SECONDS

    def _operate(self, protocol: LinkProtocol, operation: Operation, identity: Identity) -> None:
        """What the table of operations lets through, done."""
        try:
            if operation.method == "identity.request":
                request = self._system.make_request()
                self._own_key = request.key_pem
                protocol.answer(operation, {"csr_pem": request.csr_pem})
            elif operation.method == "identity.rotate":
                self._rotate(operation.params, identity)
                protocol.answer(operation, {"generation": operation.params["generation"]})
                self._leave = "identity rotated"
            elif operation.method == "capabilities.set":
                self._shown.capabilities(operation.params["capabilities"])
                protocol.answer(operation, {})
            elif operation.method.startswith("agent.upgrade."):
                protocol.answer(operation, self._upgrade(operation, identity))
            elif operation.method in GOING_DOWN:
                protocol.answer(operation, {})
                self._going_down = operation.method
                self._leave = "the guest is going down"
            else:
                raise AssertionError("an operation in the table that nobody does: {0}".format(operation.method))
        except AgentError as exc:
            protocol.refuse(operation, exc)

    def _upgrade(self, operation: Operation, identity: Identity) -> Dict[str, Any]:
        """One step of an upgrade over the link; the last lays the package down for its own unit and starts that."""
        params = operation.params
        if operation.method == "agent.upgrade.chunk":
            return {"offset": self._receiver.add(params)}
        if os.path.lexists(self._paths.trial):
            raise AgentError("UPGRADE_UNDER_WAY", "an upgrade before this one is still on trial")
        if operation.method == "agent.upgrade.offer":
            offer = verify_offer(params["offer"], params["voucher_pem"], identity, __version__)
            self._system.check_upgrade(offer.size)
            return {"offset": self._receiver.begin(offer)}
        self._system.start_upgrade(self._receiver.finish(params))
        return {}

    def _rotate(self, params: Mapping[str, Any], current: Identity) -> None:
        """Store the identity that came over the link, durably. INVALID_INPUT or DISC_OLDER leave the old one."""
        config = dict(params["config"])
        try:
            new = identities.make(
                params["kind"],
                config["cluster_uuid"],
                self._client_pem(params),
                params["ca_pem"],
                _signer(params["ca_pem"], current),
                self._check_time,
            )
        except ValueError as exc:
            raise AgentError("INVALID_INPUT", "identity.rotate: {0}".format(exc)) from exc
        said = (params["generation"], config["vm_uuid"], config["ngt_uuid"], config["generation"])
        if said != (new.generation, new.vm_uuid, new.ngt_uuid, new.generation):
            raise AgentError("INVALID_INPUT", "identity.rotate: certificate, generation and config do not agree")
        if (new.vm_uuid, new.cluster_uuid) != (current.vm_uuid, current.cluster_uuid):
            raise AgentError("INVALID_INPUT", "identity.rotate: the certificate is for another VM or cluster")
        identities.store(self._paths, new, config)
        log.info("took generation %d of the identity over the link", new.generation)

    def _client_pem(self, params: Mapping[str, Any]) -> str:
        """With the key that came along, or the one that was made for `identity.request` in this session."""
        if "client_pem" in params:
            return str(params["client_pem"])
        if self._own_key is None:
            raise ValueError("a certificate came without a key, and none was asked for in this session")
        return self._own_key + str(params["certificate_pem"])


def _signer(ca_pem: str, current: Identity) -> str:
    """The CA that the new identity is named after: the one of today where it is still there, else the first."""
    fingerprints = [fingerprint(pem) for pem in certificates_in(ca_pem)]
    if not fingerprints or current.ca_sha256 in fingerprints:
        return current.ca_sha256
    return fingerprints[0]


def serve(paths: Paths, runner: Runner = run_program, environment: Optional[Mapping[str, str]] = None) -> int:
    """Run until SIGTERM or SIGINT; exit status 0."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s: %(message)s")
    notifier = Notifier(os.environ if environment is None else environment)
    waiter = Waiter(notifier.beat)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: waiter.stop())
    identities.sweep_unfinished(paths)
    shown = RuntimeStatus(paths)
    agent = Agent(paths, waiter, shown, runner)
    agent.watch_discs()
    notifier.ready()
    log.info("agent %s started", __version__)
    agent.run()
    notifier.stopping()
    log.info("agent stopped")
    return 0
