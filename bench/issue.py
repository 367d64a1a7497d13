# SPDX-License-Identifier: GPL-3.0-or-later
"""Issuing VM certificates, key and signature, in one process without a database; the ledger has its own benchmark."""

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openngt.effects import now
from openngt.pki.authority import Authority, create_authority
from openngt.pki.issue import VmCertificateRequest, issue_vm_certificate

SECONDS = 3.0
GOAL_PER_SECOND = 2000
VM, NGT = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"
EXTENSIONS = f"""basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=critical,clientAuth
subjectAltName=URI:urn:openngt:vm:{VM},URI:urn:openngt:generation:1
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""


def per_second(make_one: Callable[[], object]) -> float:
    make_one()
    made, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < SECONDS:
        make_one()
        made += 1
    return made / elapsed


def ours(authority: Authority) -> float:
    request = VmCertificateRequest(vm_uuid=VM, ngt_uuid=NGT, generation=1, kind="link")
    return per_second(lambda: issue_vm_certificate(authority, request, now=now()))


def openssl(folder: Path) -> float:
    """The same certificate by two commands: key and request, then the signature."""
    (folder / "extensions").write_text(EXTENSIONS)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    request = ["openssl", "req", "-new", *curve, "-subj", f"/CN={NGT}", "-keyout", "vm.key", "-out", "vm.csr"]
    signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-days", "1000", "-extfile", "extensions"]
    sign = ["openssl", "x509", "-req", "-in", "vm.csr", *signing, "-out", "vm.pem"]

    def make_one() -> None:
        for command in (request, sign):
            subprocess.run(command, cwd=folder, capture_output=True, check=True)

    return per_second(make_one)


def rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        authority = create_authority(Path(folder) / "ca", common_name="Benchmark CA", now=now())
        value, peer_value = ours(authority), openssl(Path(folder) / "ca")
    return [
        {
            "name": "issue a P-256 certificate in process, one thread, no ledger",
            "value": value,
            "unit": "1/s",
            "peer": "openssl req, then openssl x509, for each",
            "peer_value": peer_value,
            "ratio": value / peer_value,
            "goal": f"at least {GOAL_PER_SECOND}/s",
            "met": value >= GOAL_PER_SECOND,
        }
    ]
