# SPDX-License-Identifier: GPL-3.0-or-later
"""The names that the role guest_tools_service writes into the service's settings."""

import json
import os
import subprocess
from pathlib import Path

from ..conftest import ROOT, program

FILES = [str(ROOT / f"roles/guest_tools_service/{part}/main.yml") for part in ("defaults", "vars")]
PLAY = {
    "hosts": "all",
    "gather_facts": False,
    "vars_files": FILES,
    "vars": {"ansible_host": "192.0.2.10"},
    "tasks": [{"ansible.builtin.debug": {"msg": "{{ __guest_tools_service_settings.api_names | to_json }}"}}],
}


def test_they_have_one_order_in_every_run(tmp_path: Path) -> None:
    """Another order would be another file, and restart the service. Each process has sets in an order of its own."""
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([PLAY]))
    for seed in ("0", "1"):
        done = subprocess.run(
            [program("ansible-playbook"), "-i", "tools.example,", str(play)],
            env={**os.environ, "PYTHONHASHSEED": seed, "ANSIBLE_HOME": str(tmp_path)},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout.replace("\\", "")
        assert '["192.0.2.10", "tools.example"]' in said, done.stdout + done.stderr
