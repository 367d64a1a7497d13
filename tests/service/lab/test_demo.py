# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's judgement: it must see every difference, and everything that is left over."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt_service.lab.demo import Demo, attempt, interrupt, recap
from openngt_service.lab.demo_views import compare, service_view, view_of_answers
from openngt_service.lab.process import end_process, processes_naming, run_logged, signals_held

RECORD: dict[str, Any] = {
    "vm_name": "web1",
    "vm_uuid": "11111111-2222-3333-4444-555555555555",
    "ngt_enabled": True,
    "tools_iso_mounted": False,
    "vss_snapshot": True,
    "self_service_restore": False,
    "communication_link_active": True,
    "transport": "tls",
    "agent_version": "0.1.0",
    "certificate": {"serial": "ab12", "not_after": "2029-08-17T07:00:00Z"},
}
NGTCLI: dict[str, Any] = {
    "agent_version": "0.1.0",
    "identity": {"not_after": "2029-08-17T07:00:00+00:00", "serial": "ab12"},
    "link": {"active": True, "transport": "tls"},
    "capabilities": {"vss_snapshot": True, "self_service_restore": False},
}
ANSWERS = {
    "hostname": "web1",
    "uuid": "11111111-2222-3333-4444-555555555555".upper(),
    "enabled": "enabled",
    "active": "active",
    "disc": "",
    "mounts": "",
}


def differing(answers: dict[str, str], ngtcli: dict[str, Any] | None = None) -> list[str]:
    guest = view_of_answers({**answers, "ngtcli": "" if ngtcli is None else json.dumps(ngtcli)})
    return [row.fact for row in compare("web1", service_view(RECORD), guest) if not row.agrees]


def test_two_views_of_one_vm_agree() -> None:
    assert differing(ANSWERS, NGTCLI) == []


@pytest.mark.parametrize(
    ("question", "answer", "fact"),
    [
        ("hostname", "other", "name"),
        ("uuid", "99999999-2222-3333-4444-555555555555", "UUID"),
        ("active", "failed", "NGT enabled"),
        ("enabled", "disabled", "NGT enabled"),
        ("disc", "/dev/sr0", "ISO mounted"),
        ("mounts", "/mnt/nutanix/ngt", "ISO mounted"),
    ],
)
def test_each_answer_of_the_guest_counts(question: str, answer: str, fact: str) -> None:
    assert differing({**ANSWERS, question: answer}, NGTCLI) == [fact]


@pytest.mark.parametrize(
    ("part", "key", "value", "fact"),
    [
        ("link", "active", False, "link active"),
        ("link", "transport", None, "transport"),
        ("identity", "serial", "ab13", "certificate serial"),
        ("identity", "not_after", "2029-08-17T07:00:01Z", "certificate expires"),
        ("capabilities", "vss_snapshot", False, "VSS"),
        ("capabilities", "self_service_restore", True, "self-service restore"),
    ],
)
def test_each_field_of_the_agents_answer_counts(part: str, key: str, value: Any, fact: str) -> None:
    assert differing(ANSWERS, {**NGTCLI, part: {**NGTCLI[part], key: value}}) == [fact]


def test_a_guest_without_ngtcli_differs_and_does_not_crash() -> None:
    assert "link active" in differing(ANSWERS)


def test_the_recap_is_read_by_host_and_must_name_every_vm() -> None:
    lines = [
        "PLAY RECAP ****",
        "db1   : ok=6  changed=0  unreachable=0  failed=0",
        "web1  : ok=6  changed=1  unreachable=0  failed=0",
    ]
    assert recap("\n".join(lines))["web1"]["changed"] == 1
    with pytest.raises(OpenNGTError, match="recap"):
        recap("\n".join(lines[:2]))


def test_a_failing_step_is_named_with_the_logs_and_everything_is_shut_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/openngt-0.1.0-py3-none-any.whl").write_bytes(b"no wheel")
    (tmp_path / "dist/openngt-guest_tools-0.1.0.tar.gz").write_bytes(b"no tarball")
    demo = Demo(tmp_path / "demo", tmp_path / "dist")
    demo.bin.mkdir(parents=True)
    (demo.bin / "python").write_text("#!/bin/sh\necho no such wheel\nexit 7\n", encoding="ascii")
    (demo.bin / "python").chmod(0o755)
    assert attempt(demo, keep=False) == 1
    said = capsys.readouterr().out
    assert "FAILED in step: Install wheel and collection from the artefacts" in said
    assert f"python ended with status 7; log: {demo.logs}/pip.log\nno such wheel" in said
    assert f"logs: {demo.logs}" in said
    assert "Shut everything down" in said
    assert not demo.state.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_ends_its_programs_and_names_the_step(tmp_path: Path, number: int) -> None:
    for name in ("openngt-0.1.0-py3-none-any.whl", "openngt-guest_tools-0.1.0.tar.gz"):
        (tmp_path / name).write_bytes(b"")
    slow = tmp_path / "demo/venv/bin/python"
    slow.parent.mkdir(parents=True)
    slow.write_text("#!/bin/sh\nexec sleep 600\n", encoding="ascii")
    slow.chmod(0o755)
    arguments = ["--directory", str(tmp_path / "demo"), "--dist", str(tmp_path)]
    command = [sys.executable, "-u", "-m", "openngt_service.lab.demo", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        while "ansible-core" not in demo.stdout.readline():
            assert demo.poll() is None
        while not (children := Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()):
            time.sleep(0.05)
        demo.send_signal(number)
        try:
            said, _ = demo.communicate(timeout=60)
        finally:
            demo.kill()
        assert demo.returncode == 130
    assert "interrupted in step: Install wheel and collection from the artefacts" in said
    assert "0 processes left" in said
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def test_a_signal_in_the_middle_of_a_start_waits_until_the_new_process_is_known() -> None:
    known: list[str] = []
    kept = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"), signals_held():
            signal.raise_signal(signal.SIGTERM)
            known.append("process")
        assert signal.getsignal(signal.SIGTERM) is interrupt
    finally:
        signal.signal(signal.SIGTERM, kept)
    assert known == ["process"]


def test_artefacts_that_are_not_built_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert attempt(Demo(tmp_path / "demo", tmp_path), keep=False) == 1
    assert "must hold one openngt-*.whl, not 0" in capsys.readouterr().out


def test_a_failed_program_is_reported_with_its_last_words_and_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    seen: list[str] = []
    with pytest.raises(OpenNGTError, match=r"(?s)sh ended with status 3; log: .*x\.log.*the reason") as caught:
        run_logged(["sh", "-c", "echo the reason; exit 3"], log, each_line=seen.append)
    assert caught.value.code == "COMMAND_FAILED"
    assert seen == ["the reason"]
    assert "the reason" in log.read_text(encoding="utf-8")


def test_a_process_is_found_by_an_argument_and_ended_even_when_it_does_not_listen(tmp_path: Path) -> None:
    script = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert processes_naming(str(tmp_path)) == {process.pid}
        end_process(process.pid, seconds=0.3)
        assert process.wait() == -9
    assert processes_naming(str(tmp_path)) == set()
