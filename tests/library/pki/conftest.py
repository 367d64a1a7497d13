# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA for tests that do not care which, and `openssl` as the oracle that is not ours."""

import datetime
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from openngt import effects
from openngt.pki.authority import Authority, create_authority
from openngt.pki.issue import VmCertificateRequest

VM_UUID = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
NGT_UUID = "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"


@pytest.fixture(scope="session")
def now() -> datetime.datetime:
    """The real time, as OpenSSL judges validity by it; whole seconds, as X.509 has no smaller."""
    return effects.now().replace(microsecond=0)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory, now: datetime.datetime) -> Authority:
    return create_authority(tmp_path_factory.mktemp("authority") / "ca", common_name="Test CA", now=now)


@pytest.fixture
def request_for() -> Callable[..., VmCertificateRequest]:
    """A request with every field set; keywords replace some."""

    def build(**changes: object) -> VmCertificateRequest:
        values = {"vm_uuid": VM_UUID, "ngt_uuid": NGT_UUID, "generation": 3, "kind": "link", **changes}
        return VmCertificateRequest(**values)  # type: ignore[arg-type]  # that is what is tested

    return build


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`openssl(*arguments)`; an argument of type bytes is put into a file, whose name takes its place."""

    def run(*arguments: str | bytes) -> subprocess.CompletedProcess[str]:
        command = ["openssl"]
        for number, argument in enumerate(arguments):
            if isinstance(argument, bytes):
                path = tmp_path / f"openssl-{number}.pem"
                path.write_bytes(argument)
                argument = str(path)
            command.append(argument)
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run
