# SPDX-License-Identifier: GPL-3.0-or-later
"""What each page takes for granted, in the commands that bring it about."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openngt_service.lab.service_process import clean_environment

from .examples import ROOT
from .session import UUIDS, copy_tree

__all__ = [
    "BEFORE",
    "BEFORE_ON_GUESTS",
    "IDS",
    "ON_SIMULATED_GUESTS",
    "VARIABLES",
    "environment",
    "inventory",
    "own_environment",
    "program_before_fake",
]

WEB1 = UUIDS["web1"]
CLUSTER = "c1a57e12-4f0e-4c7d-9a55-5b1f6c0d7e42"
SERVICE = [
    'export OPENNGT_STATE_DIR="$PWD/state" OPENNGT_CLUSTER_IP=192.0.2.10 OPENNGT_API_HOST=0.0.0.0',
    "openngt serve",
    "cp state/ca/ca.pem ca.pem",
    'export OPENNGT_ENDPOINT=https://127.0.0.1:2073 OPENNGT_CA_FILE="$PWD/ca.pem"',
    'export OPENNGT_TOKEN="$(cat state/admin.token)"',
]
ENROLLED = [*SERVICE, "openngt vm enable web1"]
LINKED = [*SERVICE, "ansible-playbook openngt.guest_tools.install -i inventory"]
ON_ITS_HOST = [
    "export OPENNGT_CLUSTER_IP=192.0.2.10 OPENNGT_API_HOST=0.0.0.0 && mkdir -p /var/lib/openngt",
    "openngt serve",
]
# The CA's ten years are few enough then for an alert.
ALERTED = [*ENROLLED, "openngt health set ngt_ca_expiry_check --threshold info_days=3650"]
# A CA and what it has issued, as the page on modules without a service makes them.
ISSUED = [
    "openngt ca create --path ca",
    f"mkdir -p isos && openngt iso build isos/web1.iso --ca-path ca --vm-uuid {WEB1} --vm-name web1 "
    f"--cluster-uuid {CLUSTER} --cluster-ip 192.0.2.10",
]
CAS = [
    "openngt ca create --path ca",
    "printf 'four words of a person' > passphrase",
    "openngt ca create --path /etc/openngt/ca --passphrase-file passphrase",
]
LEAF = (
    "ansible localhost -m openngt.guest_tools.certificate -a "
    f"'ca_path=ca path=/etc/openngt/certificates/web1.pem vm_uuid={WEB1}'"
)

# What the page does with guests is done in tests/simulated.
LISTED = [
    {"uuid": UUIDS[name], "vmname": name, "host": "127.0.0.1", "port": 9,
     "credentials": {"username": "admin", "password": "secret"}}
    for name in ("web1", "db1")
]  # fmt: skip

# On the fake hypervisor beside the program: db1 was copied from web1.
COPIED = (
    'python3 -c "import json, sys; path = sys.argv[1]; vms = json.load(open(path)); '
    f"vms['{UUIDS['db1']}']['cloned_from'] = '{WEB1}'; json.dump(vms, open(path, 'w'))\" "
    '"$(dirname "$(command -v openngt)")/../hypervisor.json"'
)

# What the page on monitoring lays beside itself.
MONITORED = f"cp {ROOT}/docs/monitoring/openngt_rules*.yml ."

BEFORE: Mapping[str, list[str]] = {
    "docs/compat.md": ENROLLED,
    "docs/api.md": ENROLLED,
    "docs/ca-rollover.md": ENROLLED,
    "docs/backup.md": [*ON_ITS_HOST, "mkdir -p /srv/backups"],
    "docs/cli.md": ON_ITS_HOST,
    "docs/clones.md": [COPIED, *ENROLLED],
    "docs/console.md": SERVICE,
    "docs/customization.md": SERVICE,
    "docs/credentials.md": [*SERVICE, f"printf '%s' '{json.dumps(LISTED)}' > fleet.json"],
    "docs/diagnosis.md": ENROLLED,
    "docs/health.md": ALERTED,
    "docs/inventory.md": ENROLLED,
    "docs/lab.md": [
        "qemu-img create -q -f qcow2 web1.qcow2 1M",
        'mkdir vms && export OPENNGT_QEMU_DIRECTORY="$PWD/vms"',
        *SERVICE,
    ],
    "docs/modules-without-service.md": ISSUED,
    "docs/molecule.md": [f"ln -s {ROOT} ../openngt"],
    "docs/packages.md": SERVICE,
    "docs/refresh.md": ENROLLED,
    "docs/reports.md": [*ENROLLED, "mkdir -p /srv/reports"],
    "docs/monitoring.md": [*ENROLLED, MONITORED],
    "docs/upgrade.md": ENROLLED,
    "plugins/modules/upgrade.py": ENROLLED,
    "plugins/modules/report.py": [*ENROLLED, "mkdir -p /srv/reports"],
    "plugins/modules/ca.py": ["mkdir -p /etc/openngt"],
    "plugins/modules/certificate.py": ["mkdir -p certificates /etc/openngt/certificates", *CAS],
    "plugins/modules/certificate_info.py": ["mkdir -p /etc/openngt/certificates", *CAS, LEAF],
    "plugins/modules/iso.py": ["mkdir -p isos /srv/isos /srv/extras /etc/openngt", *CAS],
    "plugins/modules/iso_info.py": [*ISSUED, "mkdir -p /srv/isos && cp isos/web1.iso /srv/isos"],
    "plugins/modules/vm.py": [*ENROLLED, "openngt vm enable db1", "mkdir -p /etc/openngt && cp ca.pem /etc/openngt"],
    "plugins/modules/ca_rollover.py": ENROLLED,
    "plugins/modules/customization.py": SERVICE,
    "plugins/modules/customization_info.py": SERVICE,
    "plugins/modules/diagnosis_info.py": ENROLLED,
    "plugins/modules/health_info.py": ENROLLED,
    "plugins/modules/health_policy.py": SERVICE,
}
"""By page; what is missing here stands on the page itself."""

BEFORE_ON_GUESTS: Mapping[str, list[str]] = {
    "docs/agent.md": [
        *ENROLLED,
        "openngt vm mount web1",
        "export CA_SHA256=$(openngt ca show | sed -n 's/^CA SHA-256 *: //p')",
    ],
    "docs/lab.md": [],
    "docs/modules-without-service.md": [],
    "docs/power.md": LINKED,
    "docs/refresh.md": LINKED,
    "roles/guest_agent/README.md": [*SERVICE, "mkdir files && cp ca.pem files/openngt-ca.pem"],
    "plugins/modules/agent.py": [*ENROLLED, "openngt vm mount web1"],
    "plugins/modules/mount.py": ENROLLED,
    "plugins/modules/power.py": LINKED,
    "plugins/modules/refresh.py": LINKED,
    "plugins/modules/vm_info.py": LINKED,
}
"""Where it is something else, or only there."""

ON_SIMULATED_GUESTS = {
    "docs/diagnosis.md",
    "docs/prerequisites.md",
    "plugins/modules/agent.py",
    "plugins/modules/link_info.py",
    "plugins/modules/mount.py",
    "plugins/modules/prerequisites.py",
    "plugins/modules/vm_info.py",
    "roles/guest_agent/README.md",
    "roles/linux_prerequisites/README.md",
}
"""They ask of a guest no more than a login, a disc and an agent, so tests/simulated runs them where it can, in a
fraction of the time. That their plays work on a real one is what the other tests of tests/e2e show."""

IDS = {
    "5d0c0e0a6c9b4d0f8a3c1f2e4b6a8c0d": "openngt health alerts --output csv | sed -n 2p | cut -d, -f1",
    "78417249bc5e417e85f2aef127bc8bbb": "openngt task list --output csv | sed -n '/,fleet_refresh,/{s/,.*//p;q}'",
}
"""What the pages call by an id that the service has chosen -> what finds it here."""

VARIABLES = {
    "ca_passphrase": "four words of a person",
    "openngt_token": "{{ lookup('ansible.builtin.env', 'OPENNGT_TOKEN') }}",
    "vault_openngt_token": "{{ lookup('ansible.builtin.env', 'OPENNGT_TOKEN') }}",
    # What an earlier task of the reader's play has registered.
    "ca": {"ca": "{{ lookup('ansible.builtin.pipe', 'openngt ca show --path ca --output json') | from_json }}"},
    "tools": {"mount": "{{ lookup('ansible.builtin.pipe', 'openngt ca show --output json') | from_json }}"},
}
"""What a play of the pages takes from its inventory or its vault."""


def inventory(vms: Mapping[str, str]) -> dict[str, Any]:
    """The controller alone: who works on a guest by it fails."""
    hosts = {name: {"openngt_vm": vm_uuid, "ansible_host": "198.51.100.11"} for name, vm_uuid in vms.items()}
    return {"all": {"hosts": hosts}}


def environment(folder: Path, collection: Path, path: list[str]) -> dict[str, str]:
    """Of a terminal that has nothing of the caller's service or Ansible."""
    (folder / "ansible.cfg").touch()
    return {
        **clean_environment(),
        "PATH": os.pathsep.join([*path, os.environ["PATH"]]),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(collection),
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_TIMEOUT": "60",
    }


def program_before_fake(folder: Path) -> str:
    """A folder for PATH with `openngt` itself, before the fake hypervisor of the file `hypervisor.json` in `folder`."""
    place = folder / "bin"
    place.mkdir()
    (place / "openngt").write_text(
        f"#!/bin/sh\nPYTHONPATH={ROOT} OPENNGT_TEST_HYPERVISOR={folder / 'hypervisor.json'} "
        f'exec {sys.executable} -m tests.fakes.service "$@"\n'
    )
    (place / "openngt").chmod(0o755)
    return str(place)


def own_environment(folder: Path, tree: Path) -> dict[str, str]:
    """The terminal of one who has cloned the tree into `tree` and has Python and Ansible, but nothing of ours.

    What our wheel depends on is there already, so that `pip install` needs no package index.
    """
    copy_tree(tree)
    venv.create(folder / "venv")
    [site] = (folder / "venv/lib").glob("python*/site-packages")
    [ours] = [place for place in sys.path if place.endswith("site-packages")]
    (site / "beside.pth").write_text(ours)
    scripts = folder / "venv/bin"
    for name in ("pip", "ansible-galaxy", "ansible-playbook"):
        target = "pip" if name == "pip" else f"ansible.cli.{name.partition('-')[2]}"
        (scripts / name).write_text(f'#!/bin/sh\nexec {scripts}/python -m {target} "$@"\n')
        (scripts / name).chmod(0o755)
    # What our collection depends on is there as well: Galaxy cannot be reached.
    subprocess.run([ROOT / "scripts/collections", folder / "collections"], check=True, capture_output=True)
    return environment(folder, folder / "collections", [str(scripts)])
