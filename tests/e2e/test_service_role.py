# SPDX-License-Identifier: GPL-3.0-or-later
"""The role guest_tools_service of the built collection, over SSH, on real hosts with systemd."""

import http.client
import json
import shlex
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from openngt.client import Client
from openngt_service.lab.image import ensure_image
from openngt_service.lab.service_process import clean_environment

from ..conftest import ROOT
from . import releases
from .plays import Ansible, Play
from .systemd_host import Host, ansible_host, boot, eventually, packages_layer, require_containers

pytestmark = pytest.mark.guest

ROLE = "openngt.guest_tools.guest_tools_service"
# What the role asks the host's package manager for, with what Ansible's module `apt` needs; the firewalls.
PACKAGES = ("python3-venv", "python3-packaging", "python3-apt", "nftables", "ufw", "firewalld")
NAME = "guest_tools_1"  # an inventory may use names that no certificate can hold
STATE = "/var/lib/openngt"
PORTS_SCRIPT = ROOT / "roles/guest_tools_service/files/ports.sh"
VM = "0b1f6f3e-0e0c-4c56-9d1c-6f1e3a1c8f7a"
OLD_PYTHON = """\
#!/bin/sh
shift
exec /usr/bin/python3 -c "import sys; sys.version_info = (3, 9, 2)
$1"
"""
NFTABLES = """\
#!/usr/sbin/nft -f
flush ruleset
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        tcp dport 22 accept
    }
}"""


@dataclass(frozen=True)
class Managed:
    host: Host
    ansible: Ansible
    source: dict[str, Any]

    def role(self, *arguments: str, **variables: Any) -> Play:
        """Run the role; variables are given without its prefix."""
        play = {"hosts": "all", "gather_facts": False, "roles": [self.call(**variables)]}
        return self.ansible.play([play], *arguments)

    def call(self, **variables: Any) -> dict[str, Any]:
        given = {"cluster_ip": self.host.address, **self.source, **variables}
        return {"role": ROLE, "vars": {f"guest_tools_service_{name}": value for name, value in given.items()}}

    def unchanged(self, *arguments: str, **variables: Any) -> None:
        """A run has nothing to change."""
        play = self.role(*arguments, **variables).succeeded()
        assert play.recap[NAME]["changed"] == 0, play.output

    def show(self, name: str) -> str:
        return self.host.say(f"systemctl show openngt.service --property={name} --value")

    def starts(self) -> int:
        return int(self.host.say("journalctl -u openngt.service -o cat | grep -c '^Started openngt'"))

    @property
    def ca_pem(self) -> str:
        return self.host.say(f"cat {STATE}/ca/ca.pem") + "\n"

    def ready(self, port: int = 2073) -> bool:
        """Whether /readyz answers 200 to us over TLS that the service's CA vouches for."""
        context = ssl.create_default_context(cadata=self.ca_pem)
        connection = http.client.HTTPSConnection(self.host.address, port, context=context, timeout=10)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
        connection.close()
        return status == 200

    def client(self) -> Client:
        """The admin's."""
        ca_file = self.host.folder / "ca.pem"
        ca_file.write_text(self.ca_pem)
        return Client(f"https://{self.host.address}:2073", self.host.say(f"cat {STATE}/admin.token"), str(ca_file))


Start = Callable[..., Managed]


@pytest.fixture(scope="module")
def start(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """`start(**source) -> Managed`: a host that nobody has touched, for the role with this source."""
    image = ensure_image(lambda line: sys.stderr.write(line + "\n"))
    probe = tmp_path_factory.mktemp("probe")
    require_containers(image, probe)
    layer = packages_layer(image, probe, PACKAGES)

    with ExitStack() as running:

        def begin(**source: Any) -> Managed:
            folder = tmp_path_factory.mktemp("host")
            host = running.enter_context(boot(image, layer, folder, releases.dependencies()))
            inventory = folder / "inventory.yml"
            inventory.write_text(yaml.safe_dump({"all": {"hosts": {NAME: ansible_host(host)}}}))
            environment = {
                **clean_environment(),
                "ANSIBLE_HOME": str(folder / "ansible"),
                "ANSIBLE_COLLECTIONS_PATH": str(collection),
                "ANSIBLE_NOCOLOR": "true",
                "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=300s",
            }
            return Managed(host, Ansible(folder, {"admin": inventory}, environment), source)

        yield begin


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return releases.wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def bundle(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return releases.bundle(tmp_path_factory.mktemp("bundles") / "bundle", wheel)


@pytest.fixture(scope="module")
def installed(start: Start, bundle: Path) -> Managed:
    """A host with the service from a bundle; each test leaves it so."""
    managed = start(source="bundle", bundle=str(bundle))
    managed.role().succeeded()
    return managed


def traces(managed: Managed) -> list[str]:
    """What there is of the role's on the host."""
    places = f"{STATE} /opt/openngt /etc/openngt /etc/systemd/system/openngt* /etc/nftables-openngt.nft"
    return managed.host.say(f"ls -d {places} 2>/dev/null; true").split()


def test_check_mode_on_a_host_that_nobody_has_touched_says_all_and_does_nothing(start: Start, bundle: Path) -> None:
    fresh = start(source="bundle", bundle=str(bundle))
    play = fresh.role("--check", "--diff", firewall=True).succeeded()
    assert play.recap[NAME]["changed"] >= 6, play.output
    assert "+Type=notify" in play.output, "the diff shows the unit"
    assert traces(fresh) == []


def test_the_unit_runs_as_its_own_user_and_answers_over_verified_tls(installed: Managed) -> None:
    seen = {name: installed.show(name) for name in ("ActiveState", "SubState", "User", "Type", "UnitFileState")}
    assert seen == {
        "ActiveState": "active",
        "SubState": "running",
        "User": "openngt",
        "Type": "notify",
        "UnitFileState": "enabled",
    }
    modes = installed.host.say(f"stat -c '%a %U:%G' {STATE}/admin.token {STATE}").splitlines()
    assert modes == ["600 openngt:openngt", "700 openngt:openngt"]
    assert installed.ready()
    assert installed.host.say("systemctl is-system-running") == "running"


def test_a_second_run_and_a_restart_keep_process_and_ca(installed: Managed) -> None:
    before = installed.ca_pem, installed.show("InvocationID")
    installed.unchanged("--check", "--diff")
    installed.unchanged()
    assert (installed.ca_pem, installed.show("InvocationID")) == before
    installed.host.say("systemctl restart openngt.service")
    assert installed.ca_pem == before[0]
    assert installed.ready()


def test_a_setting_restarts_the_service_once_also_when_the_run_was_killed_before(installed: Managed) -> None:
    starts = installed.starts()
    changed = installed.role("--diff", settings={"heartbeat_seconds": 5}).succeeded()
    assert "+heartbeat_seconds = 5" in changed.output
    assert installed.starts() == starts + 1
    # As a run leaves it that is killed between unit and restart.
    installed.host.say("sed -i 's/^# Changes with .*/# of another run/' /etc/systemd/system/openngt.service")
    installed.role().succeeded()
    assert installed.starts() == starts + 2


def test_bad_input_is_named_with_what_to_do_before_anything_changes(installed: Managed, tmp_path: Path) -> None:
    installed.host.say(f"cat >/usr/local/bin/python3.9 <<'EOF'\n{OLD_PYTHON}EOF\nchmod 0755 /usr/local/bin/python3.9")
    cases: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({"source": "wheel"}, ("guest_tools_service_wheel is empty", "give its path on the controller")),
        ({"source": "wheel", "wheel": "/no/such.whl"}, ("/no/such.whl is not on the controller", "existing file")),
        ({"bundle": "/no/such"}, ("guest_tools_service_bundle: /no/such is not on the controller", "existing folder")),
        ({"bundle": str(tmp_path)}, (f"no wheel of openngt in {tmp_path}", "pip download")),
        ({"cluster_ip": ""}, ('guest_tools_service_cluster_ip is ""', "give the address")),
        ({"cluster_ip": "192.0.2.10/24"}, ('"192.0.2.10/24"', "give the address")),
        ({"cluster_ip": "127.0.0.1"}, ("each guest reaches itself",)),
        ({"source": "index", "index_url": "https://user:secret@pip.example/"}, ("every user of the host", ".netrc")),
        ({"settings": {"api_port": 1}}, ("guest_tools_service_settings: api_port", "the role's own variable")),
        ({"python": "/usr/local/bin/python3.9"}, ("needs Python 3.11", "is Python 3.9", "guest_tools_service_python")),
        ({"python": "/no/python"}, ("needs Python 3.11", "/no/python on this host is not usable")),
    ]
    calls = [installed.call(**variables) for variables, _ in cases]
    tasks = [
        {
            "block": [{"ansible.builtin.include_role": {"name": call["role"]}, "vars": call["vars"]}],
            "rescue": [{"ansible.builtin.meta": "noop"}],
        }
        for call in calls
    ]
    play = installed.ansible.play([{"hosts": "all", "gather_facts": False, "tasks": tasks}]).succeeded()
    said = [failure["msg"] for failure in play.failures(NAME)]
    assert len(said) == len(cases), play.output
    for message, (variables, words) in zip(said, cases, strict=True):
        assert all(word in message for word in words), (variables, message)
    assert play.recap[NAME]["changed"] == 0, play.output


def test_a_taken_port_is_told_in_the_services_own_words(installed: Managed) -> None:
    installed.host.say("systemd-run --unit=squatter python3 -m http.server 3000")
    play = installed.role(api_port=3000)
    [failure] = [failure for failure in play.failures(NAME) if "is not ready" in str(failure["msg"])]
    assert "[SERVICE_CONFLICT]" in failure["msg"] and "3000" in failure["msg"] and "remedy:" in failure["msg"], failure
    installed.host.say("systemctl stop squatter")
    installed.role().succeeded()
    assert installed.ready()


def revision(managed: Managed) -> str:
    """Of the host's database, as SQLite itself reads it."""
    read = (
        "import sqlite3; [[at]] = sqlite3.connect('%s/openngt.db').execute('select * from alembic_version'); print(at)"
    )
    return managed.host.say(f'python3 -c "{read % STATE}"')


def test_an_upgrade_migrates_once_and_a_downgrade_is_told_and_taken_back(
    start: Start, wheel: Path, tmp_path: Path
) -> None:
    managed = start(source="wheel", wheel=str(wheel))
    managed.role().succeeded()
    managed.unchanged()
    vm = json.dumps({"vm_name": "web1", "vm_uuid": VM, "qmp": "no.qmp"})
    managed.host.say(f"mkdir -p {STATE}/vms/web1; echo '{vm}' >{STATE}/vms/web1/vm.json; chown -R openngt: {STATE}/vms")
    with managed.client() as client:
        client.enable("web1")
        vms = client.vms()
    before = managed.ca_pem, managed.starts()

    newer = releases.next_release(tmp_path / "dist", tmp_path, revision(managed))
    managed.role(wheel=str(newer)).succeeded()

    assert managed.host.say("/opt/openngt/venv/bin/openngt --version") == f"openngt {releases.NEXT_VERSION}"
    assert revision(managed) == releases.NEXT_REVISION
    assert (managed.ca_pem, managed.starts()) == (before[0], before[1] + 1)
    with managed.client() as client:
        assert client.vms() == [{**row, "available_version": releases.NEXT_VERSION} for row in vms]
    assert [row["vm_uuid"] for row in vms] == [VM]
    assert len(managed.host.say("ls -d /opt/openngt/*").splitlines()) == 2, "the link and the environment in use"
    managed.unchanged(wheel=str(newer))

    down = managed.role()
    [failure] = [failure for failure in down.failures(NAME) if "is not ready" in str(failure["msg"])]
    said = f"the database is at revision {releases.NEXT_REVISION}, which this release does not know"
    for words in (said, "[SERVICE_CONFLICT]", "remedy: start the release that wrote", "The former release runs again."):
        assert words in failure["msg"], failure
    assert managed.ready()
    assert managed.host.say("/opt/openngt/venv/bin/openngt --version") == f"openngt {releases.NEXT_VERSION}"
    managed.role(wheel=str(newer)).succeeded()
    assert managed.ready()


def test_a_backup_comes_to_the_controller_and_goes_back_in_the_place_of_a_state(
    installed: Managed, tmp_path: Path
) -> None:
    """The plays of docs/backup.md."""
    vm = json.dumps({"vm_name": "web1", "vm_uuid": VM, "qmp": "no.qmp"})
    installed.host.say(
        f"mkdir -p {STATE}/vms/web1; echo '{vm}' >{STATE}/vms/web1/vm.json; chown -R openngt: {STATE}/vms"
    )
    with installed.client() as client:
        client.enable(VM)
    ours = ["-e", "openngt_hosts=all"]
    installed.ansible.play("backup", *ours, "-e", f"openngt_backup_directory={tmp_path}/backups").succeeded()
    [backup] = (tmp_path / "backups").iterdir()
    assert backup.stat().st_mode & 0o777 == 0o600
    with installed.client() as client:
        client.disable(VM)

    wanted = [*ours, "-e", f"openngt_backup={backup}"]
    refused = installed.ansible.play("restore", *wanted)
    assert "SERVICE_CONFLICT" in refused.output, refused.output
    assert installed.ready(), "the state that was refused to be replaced is served on"
    installed.ansible.play("restore", *wanted, "-e", "openngt_replace=true").succeeded()
    eventually(installed.ready, "the restored service")
    with installed.client() as client:
        assert [row["vm_uuid"] for row in client.vms()] == [VM]
        client.disable(VM)
    assert (
        installed.host.say(f"ls {STATE}/.for-the-controller.backup /opt/openngt/restore.backup 2>/dev/null; true") == ""
    )
    installed.host.say(f"rm -rf {STATE}/replaced-* {STATE}/vms")


FIREWALLS = ("nftables", "ufw", "firewalld")
RECORD = "/etc/openngt/opened-ports"


@pytest.fixture
def firewall(installed: Managed, request: pytest.FixtureRequest) -> Iterator[str]:
    """The host with one firewall that lets nothing in but SSH; none afterwards."""
    name: str = request.param
    host = installed.host
    host.say(f"apt-get install -qq --yes --no-install-recommends {name}")
    host.say(BEGIN[name])
    yield name
    host.say(END[name])
    host.say(f"nft flush ruleset; rm -f {RECORD} /etc/nftables-openngt.nft")


BEGIN = {
    "nftables": f"cat >/etc/nftables.conf <<'EOF'\n{NFTABLES}\nEOF\nnft -f /etc/nftables.conf",
    "ufw": "ufw allow 22/tcp && ufw --force enable",
    "firewalld": "systemctl start firewalld && firewall-cmd --state",
}
RELOAD = {"nftables": "nft -f /etc/nftables.conf", "ufw": "ufw reload", "firewalld": "firewall-cmd --reload"}
END = {"nftables": "nft flush ruleset", "ufw": "ufw --force reset", "firewalld": "systemctl stop firewalld"}
# What each firewall's own tools and files show: now, and after the next boot.
SHOWS = {
    "nftables": ("nft list ruleset", "cat /etc/nftables.conf /etc/nftables-openngt.nft 2>/dev/null; true"),
    "ufw": ("ufw status", "cat /etc/ufw/user.rules"),
    "firewalld": ("firewall-cmd --list-ports", "firewall-cmd --permanent --list-ports"),
}


def reached(managed: Managed) -> list[bool]:
    return [managed.host.reaches(port) for port in (2073, 2074)]


def opened(managed: Managed, firewall: str) -> set[int]:
    """Which of our ports the firewall's own tools show."""
    now, for_good = ({p for p in range(2073, 2077) if str(p) in managed.host.say(look)} for look in SHOWS[firewall])
    assert now == for_good
    return now


def script(managed: Managed, mode: str, *wanted: int) -> list[str]:
    """The changes that the role's script says, called as the role does."""
    words = shlex.join(["ports.sh", mode, RECORD, *map(str, wanted)])
    return managed.host.say(f"sh -c {shlex.quote(PORTS_SCRIPT.read_text())} {words}").splitlines()


@pytest.mark.parametrize("firewall", FIREWALLS, indirect=True)
def test_the_roles_script_opens_ports_for_good_and_closes_them(installed: Managed, firewall: str) -> None:
    opens = [f"opened TCP {port} in {firewall}" for port in (2073, 2074)]
    assert script(installed, "look", 2073, 2074) == opens
    assert reached(installed) == [False, False]
    assert script(installed, "apply", 2073, 2074) == opens
    assert reached(installed) == [True, True]
    installed.host.say(RELOAD[firewall])
    assert reached(installed) == [True, True]
    assert script(installed, "apply", 2073, 2074) == []
    assert opened(installed, firewall) == {2073, 2074}
    # What the role does when no port is wanted any more.
    assert script(installed, "apply") == [f"closed TCP {port} in {firewall}" for port in (2073, 2074)]
    assert opened(installed, firewall) == set()
    assert reached(installed) == [False, False]


# The role hands the script the same ports whichever firewall there is.
@pytest.mark.parametrize(
    "firewall", ["nftables", *(pytest.param(name, marks=pytest.mark.nightly) for name in FIREWALLS[1:])], indirect=True
)
def test_a_firewall_lets_the_ports_in_for_good(installed: Managed, firewall: str) -> None:
    assert reached(installed) == [False, False]
    foreseen = installed.role("--check", firewall=True).succeeded()
    assert foreseen.recap[NAME]["changed"] == 1 and reached(installed) == [False, False], foreseen.output
    installed.role(firewall=True).succeeded()
    assert reached(installed) == [True, True]
    installed.host.say(RELOAD[firewall])
    assert reached(installed) == [True, True]
    installed.unchanged(firewall=True)
    assert opened(installed, firewall) == {2073, 2074}
    assert script(installed, "apply") == [f"closed TCP {port} in {firewall}" for port in (2073, 2074)]
    assert opened(installed, firewall) == set()


@pytest.mark.parametrize("firewall", ["nftables"], indirect=True)
def test_absent_leaves_the_state_and_nothing_else_and_present_finds_it_again(installed: Managed, firewall: str) -> None:
    installed.role(firewall=True).succeeded()
    installed.role(firewall=True, gateway_port=2075).succeeded()
    assert installed.host.reaches(2075)
    assert opened(installed, firewall) == {2073, 2075}, "the port that is no longer wanted is closed"

    before = installed.ca_pem
    foreseen = installed.role("--check", "--diff", state="absent").succeeded()
    assert foreseen.recap[NAME]["changed"] >= 2, foreseen.output
    assert installed.ready()

    installed.role(state="absent").succeeded()
    assert traces(installed) == [STATE]
    assert opened(installed, firewall) == set()
    assert installed.show("LoadState") == "not-found"
    assert installed.host.say("systemctl --failed --plain --no-legend") == ""
    assert installed.ca_pem == before
    installed.unchanged(state="absent")

    installed.role(firewall=True).succeeded()
    assert installed.ca_pem == before
    assert installed.ready() and reached(installed) == [True, True]


def test_a_firewall_that_the_role_does_not_know_is_told(installed: Managed) -> None:
    installed.host.say("apt-get install -qq --yes --no-install-recommends nftables")
    installed.host.say("nft add table ip own; nft add chain ip own incoming '{ type filter hook input priority 1; }'")
    installed.host.say("nft add rule ip own incoming tcp dport 22 accept; nft chain ip own incoming '{ policy drop; }'")
    try:
        *_, failure = installed.role(firewall=True).failures(NAME)
        assert failure["msg"].startswith(
            "a firewall that the role does not know filters here: open TCP 2073 2074 in it"
        )
    finally:
        installed.host.say("nft flush ruleset")
