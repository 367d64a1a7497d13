# SPDX-License-Identifier: GPL-3.0-or-later
"""A template with a small payload, a CA, ISOs for a VM, and the programs that are not ours to read them with."""

import datetime
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from openngt import effects
from openngt.iso.layout import AGENT, INSTALLER
from openngt.iso.manifest import FileEntry
from openngt.iso.payload import PayloadFile
from openngt.iso.template import Template, ensure_template
from openngt.iso.tools_iso import Cluster, Unsigned, Vm, prepare, write_iso
from openngt.pki.authority import Authority, create_authority
from openngt.pki.issue import VmCertificateRequest, issue_vm_certificate

VM_UUID = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
NGT_UUID = "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"
CLUSTER_UUID = "c1a57e12-0000-4000-8000-00000000c1a5"
DAY = datetime.timedelta(days=1)

PAYLOAD = {
    AGENT: b"PK the agent\0\xff" * 999,
    INSTALLER: b"print('installer')\n",
    "extras/Ünïcode name with spaces.txt": b"text\n",
    "extras/a/b/c/d/e/f/deep.bin": bytes(range(256)) * 41,
    "extras/empty": b"",
    "extras/" + "n" * 60 + ".msi": b"long name",
}


def payload_of(files: Mapping[str, bytes]) -> tuple[PayloadFile, ...]:
    return tuple(PayloadFile(FileEntry.of(path, files[path]), files[path]) for path in sorted(files))


def tool(*command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program that the tests need; its absence is a failure that says what to install."""
    assert shutil.which(command[0]), f"install {command[0]}: it reads our ISOs as a program that is not ours"
    return subprocess.run(command, capture_output=True, check=False)


@pytest.fixture(scope="session")
def now() -> datetime.datetime:
    """The real time, as OpenSSL judges validity by it."""
    return effects.now().replace(microsecond=0)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory, now: datetime.datetime) -> Authority:
    return create_authority(tmp_path_factory.mktemp("authority") / "ca", common_name="Test CA", now=now)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return ensure_template(tmp_path_factory.mktemp("templates"), payload_of(PAYLOAD))


@pytest.fixture(scope="session")
def config_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return ensure_template(tmp_path_factory.mktemp("templates"), (), kind="config")


@dataclass(frozen=True)
class Made:
    path: Path
    unsigned: Unsigned
    client_pem: bytes


MakeIso = Callable[..., Made]


@pytest.fixture
def make_iso(template: Template, authority: Authority, now: datetime.datetime, tmp_path: Path) -> MakeIso:
    """`make_iso(name="vm.iso", …)`: a VM's ISO as the service makes it; keywords replace what stands in it."""

    def make(
        name: str = "vm.iso",
        *,
        template: Template = template,
        vm_uuid: str = VM_UUID,
        generation: int = 3,
        created: datetime.datetime = now,
        life: datetime.timedelta = DAY,
        signer: Authority = authority,
        certificate_for: Mapping[str, object] | None = None,
    ) -> Made:
        vm = Vm(vm_uuid, "web-1", NGT_UUID)
        cluster = Cluster(CLUSTER_UUID, "192.0.2.10", authority.certificate_pem)
        unsigned = prepare(template, vm, cluster, generation=generation, created=created, expires=created + life)
        values: dict[str, object] = {
            "vm_uuid": vm_uuid,
            "ngt_uuid": NGT_UUID,
            "generation": generation,
            "kind": "bootstrap",
            "validity": life,
            "manifest_sha256": unsigned.manifest_sha256,
        }
        request = VmCertificateRequest(**{**values, **(certificate_for or {})})  # type: ignore[arg-type]  # by name
        client_pem = issue_vm_certificate(signer, request, now=created).client_pem
        write_iso(template, unsigned, client_pem, tmp_path / name, fsync=False)
        return Made(tmp_path / name, unsigned, client_pem)

    return make
