# SPDX-License-Identifier: GPL-3.0-or-later
"""Issuing VM certificates, key and signature, in one process without a database; the ledger has its own benchmark."""

import tempfile
import time
from pathlib import Path

from bench._issuers import NGT, VM, rate_rows
from bench._rows import Row
from openngt.effects import now
from openngt.pki.authority import Authority, create_authority
from openngt.pki.issue import VmCertificateRequest, issue_vm_certificate

SECONDS = 3.0
GOAL_PER_SECOND = 2000


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        value = per_second(create_authority(Path(folder) / "ca", common_name="Benchmark CA", now=now()))
    return rate_rows("issue a P-256 certificate in process, one thread, no ledger", value, GOAL_PER_SECOND)


def per_second(authority: Authority) -> float:
    request = VmCertificateRequest(vm_uuid=VM, ngt_uuid=NGT, generation=1, kind="link")
    issue_vm_certificate(authority, request, now=now())
    made, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < SECONDS:
        issue_vm_certificate(authority, request, now=now())
        made += 1
    return made / elapsed
