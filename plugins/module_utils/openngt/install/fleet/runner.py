# SPDX-License-Identifier: GPL-3.0-or-later
"""Install in many guests at once; one that fails does not stop the others."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Union

from ... import holder
from ...client import Client
from ...effects import file_errors, replace_file
from ...errors import OpenNGTError
from ...link import missing_for_proof
from ...mounting import demand_lease
from ..transports import choose
from ..transports.base import Transport
from .flow import GuestInstall, Site
from .journal import Journal, default_folder, open_journal
from .report import REMAINING, Event, OnEvent, Options, Phase, Refused, Report, Row, summary
from .resolve import resolve
from .target import SshLogin, Target, WinrmLogin

__all__ = ["Connect", "install"]

Json = dict[str, Any]
Connect = Callable[[Union[SshLogin, WinrmLogin], float], Transport]
LIMIT_FILE = "limit"
DONE = ("installed", "unchanged")
SIGNAL = -1


class Told(NamedTuple):
    """To the caller's thread: a guest's phase has begun, or the guest has come to its end, or a signal has come."""

    place: int
    """Among the targets; SIGNAL."""
    phase: Phase | None
    ended: Future[Row] | None


@dataclass(frozen=True)
class Run:
    """What all threads of a run share."""

    options: Options
    service: Callable[[], Client]
    connect: Connect
    journal: Journal | None
    stop: threading.Event
    cut: threading.Event = field(default_factory=threading.Event)
    """Nobody waits any longer for what may come about by itself."""
    holder: str = field(default_factory=lambda: holder.describe(os.getpid(), "fleet"))
    connections: set[Transport] = field(default_factory=set)
    clients: list[Client] = field(default_factory=list)
    told: queue.SimpleQueue[Told] = field(default_factory=queue.SimpleQueue)
    own: threading.local = field(default_factory=threading.local)

    def client(self) -> Client:
        """The calling thread's."""
        if not hasattr(self.own, "client"):
            self.own.client = self.service()
            self.clients.append(self.own.client)
        client: Client = self.own.client
        return client

    def pause(self, seconds: float) -> None:
        """Sleep; INSTALL_INTERRUPTED once the run is cut."""
        if self.cut.wait(seconds):
            raise OpenNGTError("INSTALL_INTERRUPTED", "a second signal ended the wait")

    def close(self) -> None:
        for client in self.clients:
            client.close()


def install(
    targets: Sequence[Target],
    options: Options,
    service: Callable[[], Client],
    on_event: OnEvent = lambda event: None,
    *,
    refused: Sequence[Refused] = (),
    stop: threading.Event | None = None,
    on_signal: Callable[[], None] = lambda: None,
    connect: Connect = choose.connect,
) -> Report:
    """Have the agent installed and its link proven in every target, and say what became of each.

    `service` makes a client of the service; it is called once for each thread. Once `stop` is set, or by the first
    SIGINT or SIGTERM, no further guest is begun and those at work come to an orderly end; a second signal cuts their
    connections and ends what they wait for, the proof of a link too. (Signals are looked after in the main thread
    alone.) `on_signal` is called after each of them, like `on_event` in the caller's thread.

    Raises only what concerns all: INVALID_INPUT, SERVICE_CONFLICT (another run has the journal), and what the service
    answers to the first question.
    """
    began = time.monotonic()
    _demand_sense(options)
    with contextlib.ExitStack() as end:
        client = end.enter_context(service())
        found = resolve(targets, client.hypervisor_vms())
        journal = None
        if not options.check:
            folder = options.journal or default_folder(client.endpoint, targets)
            journal = end.enter_context(open_journal(folder, client.endpoint, targets, resume=options.resume))
        run = Run(options, service, connect, journal, stop or threading.Event())
        end.callback(run.close)
        end.enter_context(_stopping_on_signals(run))
        rows = _settled(targets, found, refused)
        rows.update(_proven_again(run, client, targets, found))
        names = [target.name for target in targets] + [each.name for each in refused]
        _tell_settled(run, rows, on_event, len(names))

        def tell(place: int, phase: Phase | None, row: Row | None, done: int) -> None:
            on_event(Event(names[place], phase, row, done, len(names)))

        todo = {index: vm for index, vm in enumerate(found) if index not in rows and not isinstance(vm, OpenNGTError)}
        _work(run, targets, todo, rows, tell, on_signal)
        return _report(run, [rows[index] for index in range(len(names))], time.monotonic() - began)


def _demand_sense(options: Options) -> None:
    if options.max_in_flight < 1:
        raise OpenNGTError("INVALID_INPUT", f"max_in_flight: {options.max_in_flight} is not 1 or more")
    if not options.host_seconds > 0:
        raise OpenNGTError("INVALID_INPUT", f"host_seconds: {options.host_seconds:g} is not above 0")
    if not options.wait_seconds >= 0:
        raise OpenNGTError("INVALID_INPUT", f"wait_seconds: {options.wait_seconds:g} is below 0")
    demand_lease(options.lease_seconds)


def _settled(
    targets: Sequence[Target], found: Sequence[Json | OpenNGTError], refused: Sequence[Refused]
) -> dict[int, Row]:
    """The rows of those with whom nothing will be done, by their place among targets and refused."""
    bad = [(target.name, target.vm, vm) for target, vm in zip(targets, found, strict=True)]
    bad += [(each.name, each.vm, each.error) for each in refused]
    return {
        index: Row(
            name, vm, "failed", code=error.code, message=error.message, remedy=error.remedy, details=error.details
        )
        for index, (name, vm, error) in enumerate(bad)
        if isinstance(error, OpenNGTError)
    }


def _proven_again(
    run: Run, client: Client, targets: Sequence[Target], found: Sequence[Json | OpenNGTError]
) -> dict[int, Row]:
    """The rows of those that the interrupted run had finished and whose link the service still sees."""
    if run.journal is None or run.options.reconnect:
        return {}
    last = {row.name: row for row in run.journal.finished_rows}
    done = {name: row for name, row in last.items() if row.state in DONE}
    if not done:
        return {}
    records = {record["vm_uuid"]: record for record in client.vms(vm_info=False)}
    rows = {}
    for index, (target, vm) in enumerate(zip(targets, found, strict=True)):
        row = done.get(target.name)
        if row is None or isinstance(vm, OpenNGTError) or row.vm_uuid != vm["vm_uuid"]:
            continue
        record = records.get(vm["vm_uuid"])
        if record is not None and not record["tools_iso_mounted"] and missing_for_proof(record, None) is None:
            rows[index] = replace(row, resumed=True)
    return rows


def _tell_settled(run: Run, rows: dict[int, Row], on_event: OnEvent, total: int) -> None:
    for done, row in enumerate(rows.values(), 1):
        if run.journal is not None:
            run.journal.row(row)
        on_event(Event(row.name, None, row, done, total))


def _work(
    run: Run,
    targets: Sequence[Target],
    todo: dict[int, Json],
    rows: dict[int, Row],
    tell: Callable[[int, Phase | None, Row | None, int], None],
    on_signal: Callable[[], None],
) -> None:
    """Install in all of `todo`; their rows are added as they come."""
    with ThreadPoolExecutor(max(1, min(run.options.max_in_flight, len(todo)))) as pool:
        for index, vm in todo.items():
            future = pool.submit(_one, run, index, targets[index], vm)
            future.add_done_callback(functools.partial(_tell_end, run, index))
        left = set(todo)
        while left:
            place, phase, ended = run.told.get()
            if place == SIGNAL:
                on_signal()
                continue
            if ended is not None:
                left.discard(place)
                rows[place] = _row_of(ended, targets[place], todo[place])
            tell(place, phase, rows.get(place), len(rows))


def _tell_end(run: Run, place: int, ended: Future[Row]) -> None:
    run.told.put(Told(place, None, ended))


def _one(run: Run, index: int, target: Target, vm: Json) -> Row:
    named = {"vm_uuid": vm["vm_uuid"], "vm_name": vm["vm_name"]}
    if run.stop.is_set():
        return Row(target.name, target.vm, "not_begun", message="the run was ended before this guest's turn", **named)

    def on_phase(phase: Phase, seconds: float | None) -> None:
        if seconds is None:
            run.told.put(Told(index, phase, None))
        elif run.journal is not None:
            run.journal.phase(target.name, phase, seconds)

    site = Site(run.client(), run.connect, run.holder, run.stop, run.connections, pause=run.pause)
    row = GuestInstall(target, vm, run.options, site, on_phase).run()
    if run.journal is not None:
        run.journal.row(row)
    return row


def _row_of(ended: Future[Row], target: Target, vm: Json) -> Row:
    """A defect of ours in one guest's thread is that guest's failure; where it was, not what it held, is told."""
    defect = ended.exception()
    if defect is None:
        return ended.result()
    error = defect if isinstance(defect, OpenNGTError) else _internal(defect)
    return Row(
        target.name,
        target.vm,
        "failed",
        vm_uuid=vm["vm_uuid"],
        vm_name=vm["vm_name"],
        code=error.code,
        message=error.message,
        remedy=error.remedy,
        details=error.details,
    )


def _internal(defect: BaseException) -> OpenNGTError:
    frames = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(defect.__traceback__)]
    return OpenNGTError("INTERNAL", f"{type(defect).__name__} at {frames[-1] if frames else '?'}", {"frames": frames})


def _report(run: Run, rows: Sequence[Row], seconds: float) -> Report:
    warnings = []
    folder = None
    if run.journal is not None:
        folder = run.journal.folder
        if not run.stop.is_set():
            run.journal.finished()
        if run.journal.error is not None:
            warnings.append(f"the journal could not be written: {run.journal.error.message}")
    limit_file = run.options.limit_file or (folder and folder / LIMIT_FILE)
    try:
        written = _write_limit(limit_file, [row.name for row in rows if row.state in REMAINING])
    except OpenNGTError as error:  # the rows must be told all the same
        written = None
        warnings.append(f"the names for --limit could not be written: {error.message}")
    return Report(
        rows=rows,
        summary=summary(rows, seconds),
        limit_file=written,
        journal=None if folder is None else str(folder),
        interrupted=run.stop.is_set(),
        warnings=warnings,
    )


def _write_limit(path: Path | None, names: Sequence[str]) -> str | None:
    """The file for `--limit @file`; without names there is none, not even an earlier run's."""
    if path is None:
        return None
    with file_errors(str(path)):
        if not names:
            path.unlink(missing_ok=True)
            return None
        replace_file(str(path), "".join(f"{name}\n" for name in names).encode("utf-8"), 0o600)
    return str(path)


@contextlib.contextmanager
def _stopping_on_signals(run: Run) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        if run.stop.is_set():
            run.cut.set()
            for transport in list(run.connections):
                transport.close()
        run.stop.set()
        run.told.put(Told(SIGNAL, None, None))  # a handler must not write: it may have interrupted a write

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
