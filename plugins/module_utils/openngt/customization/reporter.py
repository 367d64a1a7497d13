# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that a customization's disc carries as vendor-data: the guest says at its end what became of it."""

from __future__ import annotations

import re

from ..agent_bundle import source_of

__all__ = ["reporter"]

NONCE = re.compile(r"[0-9a-f]{16,64}")
FOLDER = "/run/openngt-customization"
END = "END-OF-OPENNGT-FILE"

MAIN = """\
from cloud_init import read
from guest_report import report

report("{nonce}", read)
"""

# cloud-init waits for its scripts, and this one waits for cloud-init: so it starts a service of its own and returns.
# Whatever goes wrong here must not make a customization fail that is well otherwise.
SCRIPT = """\
#!/bin/sh
# openngt: when cloud-init has ended, the service that gave this disc is told on the VM's serial port what became of it,
# and the disc is ejected.
umask 077
{files}
python=$(command -v python3) || python=/usr/libexec/platform-python
systemd-run --no-block --description="openngt: tell the end" "$python" {folder}/main.py 2>/dev/null && exit 0
setsid "$python" {folder}/main.py </dev/null >/dev/null 2>&1 &
exit 0
"""


def reporter(nonce: str) -> str:
    """A script for `sh`. It ends at once with 0 and leaves a service behind that waits, tells and ejects
    (`guest_report`).

    `nonce` is lower-case hex: it proves that a report comes from the VM that was given this very disc.
    """
    if not NONCE.fullmatch(nonce):
        raise ValueError("a nonce is 16 to 64 digits of lower-case hex")
    here = __name__.rpartition(".")[0]
    library = here.rpartition(".")[0]
    files = {
        "cloud_init.py": source_of(f"{library}.agent.cloud_init").decode(),
        "guest_report.py": source_of(f"{here}.guest_report").decode(),
        "main.py": MAIN.format(nonce=nonce),
    }
    return SCRIPT.format(folder=FOLDER, files="\n".join([f"mkdir -p {FOLDER}", *map(_written, files, files.values())]))


def _written(name: str, content: str) -> str:
    return f"cat >{FOLDER}/{name} <<'{END}'\n{content}{END}"
