# SPDX-License-Identifier: GPL-3.0-or-later
"""The role winrm_prep, through Ansible's own WinRM connection, in a simulated guest: no real Windows is met here."""

import datetime
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from tests.conftest import program
from tests.fakes import powershell
from tests.fakes.powershell_run import Killed
from tests.fakes.windows_guest import WindowsGuest
from tests.fakes.winrm_server import Certificate, Drop, Run, WinrmServer, make_certificate
from tests.fakes.winrm_server.ansible import modules

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "Pa55-canary"
RECAP = re.compile(r"^web1\s*: .*changed=(\d+).*failed=(\d+)", re.MULTILINE)


class Prepared:
    """One host of an inventory, and the guest behind it, whose listener shows what the script has made it show."""

    def __init__(self, collection: Path, folder: Path) -> None:
        self.collection, self.folder = collection, folder
        self.now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self.guest = WindowsGuest(now=self.now)
        self.guest.under_ansible = True
        self.first = make_certificate(folder)
        self.shown = self.first.thumbprint
        self.calls: list[dict[str, Any]] = []
        self.asked_for_end = 0
        self.job: dict[str, Any] | None = None
        """What the guest does alone: the module's arguments."""
        self.closes = False
        """Without its own listener nobody reaches the guest any more, as behind a real one."""
        self.server = WinrmServer(self.play, users={"admin": PASSWORD}, certificate=self.first)
        self.pins = folder / "host_vars"

    def play(self, run: Run) -> int:
        try:
            answers = {"ansible.windows.win_powershell": self.powershell}
            answers |= {"ansible.legacy.async_status": self.async_status}
            return modules(answers)(run)
        except Killed:
            return 1

    def powershell(self, arguments: dict[str, Any]) -> dict[str, Any]:
        parameters = arguments["parameters"]
        self.calls.append(parameters)
        if parameters["State"] == "absent" and not parameters.get("Check") and self.job is None:
            self.job = arguments  # as Ansible's wrapper of asynchronous tasks, which a simulator cannot start
            return {"ansible_job_id": "j1.2", "started": 1, "finished": 0, "results_file": "C:\\j1.2"}
        return self.done(arguments)

    def async_status(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """At work when it is asked the first time, done the second."""
        if arguments["mode"] == "cleanup":
            self.job = None
            return {}
        self.asked_for_end += 1
        assert self.job is not None
        if self.asked_for_end == 1:
            if self.closes:  # it is done with its listener before it is asked again
                self.done(self.job)
                assert self.guest.listeners == []
                for action in ("Create", "Command", "Delete"):
                    self.server.fail(action, Drop(), times=100)
            return {"started": 1, "finished": 0}
        return {**self.done(self.job), "started": 1, "finished": 1, "ansible_job_id": "j1.2"}

    def done(self, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = self.guest.run(arguments["script"], arguments["parameters"])
        self.follow()
        return {"output": [json.dumps(answer)], "changed": True, "error": []}

    def follow(self) -> None:
        """The listener is the one that Ansible talks to."""
        used = [one for one in self.guest.store if one.thumbprint in json.dumps(self.guest.listeners)]
        if used and used[0].sha256 != self.shown:
            self.shown = used[0].sha256
            pem, key = self.folder / f"{self.shown}.pem", self.folder / f"{self.shown}.key"
            pem.write_bytes(used[0].signed.public_bytes(serialization.Encoding.PEM))
            form = serialization.PrivateFormat.PKCS8
            key.write_bytes(used[0].key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
            self.server.change_certificate(Certificate(pem, key, self.shown))

    def role(self, *arguments: str, status: int = 0, host: dict[str, Any] | None = None, **variables: Any) -> str:
        """Run the playbook; variables of the role are given without its prefix. What it printed."""
        connection = {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.server.port,
            "ansible_connection": "winrm",
            "ansible_user": "admin",
            "ansible_password": PASSWORD,
            "ansible_winrm_transport": "ntlm",
            "ansible_winrm_ca_trust_path": str(self.first.file),
        }
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": {"web1": {**connection, **(host or {})}}}}))
        given = {"allowed_addresses": ["192.0.2.0/24"], "pin_folder": str(self.pins), **variables}
        extra = json.dumps({f"winrm_prep_{name}": value for name, value in given.items()})
        done = subprocess.run(
            [
                program("ansible-playbook"),
                "openngt.guest_tools.winrm_prep",
                *["-i", str(inventory), "-e", extra],
                *arguments,
            ],
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(self.collection),
                "ANSIBLE_HOME": str(self.folder / "ansible"),
                "ANSIBLE_NOCOLOR": "true",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        said = done.stdout + done.stderr
        assert (done.returncode == 0) == (status == 0), said
        assert PASSWORD not in said
        return said

    def changes(self, *arguments: str, **variables: Any) -> int:
        recap = RECAP.search(self.role(*arguments, **variables))
        assert recap is not None
        return int(recap[1])

    def pinned(self) -> tuple[str, dict[str, str]]:
        """The thumbprint that is told to people, and the variables."""
        text = (self.pins / "web1/winrm_prep.yml").read_text()
        variables: dict[str, str] = yaml.safe_load(text)
        return re.findall(r"[0-9a-f]{64}", text)[0], variables


@pytest.fixture
def prepared(collection: Path, tmp_path: Path) -> Iterator[Prepared]:
    one = Prepared(collection, tmp_path)
    with one.server:
        yield one


@pytest.mark.slow
def test_first_run_again_renewal_and_back_over_the_pinned_certificate(prepared: Prepared) -> None:
    """T31: from the first run on Ansible verifies the guest's own certificate, also while that is replaced."""
    guest = prepared.guest
    before = guest.settings()
    guest.now = prepared.now - datetime.timedelta(days=975)
    assert prepared.changes("--check") == 1
    assert guest.settings() == before and not prepared.pins.exists()

    said = prepared.role()
    assert f'"thumbprint_sha256": "{prepared.shown}"' in said
    assert prepared.shown == guest.store[0].sha256 != prepared.first.thumbprint
    pem = prepared.pins / "web1/winrm_prep.pem"
    assert prepared.pinned() == (prepared.shown, {"ansible_winrm_ca_trust_path": str(pem)})
    assert prepared.changes() == 0, "and it was reached by what was pinned"

    guest.now, old = prepared.now, prepared.shown
    assert prepared.changes() > 0
    assert prepared.shown == guest.store[0].sha256 == prepared.pinned()[0] != old
    assert [call["PinFirst"] for call in prepared.calls if call.get("PinFirst")], "shown before the listener took it"
    assert prepared.changes() == 1, "the old certificate is forgotten"
    assert pem.read_text().count("BEGIN CERTIFICATE") == 1
    assert prepared.changes() == 0

    said = prepared.role("--check", state="absent")
    assert RECAP.search(said)[1] != "0" and '"restored": "nothing"' in said, said  # type: ignore[index]
    assert guest.listeners
    said = prepared.role(state="absent")
    assert '"restored": "all"' in said and prepared.asked_for_end == 2, said
    assert guest.settings() == before
    assert list(prepared.pins.rglob("winrm_prep.*")) == []


@pytest.mark.slow
def test_putting_back_over_the_door_that_it_closes_says_what_was_seen(prepared: Prepared) -> None:
    """The guest goes on alone; a failure that it can still tell is the role's."""
    before = prepared.guest.settings()
    prepared.role()
    prepared.guest.refuses = lambda effect: "Access is denied." if effect.startswith("remove rule") else None
    said = prepared.role(status=2, state="absent")
    assert "Access is denied." in said and "[INTERNAL] remedy:" in said, said
    assert (prepared.pins / "web1/winrm_prep.pem").exists(), "the door is as it was"

    prepared.guest.refuses = lambda _effect: None
    prepared.closes, prepared.asked_for_end = True, 0
    said = prepared.role(state="absent")
    assert '"restored": "unseen"' in said and "through another door" in said, said
    assert prepared.guest.settings() == before and list(prepared.pins.rglob("winrm_prep.*")) == []


@pytest.mark.slow
def test_a_run_that_is_killed_in_the_guest_is_told_and_the_next_one_goes_on(prepared: Prepared) -> None:
    """T33, F31."""
    before = prepared.guest.settings()
    prepared.guest.dies_at = 14
    prepared.role(status=2)
    prepared.guest.dies_at = None
    assert prepared.guest.settings() != before
    prepared.role(state="absent")
    assert prepared.guest.settings() == before


def test_what_is_not_safe_or_not_right_is_refused_before_the_guest_hears_of_it(prepared: Prepared) -> None:
    """T32: a login by Basic is refused unless Basic is asked for."""
    said = prepared.role(
        status=2,
        host={"ansible_winrm_transport": "basic"},
        allowed_addresses=["192.0.2.0/24", "everybody"],
        names=['web1"&dns=evil'],
        validity_days=30,
    )
    for words in (
        "logs in with Basic, and winrm_prep_basic is false",
        "is no address, network or range: give",
        "everybody",
        "winrm_prep_names",
        "winrm_prep_validity_days is 30",
    ):
        assert words in said, words
    assert prepared.server.seen == []


def test_what_fails_in_the_guest_is_told_with_its_code_and_remedy(prepared: Prepared) -> None:
    prepared.guest.administrator = False
    said = prepared.role(status=2)
    assert "this is no elevated administrator [PERMISSION_DENIED] remedy: start PowerShell" in said
    assert prepared.guest.effects == []


def test_the_third_door_is_a_file_that_does_the_same(prepared: Prepared) -> None:
    file = prepared.folder / "web1.ps1"
    asked = {"door": "script", "script_file": str(file), "names": ["web1.example.com", "192.0.2.11"]}
    assert prepared.changes(basic=True, **asked) == 1
    assert prepared.changes(basic=True, **asked) == 0
    assert prepared.server.seen == []
    script = file.read_text()
    assert script.startswith("#ps1_sysnative\n"), "as Cloudbase-Init wants it"
    assert len(script) < 32_000, "user data is limited"
    assert powershell.foreign_to_powershell_3(script) == []
    guest = WindowsGuest(now=prepared.now)
    answer = guest.run(script, {})
    assert not answer["failed"] and [step["step"] for step in answer["steps"]] == [
        "certificate",
        "listener",
        "basic",
        "firewall",
    ]
    assert guest.run(script, {})["steps"] == []


def test_what_a_survey_hands_over_as_text_means_the_same(prepared: Prepared) -> None:
    typed, answered = prepared.folder / "typed.ps1", prepared.folder / "answered.ps1"
    addresses = ["192.0.2.10", "LocalSubnet"]
    given = {"basic": False, "local_account_token_filter_policy": True, "allowed_addresses": addresses}
    assert prepared.changes(door="script", script_file=str(typed), **given) == 1
    text = {"basic": "false", "local_account_token_filter_policy": "true", "allowed_addresses": ", ".join(addresses)}
    assert prepared.changes(door="script", script_file=str(answered), **text) == 1
    assert answered.read_text() == typed.read_text()


def examples(path: Path) -> str:
    """What people copy from a file; of a page its blocks of code, as its words may say what is refused."""
    text = path.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)) if path.suffix == ".md" else text


def test_nothing_that_people_copy_switches_verification_off() -> None:
    """T31: no page, example, role or playbook tells Ansible to trust whoever answers."""
    off = re.compile(
        r"validate_certs['\"]?\s*[:=]\s*(false|no)|cert_validation['\"]?\s*[:=]\s*['\"]?ignore", re.IGNORECASE
    )
    places = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    places += [
        path for name in ("roles", "playbooks", "plugins") for path in (ROOT / name).rglob("*") if path.is_file()
    ]
    read = [path for path in places if path.suffix in {".md", ".yml", ".py", ".j2", ".ps1"}]
    assert len(read) > 100
    assert [str(path) for path in read if off.search(examples(path))] == []
    assert off.search("ansible_winrm_server_cert_validation: ignore") and off.search("validate_certs=no")
