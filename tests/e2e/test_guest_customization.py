# SPDX-License-Identifier: GPL-3.0-or-later
"""The role guest_customization and the module cloud_init_info, over SSH, on a real host with systemd."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from openngt_service.lab.image import ensure_image
from openngt_service.lab.service_process import clean_environment

from .plays import Ansible, Play
from .systemd_host import Host, ansible_host, boot, packages_layer, require_containers

pytestmark = pytest.mark.guest

ROLE = "openngt.guest_tools.guest_customization"
# What the role asks for, and what Debian recommends with it.
PACKAGES = ("cloud-init", "cloud-guest-utils", "eatmydata", "python3-apt")
IDENTITY = """\
# openngt identity 1 {"generation": 1, "kind": "link", "vm_uuid": "a", "ca_sha256": "%s"}
-----BEGIN PRIVATE KEY-----
"""
CA_SHA256 = "ab" * 32
UNITS = "cloud-init-local.service cloud-init.service cloud-config.service cloud-final.service"


@dataclass(frozen=True)
class Managed:
    host: Host
    ansible: Ansible

    def role(self, *arguments: str, **variables: Any) -> Play:
        """Run the role; variables are given without its prefix."""
        given = {f"guest_customization_{name}": value for name, value in variables.items()}
        play = {"hosts": "all", "gather_facts": False, "roles": [{"role": ROLE, "vars": given}]}
        return self.ansible.play([play], *arguments).succeeded()

    def changed(self, *arguments: str, **variables: Any) -> int:
        return int(self.role(*arguments, **variables).recap["guest"]["changed"])


@pytest.fixture(scope="module")
def managed(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    """A host without cloud-init that can install it, over one connection that is kept open."""
    image = ensure_image(lambda line: sys.stderr.write(line + "\n"))
    folder = tmp_path_factory.mktemp("host")
    require_containers(image, tmp_path_factory.mktemp("probe"))
    layer = packages_layer(image, folder, PACKAGES)
    with boot(image, layer, folder, tmp_path_factory.mktemp("wheels")) as host:
        host.ssh("dpkg --purge --force-depends cloud-init")
        inventory = folder / "inventory.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"guest": ansible_host(host)}}}))
        environment = {
            **clean_environment(),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(collection),
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=600s",
        }
        yield Managed(host, Ansible(folder, {"admin": inventory}, environment))


def test_a_guest_is_made_ready_and_a_template_is_generalized_each_once(managed: Managed) -> None:
    host = managed.host
    assert managed.changed("--check") >= 1 and host.ssh("command -v cloud-init").returncode != 0
    assert managed.changed() >= 2
    assert host.say("tail -n 1 /etc/cloud/cloud.cfg.d/95_openngt.cfg") == "datasource_list: [NoCloud, ConfigDrive]"
    assert set(host.say(f"systemctl is-enabled {UNITS}").split()) == {"enabled"}
    assert managed.changed() == 0

    host.say(f"touch /etc/cloud/cloud-init.disabled; systemctl disable --quiet {UNITS}")
    assert managed.changed() == 2
    assert host.ssh("test -e /etc/cloud/cloud-init.disabled").returncode != 0
    assert set(host.say(f"systemctl is-enabled {UNITS}").split()) == {"enabled"}

    machine = host.say("cat /etc/machine-id")
    host.say("mkdir -p /usr/local/openngt/config /var/lib/cloud/instance /var/lib/cloud/seed/nocloud")
    host.say("rm -f /var/lib/dbus/machine-id; mkdir -p /var/lib/dbus; cp /etc/machine-id /var/lib/dbus/machine-id")
    host.say(f"cat >/usr/local/openngt/config/identity.pem <<'END'\n{IDENTITY % CA_SHA256}END")
    host.say("printf '[Service]\\nExecStart=sleep 999\\n' >/etc/systemd/system/ngt_guest_agent.service")
    host.say("systemctl daemon-reload && systemctl start ngt_guest_agent")

    predicted = managed.changed("--check", state="generalized")
    assert host.say("cat /etc/machine-id") == machine and host.say("ls /etc/ssh/ssh_host_*_key")
    assert managed.changed(state="generalized") >= predicted >= 5
    left = (
        "ls /etc/ssh/ssh_host_* /var/lib/cloud/instance /usr/local/openngt/config/identity.pem /var/log/cloud-init.log"
    )
    assert host.ssh(f"{left} 2>/dev/null").stdout == ""
    assert (
        host.say("cat /etc/machine-id /var/lib/dbus/machine-id; readlink /var/lib/dbus/machine-id") == "/etc/machine-id"
    )
    assert host.say("tail -n 1 /etc/openngt/agent_first_disc") == CA_SHA256
    assert host.ssh("systemctl is-active ngt_guest_agent").stdout.strip() == "inactive"
    assert host.say("ls -d /var/lib/cloud/seed/nocloud"), "a seed is the image's own"
    assert managed.changed(state="generalized") == 0
