# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook awx_setup before a stand-in for AWX, and what its role would write there."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes.awx_controller import AwxController, AwxServer

from ..conftest import program

__all__ = ["Awx", "Finished", "data_of"]

ROOT = Path(__file__).resolve().parents[2]
RECAP = re.compile(r"ok=(\d+)\s+changed=(\d+)\s+unreachable=0\s+failed=(\d+)")
TOKEN = "canary-awx-token"
SERVICE_TOKEN = "canary-service-token"
LOGIN = "canary-password"
DATA = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: openngt.guest_tools.awx_setup, tasks_from: data, public: true}
    - ansible.builtin.copy:
        dest: "{{ answer }}"
        content: "{{ dict(wanted | zip(wanted | map('extract', vars))) | to_json }}"
"""


@dataclass(frozen=True)
class Finished:
    status: int
    output: str

    @property
    def changed(self) -> int:
        recap = RECAP.search(self.output)
        assert recap is not None, self.output
        return int(recap[2])


def environment(collection: Path, folder: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CONTROLLER_"))}
    return {
        **inherited,
        "ANSIBLE_COLLECTIONS_PATH": str(collection),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_PIPELINING": "true",
        # A person's own settings for AWX are looked for there.
        "HOME": str(folder),
    }


def play(collection: Path, folder: Path, *words: str | Path) -> Finished:
    done = subprocess.run(
        [program("ansible-playbook"), *map(str, words)],
        env=environment(collection, folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return Finished(done.returncode, done.stdout + done.stderr)


class Awx:
    """An AWX without anything in it but an organization."""

    def __init__(self, collection: Path, folder: Path) -> None:
        self.collection = collection
        self.folder = folder
        self.controller = AwxController(folder / "project")
        self.server = AwxServer(self.controller, TOKEN)
        (folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        (folder / "guests.json").write_text(json.dumps([{"vmname": "web1", "credentials": {"password": LOGIN}}]))

    def variables(self) -> dict[str, Any]:
        return {
            "awx_setup_controller_host": self.server.url,
            "awx_setup_controller_token": TOKEN,
            "awx_setup_project_url": "https://git.example/openngt-awx.git",
            "awx_setup_project_folder": str(self.folder / "project"),
            "awx_setup_image": "registry.example/openngt-ee:0.1.0",
            "awx_setup_endpoint": "https://192.0.2.10:2073",
            "awx_setup_token": SERVICE_TOKEN,
            "awx_setup_ca_file": str(self.folder / "ca.pem"),
        }

    def setup(self, *words: str, **variables: Any) -> Finished:
        """Variables of the role are given without its prefix, others as they are."""
        given = self.variables()
        for name, value in variables.items():
            given[name if name.startswith("controller_") and name.endswith("s") else f"awx_setup_{name}"] = value
        file = self.folder / "awx.json"
        file.write_text(json.dumps(given))
        self.server.calls.clear()
        done = play(self.collection, self.folder, "openngt.guest_tools.awx_setup", "-e", f"@{file}", *words)
        for secret in (TOKEN, SERVICE_TOKEN, LOGIN):
            assert secret not in done.output
        return done


@pytest.fixture
def awx(collection: Path, tmp_path: Path) -> Iterator[Awx]:
    one = Awx(collection, tmp_path)
    with one.server:
        yield one


def data_of(collection: Path, folder: Path, wanted: list[str], **variables: Any) -> Mapping[str, Any]:
    """What the role's data comes to, asked for as somebody who feeds it to infra.aap_configuration does."""
    playbook, answer = folder / "data.yml", folder / "data.json"
    playbook.write_text(DATA)
    given = {f"awx_setup_{name}": value for name, value in variables.items()}
    extra = json.dumps({**given, "wanted": wanted, "answer": str(answer)})
    done = play(collection, folder, playbook, "-e", extra)
    assert done.status == 0, done.output
    assert "WARNING" not in done.output
    found: Mapping[str, Any] = json.loads(answer.read_text())
    return found


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
