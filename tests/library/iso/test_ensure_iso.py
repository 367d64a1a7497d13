# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's ISO from a CA folder: made for a reason, once, and put right after a crash at any step."""

import datetime
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt.iso.ensure_iso import IsoOrder, IsoOutcome, ensure_iso, ensure_no_iso
from openngt.iso.inspect import inspect_iso
from openngt.iso.template import Template
from openngt.pki.authority import create_authority
from openngt.pki.issue_log import RevocationRecord, open_issue_log, read_issue_log

from .conftest import CLUSTER_UUID, NGT_UUID, VM_UUID, MakeIso

HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def order(tmp_path: Path, now: datetime.datetime) -> IsoOrder:
    create_authority(tmp_path / "ca", common_name="Test CA", now=now)
    return IsoOrder(tmp_path / "vm.iso", tmp_path / "ca", VM_UUID, CLUSTER_UUID, "192.0.2.10", vm_name="web-1")


def run(order: IsoOrder, now: datetime.datetime) -> IsoOutcome:
    """The prediction and the deed, which must agree."""
    predicted = ensure_iso(order, check=True, now=now)
    done = ensure_iso(order, check=False, now=now)
    assert (predicted.changed, predicted.reason, predicted.diff) == (done.changed, done.reason, done.diff)
    assert predicted.iso is not None
    assert done.iso is not None
    for name, value in predicted.iso.items():
        assert value == done.iso[name] or (name in ("sha256", "serial") and value is None), name
    return done


def test_made_once_then_left_alone(order: IsoOrder, now: datetime.datetime) -> None:
    first = run(order, now)
    content = order.path.read_bytes()
    again = run(order, now + HOUR)
    assert (first.reason, again.reason, again.changed) == ("there is no ISO", None, False)
    assert order.path.read_bytes() == content
    assert again.iso == first.iso
    assert inspect_iso(order.path, now=now).verified


def test_it_is_made_again_shortly_before_it_expires_and_after(order: IsoOrder, now: datetime.datetime) -> None:
    run(order, now)
    assert not ensure_iso(order, check=True, now=now + 22.9 * HOUR).changed
    shortly = ensure_iso(order, check=True, now=now + 23.1 * HOUR)
    assert shortly.reason is not None
    assert shortly.reason.startswith("it expires at ")
    after = run(order, now + 25 * HOUR)
    assert after.reason is not None
    assert "has expired" in after.reason
    assert after.iso is not None
    assert after.iso["generation"] == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cluster_ip": "192.0.2.11"}, "its cluster_ip is 192.0.2.10"),
        ({"port": 2075}, "its port is 2074"),
        ({"cluster_uuid": NGT_UUID}, f"its cluster_uuid is {CLUSTER_UUID}"),
        ({"vm_name": "web-2"}, "its vm_name is web-1"),
        ({"label": "OTHER"}, "its label is NUTANIX_TOOLS"),
        ({"vm_uuid": NGT_UUID}, f"its vm_uuid is {VM_UUID}"),
        ({"ngt_uuid": CLUSTER_UUID}, "its ngt_uuid is "),
        ({"config_only": True}, "it is of kind tools; its agent/ngt_agent.pyz is another"),
    ],
)
def test_another_order_is_a_reason(
    order: IsoOrder, now: datetime.datetime, changes: dict[str, object], reason: str
) -> None:
    run(order, now)
    other = replace(order, **changes)  # type: ignore[arg-type]  # by name
    outcome = run(other, now)
    assert outcome.reason is not None
    assert reason in outcome.reason
    assert not run(other, now).changed


def test_other_extras_are_a_reason(order: IsoOrder, now: datetime.datetime, tmp_path: Path) -> None:
    extras = tmp_path / "extras"
    extras.mkdir()
    (extras / "a").write_bytes(b"1")
    order = replace(order, extras=extras)
    run(order, now)
    assert not run(order, now).changed
    (extras / "a").write_bytes(b"2")
    assert run(order, now).reason == "its extras/a is another"


def test_damage_revocation_a_lost_log_and_another_ca_are_reasons(
    order: IsoOrder, now: datetime.datetime, tmp_path: Path
) -> None:
    first = run(order, now)
    assert first.iso is not None
    with order.path.open("r+b") as stream:
        stream.truncate(40_000)
    truncated = run(order, now)
    assert truncated.reason is not None
    assert truncated.iso is not None
    with open_issue_log(order.ca_folder) as log:
        log.revoke(RevocationRecord(truncated.iso["serial"], VM_UUID, now))
    assert run(order, now).reason == "its certificate was revoked"
    (order.ca_folder / "issued.jsonl").unlink()
    lost = run(order, now)
    assert lost.reason == "the CA's issue log does not know its certificate"
    assert lost.iso is not None
    assert lost.iso["generation"] == 4, "above the ISO's own, though the log forgot"
    shutil.rmtree(order.ca_folder)
    create_authority(order.ca_folder, common_name="Test CA", now=now)
    replaced = run(order, now)
    assert replaced.reason is not None
    assert "was not signed by the CA" in replaced.reason


def test_a_wide_mode_is_put_right_without_a_new_certificate(order: IsoOrder, now: datetime.datetime) -> None:
    run(order, now)
    order.path.chmod(0o644)
    assert run(order, now).reason == "the file's mode is 0644"
    assert order.path.stat().st_mode & 0o7777 == 0o600
    assert len(read_issue_log(order.ca_folder).issued) == 1


def test_zero_bootstrap_hours_last_as_long_as_any_certificate(order: IsoOrder, now: datetime.datetime) -> None:
    outcome = run(replace(order, bootstrap_hours=0), now)
    [record] = read_issue_log(order.ca_folder).issued
    assert record.kind == "external"
    assert record.not_after == now + datetime.timedelta(days=1000)
    assert outcome.iso is not None
    assert outcome.iso["expires"] == record.not_after.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"vm_uuid": "x"}, "vm_uuid"),
        ({"cluster_uuid": ""}, "cluster_uuid"),
        ({"ngt_uuid": "x"}, "ngt_uuid"),
        ({"cluster_ip": "two words"}, "cluster_ip"),
        ({"cluster_ip": "-option"}, "cluster_ip"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"label": "small"}, "label"),
        ({"bootstrap_hours": -1}, "bootstrap_hours"),
        ({"bootstrap_hours": 24001}, "bootstrap_hours"),
        ({"threshold_hours": 24}, "threshold_hours"),
        ({"threshold_hours": -1}, "threshold_hours"),
        ({"config_only": True, "extras": Path("x")}, "extras"),
    ],
)
def test_each_field_is_judged_before_anything_is_done(order: IsoOrder, changes: dict[str, object], field: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        replace(order, **changes)  # type: ignore[arg-type]  # by name
    assert (caught.value.code, caught.value.details["field"]) == ("INVALID_INPUT", field)


def test_a_name_that_does_not_fit_its_slot_costs_no_certificate(order: IsoOrder, now: datetime.datetime) -> None:
    with pytest.raises(OpenNGTError) as caught:
        ensure_iso(replace(order, vm_name="x" * 5000), check=False, now=now)
    assert (caught.value.code, caught.value.details["path"]) == ("ISO_TOO_LARGE", "config/ngt_config.json")
    assert read_issue_log(order.ca_folder).issued == ()


def test_without_a_ca_it_is_refused_but_predicted(order: IsoOrder, now: datetime.datetime) -> None:
    shutil.rmtree(order.ca_folder)
    assert ensure_iso(order, check=True, now=now).reason == "there is no ISO"
    with pytest.raises(OpenNGTError) as caught:
        ensure_iso(order, check=False, now=now)
    assert caught.value.code == "CA_NOT_FOUND"


def test_two_runs_at_once_make_one_iso(order: IsoOrder, now: datetime.datetime) -> None:
    with ThreadPoolExecutor(4) as runs:
        outcomes = list(runs.map(lambda _: ensure_iso(order, check=False, now=now), range(4)))
    assert sorted(outcome.changed for outcome in outcomes) == [False, False, False, True], [
        outcome.reason for outcome in outcomes
    ]
    assert len(read_issue_log(order.ca_folder).issued) == 1


def test_absent_deletes_the_vms_own_iso_alone(
    order: IsoOrder, now: datetime.datetime, make_iso: MakeIso, template: Template, tmp_path: Path
) -> None:
    run(order, now)
    other = make_iso("other.iso", vm_uuid=NGT_UUID).path
    (tmp_path / "notes").write_bytes(b"mine" * 50_000)
    for path, code in ((other, "DISC_OF_ANOTHER_VM"), (tmp_path / "notes", "DISC_INVALID")):
        with pytest.raises(OpenNGTError) as caught:
            ensure_no_iso(path, VM_UUID, check=False, now=now)
        assert caught.value.code == code
        assert path.exists()
    assert ensure_no_iso(order.path, VM_UUID, check=True, now=now).changed
    assert order.path.exists()
    assert ensure_no_iso(order.path, VM_UUID, check=False, now=now).changed
    assert not order.path.exists()
    assert not ensure_no_iso(order.path, VM_UUID, check=False, now=now).changed
    assert read_issue_log(order.ca_folder).revoked == frozenset()


PROGRAM = """
import datetime, sys
from pathlib import Path
from openngt.iso.ensure_iso import IsoOrder, ensure_iso, ensure_no_iso
folder, what, time = Path(sys.argv[1]), sys.argv[2], datetime.datetime.fromisoformat(sys.argv[3])
order = IsoOrder(folder / "vm.iso", folder / "ca", sys.argv[4], sys.argv[5], "192.0.2.10")
if what == "make":
    ensure_iso(order, check=False, now=time)
else:
    ensure_no_iso(order.path, order.vm_uuid, check=False, now=time)
"""

MAKING = {"iso.ensure.signed", "iso.ensure.logged", "iso.ensure.written"}
DELETING = {"iso.ensure.deleted"}


def killed_at(step: str, what: str, order: IsoOrder, now: datetime.datetime) -> None:
    arguments = [str(order.ca_folder.parent), what, now.isoformat(), order.vm_uuid, order.cluster_uuid]
    command = [sys.executable, "-c", PROGRAM, *arguments]
    environment = {**os.environ, "OPENNGT_FAILPOINT": step}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_every_step_has_its_kill_case(failpoints: Callable[[Path], set[str]]) -> None:
    assert failpoints(Path(sys.modules[ensure_iso.__module__].__file__ or "")) == MAKING | DELETING


@pytest.mark.parametrize("step", sorted(MAKING))
def test_after_a_kill_while_making_the_next_run_converges(order: IsoOrder, now: datetime.datetime, step: str) -> None:
    order = replace(order, vm_name=None)
    killed_at(step, "make", order, now)
    assert order.path.exists() == (step == "iso.ensure.written")
    outcome = run(order, now)
    assert outcome.changed == (step != "iso.ensure.written")
    assert not run(order, now).changed
    log = read_issue_log(order.ca_folder)
    # Signed but not logged: nobody has the certificate. Logged but not written: its generation is not used again.
    assert [record.generation for record in log.issued] == ([1, 2] if step == "iso.ensure.logged" else [1])
    assert {path.name for path in order.path.parent.iterdir()} == {"ca", "vm.iso"}


def test_after_a_kill_while_deleting_the_next_run_converges(order: IsoOrder, now: datetime.datetime) -> None:
    run(order, now)
    killed_at("iso.ensure.deleted", "delete", order, now)
    assert not ensure_no_iso(order.path, VM_UUID, check=False, now=now).changed
