# SPDX-License-Identifier: GPL-3.0-or-later
"""A disc that the library authors, as an independent reader unpacks it, is one that the agent takes."""

import datetime
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from openngt.agent import verify
from openngt.agent.errors import AgentError
from openngt.agent_bundle import build_zipapp, installer_source
from openngt.iso.layout import AGENT, INSTALLER
from openngt.iso.manifest import FileEntry
from openngt.iso.payload import PayloadFile
from openngt.iso.template import ensure_template
from openngt.iso.tools_iso import Cluster, Vm, prepare, write_iso
from openngt.pki.authority import Authority, create_authority
from openngt.pki.issue import VmCertificateRequest, issue_vm_certificate

from .workshop import CLUSTER, DAY, NGT, NOW, OTHER_VM, VM

KEY_TYPES = ("ecdsa-p256", "rsa-3072", "ed25519")


def author(folder: Path, authority: Authority, key_type: str) -> Path:
    """The ISO's path."""
    payload = [
        PayloadFile(FileEntry.of(path, content), content)
        for path, content in ((AGENT, build_zipapp()), (INSTALLER, installer_source()), ("extras/ü ü.txt", b"text\n"))
    ]
    template = ensure_template(folder / "templates", tuple(payload))
    cluster = Cluster(CLUSTER, "192.0.2.10", authority.certificate_pem)
    unsigned = prepare(template, Vm(VM, "web01", NGT), cluster, generation=3, created=NOW, expires=NOW + DAY)
    request = VmCertificateRequest(
        vm_uuid=VM,
        ngt_uuid=NGT,
        generation=3,
        kind="bootstrap",
        validity=datetime.timedelta(days=1),
        manifest_sha256=unsigned.manifest_sha256,
        key_type=key_type,  # type: ignore[arg-type]  # one of KEY_TYPES
    )
    client_pem = issue_vm_certificate(authority, request, now=NOW).client_pem
    write_iso(template, unsigned, client_pem, folder / "vm.iso", fsync=False)
    return folder / "vm.iso"


def unpack(iso: Path, folder: Path) -> Path:
    assert shutil.which("xorriso"), "install xorriso: it reads our ISOs as a program that is not ours"
    command = ["xorriso", "-osirrox", "on", "-indev", str(iso), "-extract", "/", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_an_authored_disc_is_taken_by_its_vm_alone(key_type: str, tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "ca", common_name="Test CA", key_type=key_type, now=NOW)  # type: ignore[arg-type]
    folder = unpack(author(tmp_path, authority, key_type), tmp_path / "disc")
    try:
        trust = verify.Trust(VM, None, authority.ca_sha256)
        found = verify.verify(verify.read_disc(str(folder)), trust)
        verify.verify_files(str(folder), found.manifest)
        assert verify.read_agent(str(folder), found.manifest) == build_zipapp()
        assert (found.identity.generation, found.identity.vm_uuid, found.trusted_by) == (3, VM, "fingerprint")
        with pytest.raises(AgentError) as caught:
            verify.verify(verify.read_disc(str(folder)), trust._replace(vm_uuid=OTHER_VM))
        assert caught.value.code == "DISC_OF_ANOTHER_VM"
    finally:
        for here, _folders, _files in os.walk(folder):
            Path(here).chmod(0o700)  # as on the disc they cannot be written, so not be removed by pytest
