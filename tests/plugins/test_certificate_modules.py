# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules ca, certificate and certificate_info, installed from the built collection and run by ansible-core."""

import base64
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

Result = dict[str, Any]
RunTasks = Callable[..., list[Result]]
VM, OTHER_VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"


def task(name: str, arguments: Mapping[str, Any], **keywords: Any) -> dict[str, Any]:
    return {f"openngt.guest_tools.{name}": dict(arguments), **keywords}


def predicted_then_done(name: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A step and the same again, each first in check mode."""
    steps = [task(name, arguments, check_mode=True, diff=True), task(name, arguments, diff=True)]
    return [*steps, *steps]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def ca(tmp_path: Path) -> dict[str, Any]:
    return {"path": str(tmp_path / "ca")}


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, Any]:
    return {"ca_path": str(tmp_path / "ca"), "path": str(tmp_path / "client.pem"), "vm_uuid": VM, "vm_name": "web1"}


@pytest.mark.slow
def test_twelve_steps_of_certificate(
    run_tasks: RunTasks, ca: dict[str, Any], certificate: dict[str, Any], tmp_path: Path
) -> None:
    modified = {**certificate, "key_type": "rsa-2048"}
    absent = {**certificate, "state": "absent"}
    steps = [
        step for arguments in (certificate, modified, absent) for step in predicted_then_done("certificate", arguments)
    ]
    _, *results = run_tasks([task("ca", ca), *steps])
    assert [result["changed"] for result in results] == [True, True, False, False] * 3, results
    for predicted, done in zip(results[::2], results[1::2], strict=True):
        for result in (predicted, done):
            for side in ("before", "after"):
                result["diff"][side].pop("not_after", None)  # the clock goes on between the two
        assert predicted["diff"] == done["diff"]
        assert predicted["reason"] == done["reason"]
    created, changed, deleted = results[1], results[5], results[9]
    assert created["reason"] == "there is no certificate"
    assert changed["reason"] == "its key type is ecdsa-p256"
    assert changed["diff"]["after_header"] == f"{certificate['path']} (its key type is ecdsa-p256)"
    assert [one["certificate"]["generation"] for one in (created, changed)] == [1, 2]
    assert (changed["diff"]["before"]["key_type"], changed["diff"]["after"]["key_type"]) == ("ecdsa-p256", "rsa-2048")
    assert deleted["revoked"] == [created["certificate"]["serial"], changed["certificate"]["serial"]]
    assert deleted["certificate"] is None
    assert not (tmp_path / "client.pem").exists()


def test_a_ca_is_created_once_and_never_modified(run_tasks: RunTasks, ca: dict[str, Any], tmp_path: Path) -> None:
    modified = {**ca, "key_type": "ed25519"}
    results = run_tasks([*predicted_then_done("ca", ca), *predicted_then_done("ca", modified), task("ca", ca)])
    assert [result["changed"] for result in results] == [True, True, False, False] + [False] * 5
    assert [result.get("code") for result in results] == [None] * 4 + ["CA_EXISTS"] * 4 + [None]
    assert results[0]["diff"] == results[1]["diff"] | {"after": {**results[1]["diff"]["after"], **_time(results[0])}}
    assert len({result["ca"]["ca_sha256"] for result in results[1:4]} | {results[8]["ca"]["ca_sha256"]}) == 1
    assert results[4]["details"] == {"field": "key_type", "found": "ecdsa-p256"}
    assert results[4]["remedy"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ca").iterdir()}
    assert modes == {"ca.pem": 0o644, "ca.key": 0o600}


def _time(result: Result) -> dict[str, str]:
    return {"not_after": result["diff"]["after"]["not_after"]}


def test_a_whole_play_is_predicted_before_anything_exists(
    run_tasks: RunTasks, ca: dict[str, Any], certificate: dict[str, Any], tmp_path: Path
) -> None:
    results = run_tasks([task("ca", ca), task("certificate", certificate)], check=True, diff=True)
    assert [(result["changed"], result["failed"]) for result in results] == [(True, False)] * 2
    assert not (tmp_path / "ca").exists()
    assert not (tmp_path / "client.pem").exists()


def test_info_reads_file_and_text_alike(run_tasks: RunTasks, ca: dict[str, Any], certificate: dict[str, Any]) -> None:
    text = "{{ lookup('ansible.builtin.file', '" + certificate["path"] + "') }}"
    _, issued, of_file, of_text, of_ca = run_tasks(
        [
            task("ca", ca),
            task("certificate", certificate),
            task("certificate_info", {"path": certificate["path"]}, check_mode=True),
            task("certificate_info", {"content": text}),
            task("certificate_info", {"path": f"{ca['path']}/ca.pem"}),
        ]
    )
    assert of_file["certificate"] == of_text["certificate"] == issued["certificate"]
    assert (of_file["changed"], of_text["changed"]) == (False, False)
    assert (of_ca["certificate"]["is_ca"], of_ca["certificate"]["vm_uuid"]) == (True, None)


@pytest.mark.slow
def test_failures_carry_code_and_remedy(
    run_tasks: RunTasks, ca: dict[str, Any], certificate: dict[str, Any], tmp_path: Path
) -> None:
    encrypted = {"path": str(tmp_path / "encrypted"), "passphrase": "correct horse"}
    (tmp_path / "path/cryptography").mkdir(parents=True)
    (tmp_path / "path/cryptography/__init__.py").write_text("raise ImportError('not here')\n")
    cases = [
        (task("certificate", certificate), "CA_NOT_FOUND"),
        (task("certificate_info", {"path": str(tmp_path / "none.pem")}), "FILE_UNUSABLE"),
        (task("certificate_info", {"content": "nothing"}), "CERTIFICATE_INVALID"),
        (task("ca", ca), None),
        (task("certificate", {**certificate, "vm_uuid": "web1"}), "INVALID_INPUT"),
        (task("certificate", {**certificate, "threshold_days": 1000}), "INVALID_INPUT"),
        (task("certificate", {**certificate, "validity_days": 5000}), "INVALID_INPUT"),
        (task("certificate", {**certificate, "path": str(tmp_path / "none/client.pem")}), "FILE_UNUSABLE"),
        (task("certificate", certificate), None),
        (task("certificate", {**certificate, "vm_uuid": OTHER_VM, "state": "absent"}), "INVALID_INPUT"),
        (task("ca", encrypted), None),
        (task("ca", {**encrypted, "passphrase": "wrong"}), "CA_PASSPHRASE_WRONG"),
        (task("certificate", {**certificate, "ca_path": encrypted["path"]}), "CA_PASSPHRASE_WRONG"),
        (task("ca", ca, environment={"PYTHONPATH": str(tmp_path / "path")}), "LIBRARY_MISSING"),
    ]
    results = run_tasks([case for case, _ in cases])
    assert [result.get("code") for result in results] == [code for _, code in cases]
    for result in results:
        assert result["failed"] == ("code" in result)
        assert not result["failed"] or (result["msg"] and result["remedy"] and "Traceback" not in json.dumps(result))


def test_a_module_killed_half_way_is_put_right_by_the_next_run(
    run_tasks: RunTasks, ca: dict[str, Any], certificate: dict[str, Any], tmp_path: Path
) -> None:
    killed_at = {"OPENNGT_FAILPOINT": "pki.issue_log.synced"}
    _, killed, again, unchanged = run_tasks(
        [
            task("ca", ca),
            task("certificate", certificate, environment=killed_at),
            task("certificate", certificate),
            task("certificate", certificate),
        ]
    )
    assert (killed["failed"], killed["rc"]) == (True, 128 + signal.SIGKILL)
    assert (again["changed"], unchanged["changed"]) == (True, False)
    assert again["certificate"]["generation"] == 2
    assert sorted(contents(tmp_path / "ca")) == ["ca.key", "ca.pem", "issued.jsonl"]
    ca_pem = str(tmp_path / "ca/ca.pem")
    verify = ["openssl", "verify", "-purpose", "sslclient", "-CAfile", ca_pem, str(tmp_path / "client.pem")]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0


def forms(secret: bytes) -> list[bytes]:
    """A secret as it could turn up: plain, base64 at each offset, hexadecimal, UTF-16."""
    shifted = [base64.b64encode(b"\0" * shift + secret)[4:-4] for shift in range(3)]
    return [secret, *shifted, secret.hex().encode(), secret.decode().encode("utf-16-le")]


def leaks(folder: Path, secrets: list[bytes]) -> list[str]:
    wanted = [form for secret in secrets for form in forms(secret)]
    return [name for name, content in contents(folder).items() if any(form in content for form in wanted)]


@pytest.mark.slow
def test_no_secret_is_left_in_output_log_or_temporary_file(
    collection: Path, ca: dict[str, Any], certificate: dict[str, Any], tmp_path: Path
) -> None:
    passphrase, wrong = "canary-9f3b-passphrase", "canary-9f3b-mistaken"
    ordered = {**certificate, "ca_passphrase": passphrase}
    tasks = [
        task("ca", {**ca, "passphrase": passphrase}),
        task("certificate", ordered),
        task("certificate", {**ordered, "key_type": "ed25519", "ca_passphrase": wrong}, ignore_errors=True),
        task("certificate", {**ordered, "key_type": "rsa-2048"}),
        task("certificate_info", {"content": "{{ lookup('ansible.builtin.file', '" + certificate["path"] + "') }}"}),
    ]
    playbook, seen = tmp_path / "playbook.json", tmp_path / "seen"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    seen.mkdir()
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(collection),
        "ANSIBLE_HOME": str(seen / "home"),
        "ANSIBLE_REMOTE_TEMP": str(seen / "remote"),
        "ANSIBLE_LOG_PATH": str(seen / "ansible.log"),
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-vvvvv", "--diff", str(playbook)]
    with (seen / "output").open("wb") as output:
        done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, (seen / "output").read_text()
    assert "CA_PASSPHRASE_WRONG" in (seen / "output").read_text()
    keys = [line for name in ("client.pem", "ca/ca.key") for line in (tmp_path / name).read_bytes().splitlines()[1:4]]
    secrets = [passphrase.encode(), wrong.encode(), *keys]
    assert leaks(seen, secrets) == []
    for number, form in enumerate(forms(secrets[0])):
        (seen / f"planted-{number}").write_bytes(b"before " + form + b" after")
        assert leaks(seen, secrets) == [f"planted-{number}"], "the scanner is blind"
        (seen / f"planted-{number}").unlink()
