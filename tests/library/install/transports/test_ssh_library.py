# SPDX-License-Identifier: GPL-3.0-or-later
"""Without paramiko."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
PROGRAM = """
import sys
sys.modules["paramiko"] = None  # what an import of a package that is not there meets
from openngt.errors import OpenNGTError
from openngt.install.fleet.target import SshLogin
from openngt.install.transports.ssh import connect
try:
    connect(SshLogin("192.0.2.7"))
except OpenNGTError as error:
    print(error.code, error.message)
"""


def test_a_missing_library_is_named() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "plugins/module_utils")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("LIBRARY_MISSING the Python library paramiko")
