# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows host in the per-host playbook: the role's logic and the scripts that are sent, in a simulated guest.

No PowerShell runs and no real Windows is met here. The agent is the real one, on this machine, at a real service.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plugins.module_utils.openngt.errors import OpenNGTError
from plugins.module_utils.openngt.install.fleet.report import Options
from plugins.module_utils.openngt.install.windows.play import PARTS, judged, parameters, script
from tests.conftest import program
from tests.fakes import powershell
from tests.fakes.agent_process import AgentProcess
from tests.fakes.service import ServiceProcess
from tests.fakes.windows_facts import READY
from tests.fakes.windows_python import embeddable
from tests.fakes.winrm_server import Run, WinrmServer, make_certificate
from tests.fakes.winrm_server.ansible import modules

from openngt.agent.identity import load

PASSWORD = "Pa55-canary"
VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
FACTS: dict[str, Any] = {**READY, "vm_uuid": VM}


@pytest.mark.parametrize("part", ["look", "install", "remove"])
def test_what_is_sent_is_powershell_3_and_holds_the_program_of_the_fleet(part: Any) -> None:
    text = script(part)
    assert powershell.foreign_to_powershell_3(text) == []
    assert text.startswith("param(")
    assert not re.search(r"^Converse$", text, re.MULTILINE), "the conversation is the fleet's alone"
    assert ("Install-FromDisc (" in text) == (part == "install")
    assert ("= Remove-Agent" in text) == (part == "remove")


def test_an_answer_is_judged_as_the_fleet_judges_it() -> None:
    told = judged([json.dumps({"facts": FACTS, "agent": None, "leftovers": []})], Options(), "0.1.0")
    assert told["met"] and told["operation"] == "install" and told["reason"] == "no agent is installed"
    poor = {**FACTS, "powershell": "2.0", "elevated": False}
    told = judged(["a line before", json.dumps({"facts": poor, "agent": None, "leftovers": []})], Options(), "0.1.0")
    assert [each["name"] for each in told["findings"] if each["state"] == "failed"] == ["powershell", "privilege"]


def test_a_guest_that_shall_have_no_agent_is_judged_by_what_is_left_in_it() -> None:
    clean = [json.dumps({"facts": FACTS, "agent": None, "leftovers": []})]
    assert judged(clean, Options(), "0.1.0", present=False)["operation"] == "none"
    damaged = [json.dumps({"facts": FACTS, "agent": None, "leftovers": ["C:\\Program Files\\openngt"]})]
    assert judged(damaged, Options(), "0.1.0", present=False)["operation"] == "uninstall"


@pytest.mark.parametrize(("generation", "operation"), [(0, "none"), (3, "none"), (4, "install")])
def test_an_agent_with_an_older_identity_than_the_disc_has_takes_the_discs(generation: int, operation: str) -> None:
    output = [json.dumps({"facts": FACTS, "agent": linked("aa", 3), "leftovers": ["C:\\Program Files\\openngt"]})]
    assert judged(output, Options(), "0.1.0", generation=generation)["operation"] == operation


@pytest.mark.parametrize("output", [[], ["no JSON"], ["[]"], [None]])
def test_what_is_no_answer_is_told(output: list[Any]) -> None:
    with pytest.raises(OpenNGTError, match="no JSON object") as caught:
        judged(output, Options(), "0.1.0")
    assert caught.value.code == "PROTOCOL_ERROR"


def test_what_goes_wrong_in_the_guest_keeps_its_code_and_gets_its_remedy() -> None:
    answer = {"phase": "install", "error": {"code": "DISC_NOT_FOUND", "message": "no drive holds a tools disc"}}
    with pytest.raises(OpenNGTError) as caught:
        judged([json.dumps(answer)], Options(), "0.1.0")
    assert caught.value.code == "DISC_NOT_FOUND" and "attach the VM's tools ISO" in caught.value.remedy


def test_what_is_given_to_look_holds_neither_agent_nor_word_to_go() -> None:
    assert set(parameters(Options(), "0.1.0")) == {"Header"}
    given = parameters(Options(), "0.1.0", {"ca_sha256": "ab", "python_sha256": "cd"})
    assert set(given) == {"Header", "Go", "Agent"}


def linked(ca_sha256: str, generation: int, serial: str | None = None) -> dict[str, Any]:
    """What `ngtcli status` says of an agent that is well."""
    return {
        "agent_version": "0.1.0",
        "service": {"active": "active"},
        "identity": {"kind": "link", "ca_sha256": ca_sha256, "generation": generation, "serial": serial},
        "link": {"active": True},
    }


class WindowsHost:
    """A host of an inventory, its VM, and what answers in its guest."""

    def __init__(self, collection: Path, service: ServiceProcess, folder: Path) -> None:
        self.collection, self.service, self.folder = collection, service, folder
        self.certificate = make_certificate(folder)
        self.agent = AgentProcess(folder / "guest")
        self.facts = dict(FACTS)
        self.status: dict[str, Any] | None = None
        self.links_itself = False
        """With what a killed run has left it, once it was looked at."""
        self.failure: dict[str, str] | None = None
        self.parts: list[str] = []
        self.gone: dict[str, Any] = {}
        self.server = WinrmServer(self.serve, users={"admin": PASSWORD}, certificate=self.certificate)

    def serve(self, run: Run) -> int:
        return modules({"ansible.windows.win_powershell": self.powershell})(run)

    def powershell(self, arguments: dict[str, Any]) -> dict[str, Any]:
        [part] = [name for name in PARTS if arguments["script"] == script(name)]  # type: ignore[arg-type]
        self.parts.append(part)
        leftovers = ["C:\\Program Files\\openngt"] if self.status else []
        answer: dict[str, Any] = {"facts": self.facts, "agent": self.status, "leftovers": leftovers}
        if part == "install":
            answer = self.install(json.loads(arguments["parameters"]["Go"]))
        elif part == "remove":
            answer = self.remove()
        elif self.links_itself:
            self.status = linked("", 1)
        return {"output": [json.dumps(answer)], "error": []}

    def install(self, go: dict[str, Any]) -> dict[str, Any]:
        self.gone = {**go, "media": self.service.hypervisor.media()}
        if self.failure is not None:
            return {"phase": "install", "error": self.failure}
        with self.service.client() as client:
            self.agent.folder.mkdir()
            self.agent.install(self.service, client, VM)
            held = load(self.agent.paths).certificate
            self.status = linked(client.ca()["ca_sha256"], client.vm(VM)["generation"], held.serial)
        self.agent.start()
        return {"phase": "install", "steps": ["files", "service"], "agent": self.status, "warnings": []}

    def remove(self) -> dict[str, Any]:
        if self.failure is not None:
            return {"phase": "remove", "error": self.failure}
        self.agent.stop()
        self.status = None
        return {"phase": "remove", "steps": ["service", "home"], "reboot_required": True}

    def play(self, name: str, *arguments: str) -> tuple[int, str, dict[str, int]]:
        """Exit status, output, and the host's counts."""
        host = {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.server.port,
            "ansible_connection": "winrm",
            "ansible_user": "admin",
            "ansible_password": PASSWORD,
            "ansible_winrm_transport": "ntlm",
            "ansible_winrm_ca_trust_path": str(self.certificate.file),
            "openngt_vm": VM,
        }
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"web1": host}}}))
        done = subprocess.run(
            [program("ansible-playbook"), f"openngt.guest_tools.{name}", "-i", str(inventory), *arguments],
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(self.collection),
                "ANSIBLE_HOME": str(self.folder / "ansible"),
                "ANSIBLE_NOCOLOR": "true",
                "OPENNGT_ENDPOINT": self.service.endpoint,
                "OPENNGT_TOKEN": self.service.token,
                "OPENNGT_CA_FILE": self.service.ca_file,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        said = done.stdout + done.stderr
        assert PASSWORD not in said
        counts = re.search(r"^web1\s*: (ok=.*)$", said, re.MULTILINE)
        assert counts is not None, said
        return done.returncode, said, {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", counts[1])}


@pytest.fixture(scope="module")
def windows_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("service")
    service = ServiceProcess(folder, {"windows_python": str(embeddable(folder / "python.zip"))})
    service.start()
    yield service
    service.stop()


@pytest.fixture
def host(collection: Path, windows_service: ServiceProcess, tmp_path: Path) -> Iterator[WindowsHost]:
    windows_service.hypervisor.add(VM, "web1", {"cd0": None}, "on")
    one = WindowsHost(collection, windows_service, tmp_path)
    with one.server:
        yield one
    one.agent.stop()
    with windows_service.client() as client:
        for vm in client.vms([VM]):
            client.disable(vm["vm_uuid"])
    windows_service.hypervisor.remove(VM)


@pytest.mark.slow
def test_a_windows_host_goes_from_nothing_to_a_proven_link_and_back(host: WindowsHost) -> None:
    status, said, counts = host.play("install", "--check", "--diff")
    assert status == 0 and counts["changed"] >= 2, said
    assert host.parts == ["look", "look"] and host.service.hypervisor.media() == []
    host.parts.clear()
    status, said, counts = host.play("install")
    assert status == 0 and counts["changed"] >= 2, said
    assert host.parts == ["look", "look", "install"]
    assert len(host.gone["media"]) == 1 and set(host.gone) == {"ca_sha256", "python_sha256", "media"}
    assert host.service.hypervisor.media() == [], "the disc is ejected"
    host.parts.clear()
    status, said, counts = host.play("install")
    assert status == 0 and counts["changed"] == 0, said
    assert host.parts == ["look"]
    status, said, counts = host.play("status")
    assert status == 0 and counts["changed"] == 0, said
    assert said.count("0.1.0") >= 2, "as the service and as the guest itself sees it"

    host.parts.clear()
    status, said, counts = host.play("prove")
    assert status == 0 and counts["changed"] == 0 and host.parts == ["look"], said
    assert re.search(r"proven: generation \d+ over \w+", said), said
    well, host.status = host.status, linked("aa", 1, "0a")
    status, said, _ = host.play("prove")
    assert status == 2 and "the guest's agent holds the certificate 0a" in said and "LINK_NOT_ACTIVE" in said, said
    host.status = well

    host.parts.clear()
    status, said, counts = host.play("uninstall", "--check")
    assert status == 0 and counts["changed"] == 2 and host.parts == ["look"], said
    host.failure = {"code": "PERMISSION_DENIED", "message": "to remove the agent needs an administrator, elevated"}
    status, said, _ = host.play("uninstall")
    assert status == 2 and "PERMISSION_DENIED" in said
    assert host.service.client().vm(VM)["communication_link_active"], "nothing was revoked for it"
    host.failure = None
    status, said, counts = host.play("uninstall")
    assert status == 0 and counts["changed"] == 2 and host.status is None, said
    host.parts.clear()
    status, said, counts = host.play("uninstall")
    assert status == 0 and counts["changed"] == 0 and host.parts == ["look"], said


@pytest.mark.slow
def test_an_agent_that_links_itself_while_its_disc_is_mounted_takes_that_disc(host: WindowsHost) -> None:
    """A play proves the link by the disc that it has mounted: an agent of an earlier one would never satisfy it."""
    host.links_itself = True
    status, said, _ = host.play("install")
    assert status == 0 and host.parts == ["look", "look", "install"], said


@pytest.mark.slow
def test_preflight_and_prove_say_of_a_bare_host_what_is_missing_and_change_nothing(host: WindowsHost) -> None:
    status, said, counts = host.play("preflight")
    assert status == 0 and counts["changed"] == 0 and "ready: no agent is installed" in said, said
    status, said, counts = host.play("prove", "-e", "openngt_wait_seconds=0.1")
    assert status == 2 and counts["changed"] == 0 and re.search(r"\[[A-Z_]+\] remedy: ", said), said
    host.facts["elevated"] = False
    status, said, counts = host.play("preflight", "--check")
    assert status == 2 and counts["changed"] == 0, said
    assert "PREREQUISITES_NOT_MET" in said and "log in as a local administrator" in said
    assert host.parts == ["look"] * 3
    with host.service.client() as client:
        assert client.vms([VM]) == [], "it was not enrolled for that"


@pytest.mark.slow
def test_what_stands_in_the_way_is_told_before_anything_is_mounted(host: WindowsHost) -> None:
    host.facts["elevated"] = False
    status, said, _ = host.play("install")
    assert status == 2 and "PREREQUISITES_NOT_MET" in said and "log in as a local administrator" in said
    assert host.parts == ["look"] and host.service.hypervisor.media() == []
    host.facts["elevated"] = True
    host.failure = {"code": "DISC_UNTRUSTED", "message": "the disc is of another CA"}
    status, said, _ = host.play("install")
    assert status == 2 and "DISC_UNTRUSTED" in said, said
    assert host.service.hypervisor.media() == [], "ejected after a failure, too"
