# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks as jobs of AWX, as a workflow has them: what it stores of them shows, is small, and holds no secret."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..canary.scanner import scan_tree
from .awx import MOST_BYTES, MOST_EVENTS, Job
from .conftest import World

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 10
"""Of progress, for each VM."""
SLICE = 100
"""Hosts of one slice, as our job templates have them at most."""
GUESTS = ("db1", "db2", "web1")
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


def numbers(job: Job, playbook: str) -> tuple[dict[str, int], dict[str, int]]:
    """The counts that are not 0, and the failures by code."""
    found = job.artifacts[f"openngt_{playbook}"]
    return {state: count for state, count in found["counts"].items() if count}, found["failures"]


def is_fit_to_be_stored(world: World, job: Job) -> None:
    """What holds for each job: few and small events, progress for people, and no secret anywhere."""
    sizes = [path.stat().st_size for path in job.folder.glob("artifacts/job/job_events/*.json")]
    assert max(sizes) < MOST_BYTES
    lines = Counter(found[1] for line in job.progress if (found := re.search(r"\b(db1|db2|web1|web2): ", line)))
    assert not lines or max(lines.values()) <= MOST_LINES, job.progress
    by_host = Counter(event["event_data"]["host"] for event in job.events if event["event_data"].get("host"))
    once = len(job.events) - sum(by_host.values()) - sum(lines.values())
    assert once + SLICE * max((by_host + lines).values(), default=0) < MOST_EVENTS
    assert scan_tree(job.stored(), world.secrets) == []


@pytest.fixture(scope="module")
def installed(world: World) -> dict[str, Job]:
    """The first nodes of the workflow: preflight, then the installation in two slices."""
    jobs = {"preflight": world.controller.launch("preflight")}
    for number in (1, 2):
        jobs[f"install {number}"] = world.controller.launch("install", slices=(number, 2), arguments="--diff")
    return jobs


def test_preflight_says_for_each_guest_what_is_in_the_way_and_changes_nothing(
    world: World, installed: dict[str, Job]
) -> None:
    job = installed["preflight"]
    assert job.status == 2, job.text
    failed = job.hosts("runner_on_failed")
    assert set(failed) == {"web2"} and "[VM_NOT_FOUND] remedy: " in failed["web2"]["msg"]
    ready = job.hosts("runner_on_ok", "Say whether the guest is ready")
    assert set(ready) == set(GUESTS) and all(said["msg"].startswith("ready: ") for said in ready.values())
    assert numbers(job, "preflight") == ({"unchanged": 3, "failed": 1}, {"VM_NOT_FOUND": 1})
    is_fit_to_be_stored(world, job)


def test_each_slice_installs_in_its_own_hosts_and_shows_how_far_it_is(world: World, installed: dict[str, Job]) -> None:
    first, second = installed["install 1"], installed["install 2"]
    assert first.status == 0 and set(first.hosts("runner_on_ok")) == {"db1", "web1"}, first.text
    assert numbers(first, "install") == ({"changed": 2}, {})
    assert any("web1: mounting the tools ISO" in line for line in first.progress)
    assert second.status == 2 and set(second.hosts("runner_on_failed")) == {"web2"}, second.text
    assert numbers(second, "install") == ({"changed": 1, "failed": 1}, {"VM_NOT_FOUND": 1})
    with world.service.client() as client:
        assert {vm["vm_name"] for vm in client.vms() if vm["communication_link_active"]} == set(GUESTS)
    for job in (first, second):
        is_fit_to_be_stored(world, job)


def test_prove_finds_each_link_on_both_sides_and_says_where_there_is_none(
    world: World, installed: dict[str, Job]
) -> None:
    job = world.controller.launch("prove", extra={"openngt_wait_seconds": 2})
    assert job.status == 2, job.text
    failed = job.hosts("runner_on_failed")
    assert set(failed) == {"web2"} and re.search(r"\[[A-Z_]+\] remedy: ", failed["web2"]["msg"])
    proven = job.hosts("runner_on_ok", "Say whether the link holds")
    assert set(proven) == set(GUESTS) and re.search(r"^proven: generation \d+ over \w+$", proven["db1"]["msg"])
    counts, failures = numbers(job, "prove")
    assert counts == {"unchanged": 3, "failed": 1} and sum(failures.values()) == 1
    is_fit_to_be_stored(world, job)


def test_a_report_is_read_in_the_jobs_output_and_says_that_its_files_end_with_the_job(
    world: World, installed: dict[str, Job]
) -> None:
    job = world.controller.launch("report")
    assert job.status == 0, job.text
    said = job.hosts("runner_on_ok", "Say what is wrong, and where the report is")["localhost"]["msg"]
    assert said[0].startswith("3 VMs: 3 links active")
    assert "name a folder that AWX mounts into jobs" in said[-1]
    left = job.artifacts["openngt_report"]
    assert left["counts"]["vms"] == 3
    assert left["files"] == [f"{job.folder}/project/openngt-report.{form}" for form in ("json", "csv", "html")]
    assert (
        "name a folder"
        not in world.controller.launch("report", extra={"openngt_report_directory": "/tmp"}, arguments="--check").text
    )
    is_fit_to_be_stored(world, job)


def test_fleet_install_takes_the_list_of_the_credential_for_the_hosts_of_the_job(
    world: World, installed: dict[str, Job]
) -> None:
    both = ("openngt service", "openngt guest credentials")
    trusted = {"openngt_trust_new_host_keys": True}
    job = world.controller.launch("fleet_install", credentials=both, extra=trusted, arguments="--limit db1,web2 --diff")
    assert job.status == 2, job.text
    assert set(job.hosts("runner_on_failed")) == {"web2"}
    assert numbers(job, "fleet_install")[1] == {"VM_NOT_FOUND": 1}
    assert not re.search(r"\b(db2|web1)\b", "\n".join(job.progress)), "they are not of this job"
    is_fit_to_be_stored(world, job)


def test_a_job_that_fails_before_anything_is_done_leaves_its_numbers(world: World) -> None:
    job = world.controller.launch("refresh", extra={"openngt_treshold_days": 45})
    assert job.status == 2 and "openngt_threshold_days is meant, perhaps" in job.text
    assert numbers(job, "refresh") == ({"failed": 4}, {"INVALID_INPUT": 4})
    is_fit_to_be_stored(world, job)


def test_what_a_template_may_be_given_is_taken(world: World) -> None:
    """Every variable of every data file at once, as a survey or a workflow's artifacts hand it over."""
    values: dict[str, Any] = {name: {"counts": {}} for name in artifacts()}
    for playbook in PLAYBOOKS:
        values |= {name: example(option) for name, option in options(playbook).items()}
    # Where to go, and what would end the play before its tasks.
    values |= {
        "openngt_serial": "50%",
        "openngt_hosts": "db1",
        "openngt_endpoint": "",
        "openngt_token": "",
        "openngt_ca_file": "",
    }
    job = world.controller.launch(*PLAYBOOKS, extra=values, arguments="--check --tags always --skip-tags nothing")
    judged = [each for each in job.events if each["event_data"].get("task") == "Check the variables that were given"]
    assert not [each for each in judged if each["event"] == "runner_on_failed"], job.text
    assert len([each for each in judged if each["event"] == "runner_on_ok"]) == len(PLAYBOOKS), job.text


def test_a_dry_run_of_each_playbook_ends_well_and_changes_nothing(world: World, installed: dict[str, Job]) -> None:
    playbooks = [
        "install", "prove", "status", "diagnose", "health", "refresh", "upgrade", "power", "uninstall", "customize",
        "ca_rollover", "fleet_install",
    ]  # fmt: skip
    with world.service.client() as client:
        before = client.vms()
    job = world.controller.launch(
        *playbooks,
        extra={"openngt_power": "guest_reboot", "openngt_fail_on": "never"},
        arguments="--check --diff --limit db1,localhost",
    )
    assert job.status == 0, job.text
    assert {f"openngt_{name}" for name in playbooks} - {"openngt_power"} <= set(job.artifacts)
    with world.service.client() as client:
        after = client.vms()
    kept = ("vm_uuid", "generation", "certificate", "power_state")
    assert [{name: vm[name] for name in kept} for vm in after] == [{name: vm[name] for name in kept} for vm in before]
    assert scan_tree(job.stored(), world.secrets) == []


def data(playbook: str) -> dict[str, Any]:
    path = ROOT / "playbooks/vars" / f"{playbook}.yml"
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["openngt_playbook"]
    return found


def artifacts() -> list[str]:
    return [data(playbook)["artifact"] for playbook in PLAYBOOKS]


def options(playbook: str) -> dict[str, Any]:
    """Those of its roles as well."""
    found = dict(data(playbook)["options"])
    for role in data(playbook)["roles"]:
        path = ROOT / "roles" / role / "meta/argument_specs.yml"
        found |= yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    return found


def example(option: dict[str, Any]) -> Any:
    """Something that the specification allows, as a survey gives it: mostly text."""
    if "choices" in option:
        return option["choices"][0]
    if "default" in option:
        return option["default"]
    return {"int": "3", "float": "3.5", "bool": "true", "dict": {}, "list": ["one"]}.get(option["type"], "text")
