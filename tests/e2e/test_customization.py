# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Debian guest is customized by real cloud-init, from a disc that the service makes and takes away again.

Two boots with much in each: all that a disc can bring, by NoCloud, at the first one; a wrong script, by a config drive,
at the second.
"""

import base64
import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt_service.hypervisors.qemu_clone import card_address

from .conftest import WarmVm
from .customizing import Workbench, workbench
from .hands import drives, isos, said

pytestmark = pytest.mark.guest

NAME = "tailored"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1mRzzTTbAdR3pMTxGoWOrgfVWNvUJOjJVOvOgMzbTz eve"
PASSWORD = "a first pass-phrase"
LARGE = b"0123456789abcdef" * 12_000
"""Does not fit into the user-data, so that it lies on the disc as a file of its own."""

SCRIPT = "#!/bin/sh\necho by script > /root/by-script\n"
CONFIG = "#cloud-config\nwrite_files:\n  - path: /root/by-config\n    content: |\n      by config\n"
TEMPLATE = """\
## template: jinja
#cloud-config
runcmd:
  - echo 'by template for {{ v1.instance_id }}' > /root/by-template
"""
PACKED = "#cloud-config\nbootcmd:\n  - echo by gzip > /root/by-gzip\n"
WRONG = "#!/bin/sh\necho 'the disk /dev/nope is missing' >&2\nexit 3\n"


@pytest.fixture(scope="module")
def included() -> Iterator[str]:
    """The URL of a script, as a guest reaches it on this host."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"#!/bin/sh\necho by include > /root/by-include\n")

        def log_message(self, *words: Any) -> None:
            """Nothing: this is a test's output."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://10.0.2.2:{server.server_port}/script"
        server.shutdown()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    with workbench(tmp_path_factory.mktemp("customization")) as bench:
        yield bench


@pytest.fixture(scope="module")
def vm(bench: Workbench) -> Iterator[WarmVm]:
    vm = bench.made_ready(NAME)
    yield vm
    vm.hang_up()


@pytest.fixture(scope="module")
def spec(vm: WarmVm, included: str) -> dict[str, Any]:
    """Everything that a disc can bring."""
    address = {"match": {"macaddress": card_address(vm.vm_uuid, 0)}, "addresses": ["10.0.2.15/24", "192.0.2.77/24"]}
    route = {"gateway4": "10.0.2.2", "nameservers": {"addresses": ["10.0.2.3"]}}
    return {
        "scripts": [
            {"name": "script.sh", "content": SCRIPT},
            {"name": "config.yml", "content": CONFIG},
            {"name": "include.txt", "content": f"#include\n{included}\n"},
            {"name": "template.yml", "content": TEMPLATE},
            {"name": "packed.yml.gz", "content_base64": base64.b64encode(gzip.compress(PACKED.encode())).decode()},
        ],
        "options": {
            "hostname": "tailored-1",
            "timezone": "Europe/Zurich",
            "users": [{"name": "eve", "shell": "/bin/bash", "ssh_authorized_keys": [KEY], "password": PASSWORD}],
            "runcmd": ["echo by option > /root/by-option"],
        },
        "files": [
            {"path": "/etc/openngt-small", "content": "small\n", "mode": "0600", "owner": "eve:eve"},
            {"path": "/srv/deep/large", "content_base64": base64.b64encode(LARGE).decode()},
        ],
        "network": {"version": 2, "ethernets": {"nic0": {**address, **route}}},
        "datasource": "nocloud",
    }


@pytest.fixture(scope="module")
def customized(bench: Workbench, vm: WarmVm, spec: dict[str, Any]) -> Iterator[WarmVm]:
    """Off before, booted with its disc, through with it."""
    result = bench.customize(vm, {**spec, "power_on": True})
    assert result["changed"] and result["drive"] is not None
    [iso] = (bench.service.state).rglob("*.iso")
    assert iso.stat().st_mode & 0o777 == 0o600
    row = bench.ended(vm)
    assert row["state"] == "done", row
    bench.lab.wait(vm)
    yield vm
    assert PASSWORD not in bench.service.log.read_text(encoding="utf-8")


def nothing_is_left(bench: Workbench, vm: WarmVm) -> None:
    assert set(drives(bench.client, vm).values()) == {None}
    assert list(bench.service.state.rglob("*.iso")) == [] == isos(bench.service.state)


def test_each_kind_of_script_the_options_the_files_and_the_network_come_from_one_disc(
    bench: Workbench, customized: WarmVm
) -> None:
    vm = customized
    assert set(said(vm, "cat /root/by-*").splitlines()) == {
        "by script",
        "by config",
        "by include",
        f"by template for i-{vm.vm_uuid}",
        "by gzip",
        "by option",
    }
    assert said(vm, "hostname; cat /etc/timezone; id -un eve; cat ~eve/.ssh/authorized_keys").splitlines() == [
        "tailored-1",
        "Europe/Zurich",
        "eve",
        KEY,
    ]
    assert said(vm, "stat -c '%a %U:%G' /etc/openngt-small; cat /etc/openngt-small").splitlines() == [
        "600 eve:eve",
        "small",
    ]
    assert said(vm, "sha256sum < /srv/deep/large").split()[0] == hashlib.sha256(LARGE).hexdigest()
    addresses = said(vm, "ip -4 -o address show scope global; ip route show default")
    assert "10.0.2.15/24" in addresses and "192.0.2.77/24" in addresses and "via 10.0.2.2" in addresses
    assert "dynamic" not in addresses and "dhcp" not in addresses
    assert "DataSourceNoCloud" in said(vm, "cat /run/cloud-init/result.json")
    nothing_is_left(bench, vm)


def test_the_same_again_changes_nothing_and_other_content_wants_another_instance_id(
    bench: Workbench, customized: WarmVm, spec: dict[str, Any]
) -> None:
    assert bench.client.plan_customization(customized.vm_uuid, spec)["changed"] is False
    assert bench.customize(customized, spec)["changed"] is False
    nothing_is_left(bench, customized)
    with pytest.raises(OpenNGTError) as caught:
        bench.customize(customized, {**spec, "options": {"hostname": "tailored-2"}})
    assert caught.value.code == "CUSTOMIZATION_CONFLICT"
    assert said(customized, "hostname") == "tailored-1"


def test_a_renewed_instance_id_has_it_done_again_and_a_wrong_script_fails_with_its_own_words(
    bench: Workbench, customized: WarmVm
) -> None:
    wrong = {
        "scripts": [{"name": "wrong.sh", "content": WRONG}],
        "options": {"hostname": "tailored-2"},
        "datasource": "config_drive",
        "instance_id": "second-life",
    }
    assert bench.customize(customized, wrong)["changed"] is True
    assert bench.client.customization(customized.vm_uuid)["state"] == "pending", "it runs, and has not booted with it"
    customized.ssh("systemctl reboot")
    customized.hang_up()
    row = bench.ended(customized)
    assert (row["state"], row["code"], row["instance_id"]) == ("failed", "CUSTOMIZATION_FAILED", "second-life"), row
    assert "the disk /dev/nope is missing" in row["message"] and "scripts" in row["message"]
    bench.lab.wait(customized)
    seen = said(customized, "hostname; cat /run/cloud-init/result.json")
    assert seen.startswith("tailored-2\n") and "DataSourceConfigDrive" in seen
    nothing_is_left(bench, customized)
