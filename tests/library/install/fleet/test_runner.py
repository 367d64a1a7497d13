# SPDX-License-Identifier: GPL-3.0-or-later
"""Many guests at once: what is refused before anything begins, that one does not hold up others, and how a run ends."""

import os
import signal
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.scripted_guest import WELL_PLAN
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt.errors import OpenNGTError
from openngt.install.fleet.report import Event, Options, Refused, Report
from openngt.install.fleet.runner import install
from openngt.install.fleet.target import SshLogin, Target

from .conftest import FleetOfScripts

GONE = OpenNGTError("GUEST_UNREACHABLE", "no answer")


def states(report: Report) -> dict[str, str]:
    return {row.name: row.code or row.state for row in report.rows}


def well(fleet: FleetOfScripts, name: str) -> Target:
    """A guest whose agent runs already; its installation begins and ends quickly."""
    target = fleet.add(name)
    fleet.client.enable(fleet.uuid_of(name))
    fleet.run_agent(name)
    return target


def test_bad_guests_do_not_stop_the_others_and_the_report_says_what_to_do(fleet: FleetOfScripts) -> None:
    targets = [fleet.add(name) for name in ("web1", "web2", "web3", "web4")]
    fleet.refusals.update(web2=GONE, web4=GONE)
    domain = OpenNGTError("DOMAIN_USER_UNSUPPORTED", "the user is a domain's")
    report = fleet.install(*targets, refused=[Refused("win1", "win1", domain)])
    assert states(report) == {
        "web1": "installed",
        "web2": "GUEST_UNREACHABLE",
        "web3": "installed",
        "web4": "GUEST_UNREACHABLE",
        "win1": "DOMAIN_USER_UNSUPPORTED",
    }
    assert report.summary["counts"] == {"installed": 2, "failed": 3}
    assert report.summary["failures"]["GUEST_UNREACHABLE"] == {"remedy": GONE.remedy, "names": ["web2", "web4"]}
    assert report.limit_file is not None
    limit = Path(report.limit_file)
    assert limit.read_text() == "web2\nweb4\nwin1\n" and stat.S_IMODE(limit.stat().st_mode) == 0o600
    assert report.error is not None and report.error.code == "TASK_FAILED"
    assert "GUEST_UNREACHABLE (2)" in report.error.message and f"--limit @{limit}" in report.error.remedy
    assert sorted(event.done for event in fleet.events if event.row) == [1, 2, 3, 4, 5]

    fleet.refusals.clear()
    assert states(fleet.install(*targets)) == {
        "web1": "unchanged",
        "web2": "installed",
        "web3": "unchanged",
        "web4": "installed",
    }
    assert not limit.exists()


def test_the_reason_of_the_only_bad_guest_is_the_runs(fleet: FleetOfScripts) -> None:
    targets = [well(fleet, "web1"), fleet.add("web2")]
    fleet.refusals["web2"] = GONE
    error = fleet.install(*targets).error
    assert error is not None and (error.code, error.message) == ("GUEST_UNREACHABLE", "web2: no answer")


def test_targets_that_are_no_one_vm_are_refused_and_nothing_is_done_with_them(fleet: FleetOfScripts) -> None:
    web1, web2 = fleet.add("web1"), fleet.add("web2")
    copy = Target("web1-again", fleet.uuid_of("web1").upper(), SshLogin("web2"))
    lost = Target("lost", "lost", SshLogin("web2"))
    for _ in range(2):
        fleet.add("twin")
    twin = Target("twin", "twin", SshLogin("twin"))
    report = fleet.install(web1, copy, lost, twin, web2)
    assert states(report) == {
        "web1": "INVALID_INPUT",
        "web1-again": "INVALID_INPUT",
        "lost": "VM_NOT_FOUND",
        "twin": "VM_AMBIGUOUS",
        "web2": "installed",
    }
    assert "web1, web1-again" in report.rows[0].message
    assert fleet.verbs("web1") == [] and fleet.guests["web1"].commands == []


def test_a_name_that_stands_twice_is_refused(fleet: FleetOfScripts) -> None:
    web1, web2 = fleet.add("web1"), fleet.add("web2")
    report = fleet.install(web1, Target("web1", "web2", web2.login))
    assert [row.code for row in report.rows] == ["INVALID_INPUT", "INVALID_INPUT"]


def test_no_more_guests_are_at_work_than_allowed(fleet: FleetOfScripts) -> None:
    lock, at_work, most = threading.Lock(), 0, 0

    def count(name: str) -> Any:
        def go(_go: dict[str, Any]) -> dict[str, Any]:
            nonlocal at_work, most
            with lock:
                at_work += 1
                most = max(most, at_work)
            answer = fleet.run_agent(name)
            with lock:
                at_work -= 1
            return answer

        return go

    targets = [fleet.add(name, install=count(name)) for name in ("a", "b", "c", "d", "e")]
    report = fleet.install(*targets, max_in_flight=2)
    assert report.summary["counts"] == {"installed": 5} and most <= 2
    with pytest.raises(OpenNGTError) as caught:
        fleet.install(*targets, max_in_flight=0)
    assert caught.value.code == "INVALID_INPUT"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_those_at_work_come_to_an_end_and_begins_no_other(
    fleet: FleetOfScripts, number: signal.Signals
) -> None:
    def go(_go: dict[str, Any]) -> dict[str, Any]:
        os.kill(os.getpid(), number)
        assert stop.wait(60), "the main thread takes it in its own time"
        return fleet.run_agent("web1")

    stop = threading.Event()
    before = signal.getsignal(number)
    targets = [fleet.add("web1", install=go), fleet.add("web2"), fleet.add("web3")]
    report = fleet.install(*targets, max_in_flight=1, stop=stop)
    assert states(report) == {"web1": "installed", "web2": "not_begun", "web3": "not_begun"}
    assert report.interrupted and report.error is not None
    assert report.limit_file is not None and Path(report.limit_file).read_text() == "web2\nweb3\n"
    assert fleet.verbs("web2") == [] and fleet.service.hypervisor.media() == []
    assert signal.getsignal(number) is before

    again = fleet.install(*targets)
    assert states(again) == {"web1": "installed", "web2": "installed", "web3": "installed"}
    assert [row.resumed for row in again.rows] == [True, False, False]


def test_who_has_not_mounted_yet_stops_there(fleet: FleetOfScripts) -> None:
    stop = threading.Event()
    target = fleet.add("web1")

    def on_event(event: Event) -> None:
        if event.phase == "connect":
            stop.set()

    released = threading.Event()

    def connect(login: Any, seconds: float) -> Any:
        assert released.wait(PATIENCE_SECONDS)
        return fleet.connect(login, seconds)

    def service() -> Any:
        return fleet.service.client()

    watcher = threading.Thread(target=lambda: (stop.wait(PATIENCE_SECONDS), released.set()))
    watcher.start()
    report = install([target], Options(journal=fleet.folder / "journal"), service, on_event, stop=stop, connect=connect)
    watcher.join()
    [row] = report.rows
    assert (row.state, row.code) == ("failed", "INSTALL_INTERRUPTED"), row
    assert fleet.verbs("web1") == ["vm.enable"] and fleet.guests["web1"].closed <= 1


def test_a_second_signal_ends_the_wait_for_a_link_and_the_next_run_goes_on(fleet: FleetOfScripts) -> None:
    """F31: the disc is out and the row says where it ended."""
    target = fleet.add("web1", install=lambda _go: {"steps": ["agent"], "agent": {"agent_version": "0.1.0"}})

    def on_event(event: Event) -> None:
        if event.phase == "prove":
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    options = Options(journal=fleet.folder / "journal", wait_seconds=300)
    report = install([target], options, fleet.service.client, on_event, connect=fleet.connect)
    [row] = report.rows
    assert (row.state, row.phase, row.code) == ("failed", "prove", "INSTALL_INTERRUPTED"), row
    assert report.interrupted and fleet.service.hypervisor.media() == []

    fleet.guests["web1"].install = lambda _go: fleet.run_agent("web1")
    assert states(fleet.install(target)) == {"web1": "installed"}


def test_a_defect_in_one_guests_thread_is_its_own(fleet: FleetOfScripts) -> None:
    def defect(_go: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError("a value that must not be told")

    targets = [fleet.add("web1", install=defect), fleet.add("web2")]
    report = fleet.install(*targets)
    assert states(report) == {"web1": "INTERNAL", "web2": "installed"}
    assert "ZeroDivisionError" in report.rows[0].message and "must not be told" not in str(report.rows[0])
    assert fleet.service.hypervisor.media() == []


def test_a_service_that_does_not_answer_is_the_whole_runs_failure(fleet: FleetOfScripts) -> None:
    def service() -> Any:
        client = fleet.service.client()
        client.close()
        raise OpenNGTError("ENDPOINT_UNREACHABLE", "no answer")

    with pytest.raises(OpenNGTError) as caught:
        install([fleet.add("web1")], Options(journal=fleet.folder / "journal"), service)
    assert caught.value.code == "ENDPOINT_UNREACHABLE"
    assert not (fleet.folder / "journal").exists()


def test_a_journal_without_room_stops_no_installation(fleet: FleetOfScripts, monkeypatch: pytest.MonkeyPatch) -> None:
    target = fleet.add("web1", plan=dict(WELL_PLAN))
    fleet.client.enable(fleet.uuid_of("web1"))
    fleet.run_agent("web1")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openngt.install.fleet.journal.os.fsync", full)
    report = fleet.install(target)
    assert report.rows[0].code is None, report.rows
    assert "No space left" in report.warnings[0]
