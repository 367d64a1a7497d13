# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook diagnose on real guests: what is broken in them is named, with its remedy, and nothing is changed."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from openngt.client import Client
from openngt_service.lab.service_process import ServiceProcess

from .conftest import Guests, WarmVm, restore
from .hands import give_back_port, install, said, silence_port, until
from .plays import Ansible

pytestmark = pytest.mark.guest

UNIT = "ngt_guest_agent.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
CONFIG = "/usr/local/openngt/config"
ZIPAPP = "/usr/local/openngt/agent/current/ngt_agent.pyz"
ANSWER = re.compile(r'"(?P<host>web|db): (?P<cause>[A-Z_]+): (?P<rest>.*; remedy: .*)"')
LINES = re.compile(r"^ok: \[(?P<host>web|db)\] => \{\n(?P<text>.*?)^\}", re.M | re.S)


def diagnose(ansible: Ansible, *arguments: str) -> tuple[dict[str, str], dict[str, str]]:
    """Cause and whole text by host."""
    play = ansible.play("diagnose", *arguments).succeeded()
    assert all(counts["changed"] == 0 for counts in play.recap.values()), play.output
    text = {match["host"]: match["text"] for match in LINES.finditer(play.output)}
    causes = {match["host"]: match["cause"] for match in ANSWER.finditer(play.output)}
    return causes, text


def at_once(*work: tuple[WarmVm, str]) -> None:
    """A command on each guest, both at the same time."""
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda each: said(*each), work))


@pytest.fixture(scope="module")
def linked(guests: Guests, service: ServiceProcess) -> Iterator[None]:
    def installed(vm: WarmVm) -> None:
        with service.client() as client:  # one for each thread, as it has one connection
            install(client, vm)

    try:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(installed, guests.both))
        yield
    finally:
        restore(guests, service)


@pytest.fixture
def mended(guests: Guests, client: Client, linked: None) -> Iterator[None]:
    """Both agents are linked again after the test, whatever was broken."""
    yield
    mend = f"""
[ ! -h {UNIT_FILE} ] || rm {UNIT_FILE}
for kept in {UNIT_FILE} {CONFIG} {ZIPAPP}; do [ ! -e $kept.kept ] || {{ rm -rf $kept; mv $kept.kept $kept; }}; done
nft flush ruleset
rm -f /run/fill.*; mount -o remount,nr_inodes=800k /run
systemctl daemon-reload; systemctl reset-failed; systemctl restart {UNIT}"""
    now = f"date -u -s @{int(time.time())}"
    at_once(*((vm, f"{now}; {mend}") for vm in guests.both))
    until(lambda: all(vm["communication_link_active"] for vm in client.vms()), "the links' return")


@pytest.fixture
def network_alone(guests: Guests, mended: None) -> Iterator[None]:
    """No port is answered: one that is keeps the link up, whatever is wrong with the network."""
    for vm in guests.both:
        silence_port(vm)
    yield
    for vm in guests.both:
        give_back_port(vm)


# Before anything is installed


@pytest.mark.usefixtures("restored")
def test_guests_that_were_never_installed(guests: Guests, client: Client, ansible: Ansible) -> None:
    client.enable(guests.web.vm_uuid)
    causes, text = diagnose(ansible)
    assert causes == {"web": "AGENT_NOT_INSTALLED", "db": "NOT_ENROLLED"}
    assert "openngt.guest_tools.install" in text["web"]


@pytest.mark.usefixtures("restored")
def test_what_stands_in_the_way_of_an_agent(guests: Guests, client: Client, ansible: Ansible) -> None:
    for vm in guests.both:
        client.enable(vm.vm_uuid)
    hide = "for f in /usr/bin/python3*; do mv $f $f.hidden-by-test; done"
    at_once((guests.web, "mkdir -p /usr/local/nutanix"), (guests.db, hide))
    try:
        causes, text = diagnose(ansible)
    finally:
        show = "for f in /usr/bin/*.hidden-by-test; do mv $f ${f%.hidden-by-test}; done"
        at_once((guests.web, "rmdir /usr/local/nutanix"), (guests.db, show))
    assert causes == {"web": "OTHER_TOOLS_PRESENT", "db": "GUEST_HAS_NO_PYTHON"}
    assert "/usr/local/nutanix" in text["web"]


# Of an agent that was well


@pytest.mark.usefixtures("mended")
def test_nothing_is_wrong(ansible: Ansible) -> None:
    causes, text = diagnose(ansible, "-e", "openngt_fail=true")
    assert causes == {"web": "LINK_ACTIVE", "db": "LINK_ACTIVE"}
    assert not re.search(r'"  failed ', text["web"] + text["db"]), text


@pytest.mark.usefixtures("mended")
def test_an_agent_that_is_stopped_and_one_that_fails(guests: Guests, ansible: Ansible) -> None:
    spoil = f"cp {ZIPAPP} {ZIPAPP}.kept; echo nonsense >{ZIPAPP}; systemctl restart {UNIT} || :"
    at_once((guests.web, f"systemctl stop {UNIT}"), (guests.db, spoil))
    causes, text = diagnose(ansible)
    assert causes == {"web": "AGENT_STOPPED", "db": "AGENT_FAILED"}
    assert f"systemctl start {UNIT}" in text["web"] and "nonsense" in text["db"]


@pytest.mark.usefixtures("network_alone")
def test_an_agent_that_is_masked_and_one_whose_port_is_blocked(
    guests: Guests, service: ServiceProcess, ansible: Ansible
) -> None:
    mask = f"systemctl stop {UNIT}; mv {UNIT_FILE} {UNIT_FILE}.kept; systemctl mask {UNIT}"
    port = service.gateway_port
    block = (
        "nft add table inet site && nft add chain inet site out '{ type filter hook output priority 0; }' &&"
        f"nft add rule inet site out tcp dport {port} drop && systemctl restart {UNIT}"
    )
    at_once((guests.web, mask), (guests.db, block))
    causes, text = diagnose(ansible)
    assert causes == {"web": "AGENT_MASKED", "db": "GATEWAY_BLOCKED"}
    assert f"tcp dport {port} drop" in text["db"]


@pytest.mark.usefixtures("network_alone")
def test_a_wrong_address_and_a_clock_that_is_years_off(guests: Guests, ansible: Ansible) -> None:
    lead_astray = (
        f"cp -a {CONFIG} {CONFIG}.kept; sed -i 's/10[.]0[.]2[.]2/10.0.2.99/' {CONFIG}/ngt_config.json;"
        f"systemctl restart {UNIT}"
    )
    years_ago = f"date -u -s @{int(time.time()) - 3 * 365 * 86400}; systemctl restart {UNIT}"
    at_once((guests.web, lead_astray), (guests.db, years_ago))
    causes, text = diagnose(ansible)
    assert causes == {"web": "GATEWAY_ADDRESS_WRONG", "db": "CLOCK_WRONG"}
    assert "10.0.2.99" in text["web"] and "3.0 years behind" in text["db"]


@pytest.mark.usefixtures("mended")
def test_a_guest_without_room_and_a_clone(guests: Guests, ansible: Ansible) -> None:
    no_more_files = (
        "mount -o remount,nr_inodes=$(( $(df --output=iused /run | tail -n1) + 64 )) /run;"
        "i=0; while touch /run/fill.$i; do i=$((i + 1)); done"
    )
    fill = f"systemctl stop {UNIT}; {no_more_files}; systemctl start {UNIT} || :"
    original = guests.web.ssh(f"tar -C {CONFIG} -c . | base64 -w0").stdout
    # What a copied disk holds: the original's identity, in a VM of another UUID.
    clone = f"cp -a {CONFIG} {CONFIG}.kept; echo {original} | base64 -d | tar -C {CONFIG} -x; systemctl restart {UNIT}"
    at_once((guests.web, fill), (guests.db, clone))
    causes, text = diagnose(ansible)
    assert causes == {"web": "NO_SPACE", "db": "IDENTITY_OF_ANOTHER_VM"}
    assert guests.web.vm_uuid in text["db"]


@pytest.mark.usefixtures("mended")
def test_who_may_not_become_root_is_told_what_was_not_looked_at(guests: Guests, ansible: Ansible) -> None:
    said(guests.web, f"systemctl stop {UNIT}")
    causes, text = diagnose(ansible, "-e", "openngt_become=false", "-e", "ansible_become=false", "--limit", "web")
    assert causes == {"web": "AGENT_STOPPED"}
    assert re.search(r"not made: .*identity.*needs root", text["web"]), text
