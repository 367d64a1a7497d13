# SPDX-License-Identifier: GPL-3.0-or-later
"""T30, T34: no credential of a fleet install shows in any place where words are kept, whatever goes wrong.

Each guest fails in its own way, as that is when programs talk; those of `tests/simulated/test_secrets.py` get further.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.service import ServiceProcess
from tests.fakes.sshd import PASSWORD, Sshd, generate_key, why_not

from ..conftest import program
from .scanner import Hit, scan_bytes, scan_tree
from .watch import Arguments

pytestmark = pytest.mark.slow

TAIL = '/q+"\\é'
"""Changes its form in each encoding."""
HOSTS: dict[str, dict[str, Any]] = {
    "nobody-listens": {"host": "127.0.0.1", "port": 9},
    "wrong-password": {"user": "trusted"},
    "wrong-sudo": {"user": "asked", "password": PASSWORD, "become": "canary-sudo"},
    "wrong-passphrase": {"user": "trusted", "passphrase": "canary-passphrase"},
    "no-such-vm": {"user": "trusted"},
    "windows": {"user": ".\\op", "host": "127.0.0.1", "port": 9, "windows": True},
    "of-a-domain": {"user": "EXAMPLE\\op", "windows": True},
}
CODES = {
    "nobody-listens": "GUEST_REFUSED",
    "wrong-password": "GUEST_LOGIN_FAILED",
    "wrong-sudo": "SUDO_REFUSED",
    "wrong-passphrase": "GUEST_LOGIN_FAILED",
    "no-such-vm": "VM_NOT_FOUND",
    "windows": "WINDOWS_PYTHON_MISSING",
    "of-a-domain": "DOMAIN_USER_UNSUPPORTED",
}


@dataclass
class Fleet:
    """Guests that cannot be installed in, each with a secret of its own, and where to put what is said about them."""

    service: ServiceProcess
    server: Sshd
    collection: Path
    folder: Path
    secrets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sinks.mkdir()
        self.arguments.mkdir()
        self.home.joinpath(".ssh").mkdir(parents=True)
        shutil.copy(self.server.vouched(self.server.port).files[0], self.home / ".ssh/known_hosts")
        self.key = generate_key(self.home / "key", passphrase="another one")
        self.uuids = {name: str(uuid.uuid4()) for name in HOSTS}
        for name, host in HOSTS.items():
            self.secrets[name] = host.get("password", f"canary-{name}-{uuid.uuid4().hex[:8]}{TAIL}")
            if name != "no-such-vm":
                self.service.hypervisor.add(self.uuids[name], name, {"cd0": None})
        self.secrets["token"] = self.service.token
        self.secrets["sudo"] = f"canary-sudo-{uuid.uuid4().hex[:8]}{TAIL}"
        self.secrets["passphrase"] = f"canary-passphrase-{uuid.uuid4().hex[:8]}{TAIL}"

    @property
    def sinks(self) -> Path:
        return self.folder / "sinks"

    @property
    def arguments(self) -> Path:
        return self.folder / "arguments"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENNGT_", "ANSIBLE_"))}
        return {
            **kept,
            "PATH": f"{Path(program('ansible')).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.sinks / "state"),
            "OPENNGT_ENDPOINT": self.service.endpoint,
            "OPENNGT_CA_FILE": self.service.ca_file,
            "OPENNGT_TOKEN": self.service.token,
            "ANSIBLE_COLLECTIONS_PATH": str(self.collection),
            "ANSIBLE_HOME": str(self.sinks / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(self.sinks / "ansible/tmp"),
            "ANSIBLE_KEEP_REMOTE_FILES": "true",
            "ANSIBLE_LOG_PATH": str(self.sinks / "ansible.log"),
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(self.sinks / "facts"),
            "ANSIBLE_RETRY_FILES_ENABLED": "true",
            "ANSIBLE_RETRY_FILES_SAVE_PATH": str(self.sinks / "retry"),
            "ANSIBLE_INJECT_INVOCATION": "true",
            "ANSIBLE_DEPRECATION_WARNINGS": "false",
        }

    def entries(self) -> list[dict[str, Any]]:
        return [self._entry(name, host) for name, host in HOSTS.items()]

    def _entry(self, name: str, host: Mapping[str, Any]) -> dict[str, Any]:
        credentials = {"username": host.get("user", "op"), "password": self.secrets[name]}
        if "passphrase" in host:
            credentials |= {"private_key_file": str(self.key), "private_key_passphrase": self.secrets["passphrase"]}
        if "become" in host:
            credentials["become_password"] = self.secrets["sudo"]
        where = {"host": host.get("host", self.server.host), "port": host.get("port", self.server.port)}
        return {"uuid": self.uuids[name], "vmname": name, **where, "credentials": credentials}

    def inventory(self) -> Path:
        """JSON is YAML; the secrets stand in it as they are."""
        hosts = {}
        for name, host in HOSTS.items():
            variables: dict[str, Any] = {
                "openngt_vm": self.uuids[name],
                "ansible_host": host.get("host", self.server.host),
                "ansible_port": host.get("port", self.server.port),
                "ansible_user": host.get("user", "op"),
                "ansible_password": self.secrets[name],
                "ansible_connection": "winrm" if host.get("windows") else "ssh",
            }
            if "passphrase" in host:
                variables["ansible_ssh_private_key_file"] = str(self.key)
                variables["ansible_ssh_private_key_passphrase"] = self.secrets["passphrase"]
            if "become" in host:
                variables["ansible_become_password"] = self.secrets["sudo"]
            hosts[name] = variables
        return self.private("inventory.json", {"all": {"hosts": hosts}})

    def private(self, name: str, content: Any) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def run(self, name: str, *command: str, given: str = "", **environment: str) -> str:
        """What it said, which is a sink; as are the arguments of all processes meanwhile."""
        with Arguments() as seen:
            done = subprocess.run(
                [program(command[0]), *command[1:]],
                env={**self.environment, **environment},
                input=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=600,
            )
        (self.sinks / f"{name}.output").write_text(done.stdout, encoding="utf-8")
        (self.arguments / name).write_bytes(seen.text)
        assert str(command[1]).encode() in seen.text, "the watch saw it"
        assert done.returncode != 0, done.stdout
        return done.stdout

    def hits(self) -> list[Hit]:
        """Of every secret, in every sink, the service's own included."""
        (self.sinks / "service.output").write_text(self.service.stdout + self.service.stderr)
        with self.service.client() as client:
            (self.sinks / "api.json").write_text(json.dumps([client.tasks(), client.vms(), list(client.audit())]))
        with sqlite3.connect(self.service.state_dir / "openngt.db") as database:
            (self.sinks / "database.sql").write_text("\n".join(database.iterdump()), encoding="utf-8")
        assert scan_bytes(json.dumps(self.secrets).encode(), self.secrets, "itself"), "the scanner finds these secrets"
        # The right password is that of all such servers, also of other tests': it says nothing of whose process has it.
        own = {name: secret for name, secret in self.secrets.items() if secret != PASSWORD}
        arguments = [hit for path in self.arguments.iterdir() for hit in scan_bytes(path.read_bytes(), own, path.name)]
        return scan_tree(self.sinks, self.secrets) + arguments


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("service"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Sshd(options={"PerSourcePenalties": "no"} if penalises() else {}) as started:
        yield started


def penalises() -> bool:
    """OpenSSH 9.8 and newer, which would answer nobody after so many wrong passwords."""
    told = subprocess.run(["/usr/sbin/sshd", "-T"], capture_output=True, text=True, check=False).stdout
    return "persourcepenalties" in told


@pytest.fixture
def fleet(service: ServiceProcess, server: Sshd, collection: Path, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(service, server, collection, tmp_path)
    yield made
    for name, vm_uuid in made.uuids.items():
        if name != "no-such-vm":
            service.hypervisor.remove(vm_uuid)


def test_no_credential_shows_when_the_command_line_installs(fleet: Fleet) -> None:
    """T30: by a file, by standard input, by an inventory; in check mode; with a list that is wrong."""
    listed = json.dumps(fleet.entries())
    file = fleet.private("fleet.json", fleet.entries())
    said = fleet.run("list", "openngt", "fleet", "install", "--credentials", str(file))
    for name, code in CODES.items():
        assert re.search(rf"{name}: failed.* \[{code}\] ", said), (name, said)
    fleet.run("stdin", "openngt", "fleet", "check", "--credentials", "-", given=listed)
    fleet.run("inventory", "openngt", "fleet", "install", "--inventory", str(fleet.inventory()), "--no-resume")
    wrong = [{**entry, "port": fleet.secrets["sudo"], fleet.secrets["sudo"]: 1} for entry in fleet.entries()]
    fleet.run("wrong", "openngt", "fleet", "install", "--credentials", "-", given=json.dumps(wrong))
    fleet.run("torn", "openngt", "fleet", "install", "--credentials", "-", given=listed[:-20])
    assert list((fleet.sinks / "state").rglob("limit")), "the limit file is among the sinks"
    assert fleet.hits() == []


PLAYBOOK = "openngt.guest_tools.fleet_install"


def test_no_credential_shows_when_ansible_talks_as_much_as_it_can(fleet: Fleet) -> None:
    """T34: every verbosity says no more than the last; also --diff, --check, log, fact cache and retry files."""
    inventory = str(fleet.inventory())
    talk = fleet.run("install", "ansible-playbook", PLAYBOOK, "-i", inventory, "-vvvvv", "--diff")
    for name, code in CODES.items():
        assert name in talk and f"[{code}]" in talk, (name, talk)
    fleet.run("check", "ansible-playbook", PLAYBOOK, "-i", inventory, "-vvv", "--diff", "--check")
    assert (fleet.sinks / "ansible.log").stat().st_size > 10_000
    assert fleet.hits() == []


def test_no_credential_shows_in_a_play_of_one_s_own(fleet: Fleet) -> None:
    """T34: the list as a variable, in loops, async, with a rescue, registered and shown, set as a fact and cached."""
    fleet.private("secrets.yml", {"fleet_credentials": fleet.entries()})
    module = "openngt.guest_tools.fleet_install"
    given = {"credentials": "{{ fleet_credentials }}"}
    tasks: list[dict[str, Any]] = [
        {
            "block": [{"name": "In a block", module: given, "register": "outcome"}],
            "rescue": [
                {"ansible.builtin.debug": {"var": "outcome"}},
                {"ansible.builtin.debug": {"var": "ansible_failed_result"}},
                {"ansible.builtin.set_fact": {"kept": "{{ outcome }}", "cacheable": True}},
            ],
        },
        {"name": "In a loop", module: given, "loop": [1, 2], "register": "looped", "ignore_errors": True},
        {"ansible.builtin.debug": {"var": "looped"}},
        {"name": "Async", module: given, "async": 60, "poll": 1, "ignore_errors": True},
        {"name": "Wrong", module: {"credentials": "{{ fleet_credentials | to_json | replace(':', '=') }}"},
         "ignore_errors": True},
        {"name": "Mistyped", module: {"credentials": "{{ fleet_credentials[0].credentials }}"}, "ignore_errors": True},
        {"name": "From a file", module: {"credentials_file": str(fleet.private("fleet.json", fleet.entries()))}},
    ]  # fmt: skip
    play = {"hosts": "localhost", "gather_facts": False, "vars_files": ["secrets.yml"], "tasks": tasks}
    playbook = fleet.folder / "play.json"
    playbook.write_text(json.dumps([play]))
    said = fleet.run("own", "ansible-playbook", str(playbook), "-i", "localhost,", "-vvvvv", "--diff")
    assert "This action (openngt.guest_tools.fleet_install) does not support async" in said, said
    assert list((fleet.sinks / "facts").iterdir()), "the fact was cached"
    assert fleet.hits() == []


def test_no_credential_shows_in_what_ansible_runner_keeps(fleet: Fleet) -> None:
    """T34: its artefacts are what AWX stores as the events of a job."""
    data = fleet.folder / "runner"
    for name in ("inventory", "project"):
        (data / name).mkdir(parents=True)
    shutil.move(fleet.inventory(), data / "inventory/hosts.json")
    (data / "project/play.yml").write_text(f"- import_playbook: {PLAYBOOK}\n")
    # It records the environment, so the token comes by a file, as AWX would have it.
    token = json.dumps(
        {"openngt_token": f"{{{{ lookup('ansible.builtin.file', '{fleet.service.state_dir}/admin.token') }}}}"}
    )
    (data / "inventory/group_vars").mkdir()
    (data / "inventory/group_vars/all.json").write_text(token)
    artefacts = fleet.sinks / "artefacts"
    words = ["run", str(data), "-p", "play.yml", "-vvvvv", "--artifact-dir", str(artefacts)]
    said = fleet.run("runner", "ansible-runner", *words, OPENNGT_TOKEN="")
    assert all(f"[{code}]" in said for code in CODES.values()), said
    assert len(list(artefacts.rglob("job_events/*.json"))) > 10
    assert fleet.hits() == []
