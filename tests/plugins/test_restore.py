# SPDX-License-Identifier: GPL-3.0-or-later
"""What the playbook `restore` says before it touches a host; `tests/e2e/test_service_role.py` restores one."""

import os
import subprocess
from pathlib import Path

from ..conftest import program


def test_a_backup_that_is_not_there_is_named(collection: Path, tmp_path: Path) -> None:
    (tmp_path / "inventory").write_text("localhost ansible_connection=local ansible_become=false\n")
    command = [program("ansible-playbook"), "openngt.guest_tools.restore", "-i", str(tmp_path / "inventory"), "--diff"]
    done = subprocess.run(
        [*command, "-e", "openngt_hosts=all", "-e", f"openngt_backup={tmp_path / 'no.backup'}"],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collection), "ANSIBLE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"{tmp_path}/no.backup" in done.stdout + done.stderr and "censored" not in done.stdout
