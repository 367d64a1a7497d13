# SPDX-License-Identifier: GPL-3.0-or-later
"""Without `cryptography` each entrance of the room answers with what to install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from pathlib import Path
from openngt.effects import now
from openngt.errors import OpenNGTError
from openngt.pki import authority, ensure_ca, ensure_certificate, inspect, issue, issue_log
VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
ORDER = ensure_certificate.CertificateOrder(ca_folder=Path("."), path=Path("client.pem"), vm_uuid=VM)
try:
    {call}
except OpenNGTError as error:
    print(error.code, error.message)
"""


@pytest.mark.parametrize(
    "call",
    [
        "authority.create_authority(Path('ca'), common_name='x', now=now())",
        "authority.load_authority(Path('.'))",
        "authority.load_ca_certificate(Path('.'))",
        "inspect.inspect_certificate(b'')",
        "ensure_ca.ensure_ca(ensure_ca.WantedCa(Path('ca')), check=False, now=now())",
        "ensure_certificate.ensure_certificate(ORDER, check=True, now=now())",
        "ensure_certificate.ensure_no_certificate(Path('.'), Path('client.pem'), VM, check=True, now=now())",
    ],
)
def test_the_missing_library_is_named(call: str, tmp_path: Path) -> None:
    (tmp_path / "path/cryptography").mkdir(parents=True)
    (tmp_path / "path/cryptography/__init__.py").write_text("raise ImportError('not here')\n")
    (tmp_path / "ca.pem").touch()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call=call)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "path")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("LIBRARY_MISSING the Python library cryptography"), done.stderr
