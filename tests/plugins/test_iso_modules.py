# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules iso and iso_info, installed from the built collection and run by ansible-core."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from openngt.agent_bundle import build_zipapp

Result = dict[str, Any]
RunTasks = Callable[..., list[Result]]
VM, OTHER_VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"
CLUSTER = "c1a57e12-4f0e-4c7d-9a55-5b1f6c0d7e42"
CANARY = "canary-passphrase-7391"


def task(name: str, arguments: Mapping[str, Any], **keywords: Any) -> dict[str, Any]:
    return {f"openngt.guest_tools.{name}": dict(arguments), **keywords}


def predicted_then_done(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A step and the same again, each first in check mode."""
    steps = [task("iso", arguments, check_mode=True, diff=True), task("iso", arguments, diff=True)]
    return [*steps, *steps]


@pytest.fixture
def ca(tmp_path: Path) -> dict[str, Any]:
    return task("ca", {"path": str(tmp_path / "ca")})


@pytest.fixture
def iso(tmp_path: Path) -> dict[str, Any]:
    return {
        "ca_path": str(tmp_path / "ca"),
        "path": str(tmp_path / "web1.iso"),
        "vm_uuid": VM,
        "vm_name": "web1",
        "cluster_uuid": CLUSTER,
        "cluster_ip": "192.0.2.10",
    }


def test_twelve_steps_of_iso(run_tasks: RunTasks, ca: dict[str, Any], iso: dict[str, Any], tmp_path: Path) -> None:
    modified = {**iso, "port": 2999, "label": "OTHER_TOOLS"}
    absent = {"path": iso["path"], "vm_uuid": VM, "state": "absent"}
    steps = [step for arguments in (iso, modified, absent) for step in predicted_then_done(arguments)]
    _, *results = run_tasks([ca, *steps])
    assert [result["changed"] for result in results] == [True, True, False, False] * 3, results
    for predicted, done in zip(results[::2], results[1::2], strict=True):
        for result in (predicted, done):
            for side in ("before", "after"):
                result["diff"][side].pop("expires", None)  # the clock goes on between the two
        assert predicted["diff"] == done["diff"]
        assert predicted["reason"] == done["reason"]
    created, changed, deleted = results[1], results[5], results[9]
    assert created["reason"] == "there is no ISO"
    assert changed["reason"] == "its label is NUTANIX_TOOLS; its port is 2074"
    assert [one["iso"]["generation"] for one in (created, changed)] == [1, 2]
    assert created["iso"]["agent_sha256"] == hashlib.sha256(build_zipapp()).hexdigest(), "the same agent from AnsiballZ"
    assert deleted["iso"] is None
    assert not (tmp_path / "web1.iso").exists()
    logged = [json.loads(line) for line in (tmp_path / "ca/issued.jsonl").read_text().splitlines()]
    assert [record["serial"] for record in logged] == [one["iso"]["serial"] for one in (created, changed)]
    assert {(record["vm_name"], record["kind"]) for record in logged} == {("web1", "bootstrap")}


def test_check_mode_predicts_before_there_is_a_ca_and_writes_nothing(
    run_tasks: RunTasks, iso: dict[str, Any], tmp_path: Path
) -> None:
    [predicted] = run_tasks([task("iso", iso)], check=True)
    assert predicted["changed"]
    assert predicted["iso"]["vm_uuid"] == VM
    assert (predicted["iso"]["serial"], predicted["iso"]["sha256"]) == (None, None)
    assert not (tmp_path / "web1.iso").exists()
    assert not (tmp_path / "ca").exists()


def test_iso_info_verifies_what_iso_made_and_tells_what_was_altered(
    run_tasks: RunTasks, ca: dict[str, Any], iso: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "extras").mkdir()
    (tmp_path / "extras/tool.msi").write_bytes(b"the administrator's own")
    info = {"path": iso["path"], "ca_sha256": "{{ result_0.ca.ca_sha256 }}"}
    _, made, read, other = run_tasks(
        [
            ca,
            task("iso", {**iso, "extras": str(tmp_path / "extras")}),
            task("iso_info", info),
            task("iso_info", {**info, "ca_sha256": "0" * 64}),
        ]
    )
    assert read["iso"]["verified"], read["iso"]["problems"]
    assert not read["changed"]
    assert read["iso"]["manifest"]["vm_uuid"] == VM
    assert read["iso"]["certificate"]["serial"] == made["iso"]["serial"]
    assert read["iso"]["config"]["port"] == 2074
    assert "extras/tool.msi" in [file["path"] for file in read["iso"]["files"]]
    assert not other["iso"]["verified"]

    path = Path(iso["path"])
    content = bytearray(path.read_bytes())
    content[content.find(b"the administrator's own")] ^= 1
    path.write_bytes(content)
    altered, again = run_tasks(
        [task("iso_info", {"path": iso["path"]}), task("iso", {**iso, "extras": str(tmp_path / "extras")})]
    )
    assert altered["iso"]["problems"] == ["extras/tool.msi is altered"]
    assert again["reason"] == "extras/tool.msi is altered"


def test_failures_have_a_code_and_touch_nothing(
    run_tasks: RunTasks, ca: dict[str, Any], iso: dict[str, Any], tmp_path: Path
) -> None:
    foreign = tmp_path / "debian.iso"
    foreign.write_bytes(b"x" * 100_000)
    absent = {"vm_uuid": VM, "state": "absent"}
    steps = {
        "DISC_OF_ANOTHER_VM": task("iso", {**absent, "path": iso["path"], "vm_uuid": OTHER_VM}),
        "CA_NOT_FOUND": task("iso", {**iso, "ca_path": str(tmp_path / "nowhere")}),
        "INVALID_INPUT": task("iso", {**iso, "bootstrap_hours": 1}),
        "FILE_UNUSABLE": task("iso", {**iso, "path": str(tmp_path / "nowhere/web1.iso")}),
        "DISC_INVALID": task("iso", {**absent, "path": str(foreign)}),
        "DISC_NOT_FOUND": task("iso_info", {"path": str(tmp_path / "nowhere.iso")}),
    }
    _, made, *results = run_tasks([ca, task("iso", {**iso, "config_only": True}), *steps.values()])
    assert (made["iso"]["kind"], made["iso"]["agent_sha256"]) == ("config", None)
    assert [result["code"] for result in results] == list(steps)
    assert results[0]["details"]["vm_uuid"] == VM
    assert Path(iso["path"]).exists()
    assert all(result["failed"] and result["remedy"] and "Traceback" not in result["msg"] for result in results)
    assert foreign.read_bytes() == b"x" * 100_000


def test_neither_key_nor_passphrase_is_shown(
    run_tasks: RunTasks, iso: dict[str, Any], tmp_path: Path, collection: Path
) -> None:
    secret = {"ca_passphrase": CANARY}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            task("ca", {"path": iso["ca_path"], "passphrase": CANARY}),
            task("iso", {**iso, **secret}),
            task("iso", {**iso, **secret, "ca_passphrase": CANARY + "-wrong", "port": 1}, ignore_errors=True),
            task("iso_info", {"path": iso["path"]}),
        ],
    }
    (tmp_path / "play.json").write_text(json.dumps([play]))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-vvvvv", "--diff", str(tmp_path / "play.json")]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collection), "ANSIBLE_HOME": str(tmp_path / "ansible")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "CA_PASSPHRASE_WRONG" in said
    content = Path(iso["path"]).read_bytes()
    key = content[content.find(b"-----BEGIN PRIVATE KEY") :].splitlines()[1].decode()
    for hidden in (CANARY, base64.b64encode(CANARY.encode()).decode(), key):
        assert hidden not in said
