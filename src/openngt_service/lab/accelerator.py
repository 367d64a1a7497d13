# SPDX-License-Identifier: GPL-3.0-or-later
"""KVM or software emulation, decided by trying.

That `/dev/kvm` opens says little: in nested and sandboxed environments it opens and then runs no ordinary kernel, or
runs it slower than emulation. So the lab boots its own kernel without a root file system and waits for its last words.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from openngt.effects import replace_file

from .image import Image, Report, default_cache

__all__ = ["Accelerator", "choose_accelerator"]

Accelerator = Literal["kvm", "tcg"]

QEMU = "qemu-system-x86_64"
LIMIT_SECONDS = 20
# The last thing a kernel without a root file system says; QEMU then ends because of -no-reboot.
MARKER = "Unable to mount root fs"


def choose_accelerator(image: Image, report: Report, cache: Path | None = None) -> Accelerator:
    """`OPENNGT_LAB_ACCELERATOR` where it is set, else what works; the verdict is kept until this host boots again."""
    forced = os.environ.get("OPENNGT_LAB_ACCELERATOR")
    if forced in ("kvm", "tcg"):
        return "kvm" if forced == "kvm" else "tcg"
    verdict_file = (cache or default_cache()) / "accelerator.json"
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    known = _read(verdict_file)
    if known.get("boot_id") != boot_id:
        works = os.access("/dev/kvm", os.R_OK | os.W_OK) and _kernel_runs(image, report)
        known = {"boot_id": boot_id, "accelerator": "kvm" if works else "tcg"}
        verdict_file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(str(verdict_file), json.dumps(known).encode())
        report("KVM works here" if works else "KVM does not work here: software emulation, which is slower")
    return "kvm" if known["accelerator"] == "kvm" else "tcg"


def _read(path: Path) -> dict[str, str]:
    """An unreadable verdict is no verdict."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) and {"boot_id", "accelerator"} <= document.keys() else {}


def _kernel_runs(image: Image, report: Report) -> bool:
    report(f"trying KVM with the guest's kernel (at most {LIMIT_SECONDS} s)")
    with tempfile.TemporaryDirectory(prefix="openngt-lab-") as folder:
        console = Path(folder) / "console.log"
        command = [QEMU, "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-no-user-config"]
        command += ["-display", "none", "-no-reboot", "-serial", f"file:{console}"]
        command += ["-kernel", str(image.kernel), "-append", "console=ttyS0 panic=-1"]
        try:
            subprocess.run(command, timeout=LIMIT_SECONDS, capture_output=True, check=False)
        except subprocess.TimeoutExpired:
            return False
        return console.exists() and MARKER in console.read_text(encoding="utf-8", errors="replace")
