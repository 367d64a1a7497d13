# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent in a guest says of cloud-init, from the guest's files to the admin's terminal.

Service, agent and command are real; played are cloud-init, which writes its files, and the hypervisor.
"""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_process import AgentProcess
from tests.fakes.service import ServiceProcess
from tests.fakes.waiting import PATIENCE_SECONDS, until

Json = dict[str, Any]
VM = str(uuid.uuid4())
RAISED = "Runparts: 1 failures (part-001) in 1 attempted commands"
ERROR = f"('scripts-user', RuntimeError('{RAISED}'))"
OUTPUT = f"""\
Cloud-init v. 22.4.2 running 'init-local' at Thu, 26 Nov 2026 09:00:00 +0000. Up 4.1 seconds.
Cloud-init v. 22.4.2 running 'modules:final' at Thu, 26 Nov 2026 09:00:09 +0000. Up 13.0 seconds.
the disk /dev/nope is missing
2026-11-26 09:00:09,812 - cc_scripts_user.py[WARNING]: Failed to run module scripts-user ({RAISED})
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path, {"log_level": "warning"})
    running.hypervisor.add(VM, "web1", {"cd0": None})
    running.start()
    yield running
    running.stop()


@pytest.fixture
def agent(service: ServiceProcess, tmp_path: Path) -> Iterator[AgentProcess]:
    with service.client() as client:
        client.enable(VM)
        made = AgentProcess(tmp_path / "guest")
        made.install(service, client, VM)
    boots(made)
    yield made
    made.stop()


def boots(agent: AgentProcess) -> None:
    path = agent.folder / "proc/sys/kernel/random/boot_id"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{uuid.uuid4()}\n")
    agent.start()


def cloud_init_says(guest: Path, stage: str | None, errors: list[str]) -> None:
    """As the files of 22.4 have it."""
    files = {
        "var/lib/cloud/data/instance-id": f"i-{VM}\n",
        "var/log/cloud-init-output.log": OUTPUT,
        "run/cloud-init/status.json": json.dumps({"v1": {"stage": stage, "modules-final": {"errors": errors}}}),
    }
    if stage is None:
        files["run/cloud-init/result.json"] = json.dumps({"v1": {"errors": errors}})
    for name, content in sorted(files.items()):
        path = guest / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(content)
        partial.replace(path)


@pytest.mark.slow
def test_a_failure_in_the_guest_ends_the_command_with_the_guests_words_and_shows_in_health_until_it_is_withdrawn(
    service: ServiceProcess, agent: AgentProcess, tmp_path: Path
) -> None:
    spec = tmp_path / "web1.yml"
    spec.write_text("scripts:\n  - content: |\n      #!/bin/sh\n      test -b /dev/nope\n")
    with service.client() as client:
        until(lambda: client.vm(VM)["communication_link_active"], "the agent's link")
        openngt = str(Path(sys.executable).parent / "openngt")
        applied = subprocess.Popen(
            [openngt, "customize", "apply", "web1", str(spec)],
            env=service.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: [row["state"] for row in client.customizations()] == ["running"], "the disc is in")
        assert len(service.hypervisor.media()) == 1
        agent.stop()  # the guest starts anew, with the disc
        cloud_init_says(agent.folder, "modules-final", [])
        boots(agent)
        until(lambda: said(client.vm(VM)).get("status") == "running", "the agent tells that it is at work")
        cloud_init_says(agent.folder, None, [ERROR])
        stdout, stderr = applied.communicate(timeout=PATIENCE_SECONDS)
        assert applied.returncode == 1, stdout + stderr
        assert "CUSTOMIZATION_FAILED" in stderr and "the disk /dev/nope is missing" in stderr
        row = client.customization(VM)
        assert (row["state"], row["details"]["told_by"], row["details"]["module"]) == (
            "failed",
            "agent",
            "scripts-user",
        )
        assert RAISED in row["message"] and row["drive"] is None
        assert service.hypervisor.media() == [] and list(service.state_dir.glob("customizations/*")) == []
    told = service.cli("health", "run", "ngt_customization_check")
    assert told.returncode == 1 and "the disk /dev/nope is missing" in told.stdout, told.stdout + told.stderr
    assert service.cli("customize", "withdraw", "web1").returncode == 0
    assert service.cli("health", "run", "ngt_customization_check").returncode == 0


def said(record: Json) -> Json:
    found: Json = (record["vm_info"] or {}).get("customization") or {}
    return found
