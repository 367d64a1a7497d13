#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the script of the role winrm_prep into a module of the library, where a role's files do not come along.

`--check` fails when the module has drifted from the role.
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLE = ROOT / "roles/winrm_prep"
MODULE = ROOT / "plugins/module_utils/openngt/customization/winrm_prep_script.py"
# As the role's own template has it: what only a reader of the source needs stays there.
SHORTER = [(r"(?s)<#.*?#>", ""), (r"(?m)^[ ]*(#.*)?\n", ""), (r"(?m)^[ ]+", "")]
HEAD = '''# SPDX-License-Identifier: GPL-3.0-or-later
# fmt: off
"""Written by scripts/winrm_prep_script.py from roles/winrm_prep/files: change it there."""

from __future__ import annotations

__all__ = ["WINRM_PREP_SCRIPT"]

WINRM_PREP_SCRIPT = r"""
'''


def module() -> str:
    parts = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))["__winrm_prep_parts"]
    script = "\n\n".join((ROLE / "files" / part).read_text(encoding="utf-8").rstrip("\n") for part in parts) + "\n"
    for pattern, replacement in SHORTER:
        script = re.sub(pattern, replacement, script)
    if '"""' in script or not script.isascii():
        sys.exit("the script of winrm_prep does not fit into a text of Python")
    return HEAD + script + '""".lstrip("\\n")\n'


if __name__ == "__main__":
    text = module()
    if "--check" not in sys.argv[1:]:
        MODULE.write_text(text, encoding="utf-8")
    elif text != MODULE.read_text(encoding="utf-8"):
        sys.exit(f"{MODULE.relative_to(ROOT)} has drifted from the role; run scripts/generated")
