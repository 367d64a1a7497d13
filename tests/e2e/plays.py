# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks of the built collection against the lab's guests, as a user does, and read what came out."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from openngt_service.lab.inventory import GuestUser, inventory
from openngt_service.lab.service_process import HOST_SEEN_FROM_GUESTS, ServiceProcess, clean_environment
from openngt_service.lab.vm import Lab

from ..conftest import program

__all__ = ["Ansible", "Play", "prepare"]

RECAP = re.compile(r"^(?P<host>\S+)\s*: (?P<counts>ok=\d+ .*)$", re.M)
FAILURE = re.compile(r"^fatal: \[(?P<host>[^\]\s]+)[^\]]*\]: (?:FAILED|UNREACHABLE)! => (?P<result>\{.*\})$", re.M)


@dataclass(frozen=True)
class Play:
    status: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        """The counts by host."""
        return {
            match["host"]: {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", match["counts"])}
            for match in RECAP.finditer(self.output)
        }

    def tasks(self, host: str) -> int:
        """How many tasks of the play ran or were skipped on a host."""
        counts = self.recap[host]
        return sum(counts[name] for name in ("ok", "skipped", "failed", "unreachable"))

    def failures(self, host: str) -> list[dict[str, Any]]:
        """The results of the tasks that failed on a host, in order."""
        return [json.loads(m["result"]) for m in FAILURE.finditer(self.output) if m["host"] == host]

    def succeeded(self) -> "Play":
        assert self.status == 0, self.output
        return self


@dataclass(frozen=True)
class Ansible:
    folder: Path
    inventories: Mapping[GuestUser, Path]
    environment: Mapping[str, str]

    def start(
        self,
        playbook: str | Sequence[Mapping[str, Any]],
        *arguments: str,
        user: GuestUser = "admin",
        environment: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[str]":
        """`ansible-playbook` in a process group of its own, whose leader it is. `playbook` is a name, or the plays."""
        if not isinstance(playbook, str):
            path = self.folder / "playbook.json"
            path.write_text(json.dumps(list(playbook)), encoding="utf-8")
            playbook = str(path)
        return subprocess.Popen(
            [program("ansible-playbook"), playbook, "-i", str(self.inventories[user]), *arguments],
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def play(
        self,
        playbook: str | Sequence[Mapping[str, Any]],
        *arguments: str,
        user: GuestUser = "admin",
        environment: Mapping[str, str] | None = None,
    ) -> Play:
        """Run to the end; a short name is a playbook of the collection."""
        if isinstance(playbook, str) and "/" not in playbook:
            playbook = f"openngt.guest_tools.{playbook}"
        process = self.start(playbook, *arguments, user=user, environment=environment)
        output, _ = process.communicate()
        return Play(process.returncode, output)


def prepare(folder: Path, lab: Lab, service: ServiceProcess, collection: Path) -> Ansible:
    inventories: dict[GuestUser, Path] = {}
    users: tuple[GuestUser, ...] = ("admin", "operator")
    for user in users:
        document = inventory(lab, lab.vms(), user)
        document["all"]["vars"] |= {
            "guest_agent_gateway_host": HOST_SEEN_FROM_GUESTS,
            "guest_agent_gateway_port": service.gateway_port,
            "guest_agent_wait_seconds": 120,
        }
        inventories[user] = folder / f"{user}.yml"
        inventories[user].write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    settings = folder / "ansible.cfg"
    settings.touch()
    environment = {
        **clean_environment(),
        **service.environment(),
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_COLLECTIONS_PATH": str(collection),
        "ANSIBLE_NOCOLOR": "true",
        # Fewer ways to an emulated guest for each task; test_install and test_secrets do without, as Ansible does.
        "ANSIBLE_PIPELINING": "true",
        # An emulated guest takes its time to greet.
        "ANSIBLE_TIMEOUT": "60",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=300s",
    }
    return Ansible(folder, inventories, environment)
