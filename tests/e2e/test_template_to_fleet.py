# SPDX-License-Identifier: GPL-3.0-or-later
"""The play of docs/template-to-fleet.md, on real VMs: from one template to three VMs that are each their own."""

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from openngt.effects import run
from openngt_service.agent_package.build import build_packages
from openngt_service.lab.inventory import inventory

from ..conftest import ROOT, program
from ..docs.examples import files_of
from .conftest import WarmVm
from .customizing import Workbench, workbench
from .hands import drives, isos, said, until
from .plays import Ansible, prepare
from .systemd_host import packages_layer, require_containers

pytestmark = [pytest.mark.guest, pytest.mark.nightly]

PAGE = ROOT / "docs/template-to-fleet.md"
FLEET = ("web1", "web2", "web3")
WITHOUT_CLOUD_INIT = """\
dpkg --purge cloud-init python3-apt 2>/dev/null
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] http://10.0.2.2:{port}/ ./' >/etc/apt/sources.list
! command -v cloud-init"""
"""And what apt shall find is what this test serves, not a mirror of the world."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    with workbench(tmp_path_factory.mktemp("fleet")) as bench:
        yield bench


@pytest.fixture(scope="module")
def repository(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A port of this host at which Debian's package of cloud-init can be had, and what Ansible wants for apt."""
    folder = tmp_path_factory.mktemp("repository")
    require_containers(bench.image, folder)
    layer = packages_layer(bench.image, folder, ("cloud-init", "python3-apt"))
    entries = []
    served = folder / "served"
    served.mkdir()
    for package in (layer / "var/cache/apt/archives").glob("*.deb"):
        content = package.read_bytes()
        name = package.name.replace("%3a", "-")
        (served / name).write_bytes(content)
        fields = run(["dpkg-deb", "--field", str(package)]).stdout.strip()
        digest = hashlib.sha256(content).hexdigest()
        entries.append(f"{fields}\nFilename: ./{name}\nSize: {len(content)}\nSHA256: {digest}\n")
    (served / "Packages").write_text("\n".join(entries), encoding="utf-8")
    handler = functools.partial(Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Nothing: this is a test's output."""


@pytest.fixture
def ansible(bench: Workbench, repository: int, collection: Path, tmp_path: Path) -> Ansible:
    """The page's play and inventory beside the agent's package; `golden` is a VM without cloud-init."""
    golden = WarmVm(**vars(bench.lab.start("golden", bench.image, bench.accelerator, cloud_init=True)))
    bench.lab.wait(golden)
    done = golden.ssh(WITHOUT_CLOUD_INIT.format(port=repository), timeout=300)
    assert done.returncode == 0, done
    golden.hang_up()
    made = prepare(tmp_path, bench.lab, bench.service, collection)
    (tmp_path / "packages").mkdir()
    build_packages(tmp_path / "packages", ["deb"], ca_sha256=bench.client.ca()["ca_sha256"])
    document = inventory(bench.lab, [golden], "root")
    document["all"]["children"] = {"fleet": {"hosts": dict.fromkeys(FLEET)}}
    made.inventories["admin"].write_text(yaml.safe_dump(document), encoding="utf-8")
    (tmp_path / "fleet.yml").write_text(files_of(PAGE)["fleet.yml"], encoding="utf-8")
    commands = {"PATH": f"{Path(program('openngt')).parent}:/usr/sbin:/usr/bin:/sbin:/bin"}
    lab = {"OPENNGT_LAB_DIRECTORY": str(bench.lab.directory), "ANSIBLE_FORKS": "3"}
    return Ansible(tmp_path, made.inventories, {**made.environment, **commands, **lab})


def test_one_play_makes_a_template_and_three_vms_of_it_that_are_each_their_own(
    bench: Workbench, ansible: Ansible
) -> None:
    play = ansible.play(str(ansible.folder / "fleet.yml")).succeeded()
    assert bench.lab.vm("golden").pid is None, "the template is off"
    vms = [WarmVm(**vars(bench.lab.vm(name))) for name in FLEET]
    records = [bench.client.vm(vm.vm_uuid) for vm in vms]
    assert [record["communication_link_active"] for record in records] == [True] * 3, play.output
    assert len({record["ngt_uuid"] for record in records}) == 3
    assert {record["certificate"]["kind"] for record in records} == {"link"}

    for vm in vms:
        bench.lab.wait(vm)
    command = "hostname; id -un ops; ip -4 -o address show scope global; cat /etc/machine-id; ngtcli status"
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda vm: said(vm, command).splitlines(), vms))
    for number, (name, answer) in enumerate(zip(FLEET, answers, strict=True)):
        assert answer[:2] == [name, "ops"]
        assert f"198.51.100.{10 + number}/24" in " ".join(answer) and "dynamic" not in answer[2]
    assert len({answer[4] for answer in answers}) == 3, "each has a machine-id of its own"
    assert {row["state"] for row in bench.client.customizations()} == {"done"}
    customizations = bench.service.state / "customizations"
    until(lambda: isos(bench.service.state) == [] == [*customizations.iterdir()], "the end of all discs")
    assert [set(drives(bench.client, vm).values()) for vm in vms] == [{None}] * 3
    for vm in vms:
        vm.hang_up()
