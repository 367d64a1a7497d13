# SPDX-License-Identifier: GPL-3.0-or-later
"""The customization media of 100 VMs, each its own, beside what people make them with: cloud-localds and genisoimage.

Ours builds user-data, meta-data and network config from options and a script; the peers are given the three as files,
which are written before the clock runs. The peers do not sync, so for the rows with fsync it is done for them. All run
in turns on the same disk; of each the fastest turn counts. Alone: python -m bench customization_media
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench._rows import Row, not_measured, row
from bench.iso import work_folder
from openngt.customization.authoring import write_media
from openngt.customization.media import build
from openngt.customization.model import Customization, MediaVm, Script

VMS = 100
TURNS = 3
FACTOR = 5
NAME = f"customization media of {VMS} VMs"
GOAL, BESIDE = f"at least {FACTOR} x faster", "given beside it"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0 bench"
SCRIPT = Script(b"#!/bin/sh\n" + b"echo one line of a script of an ordinary length\n" * 40, "setup.sh")


def customization(number: int) -> Customization:
    mac = f"52:54:00:00:00:{number:02x}"
    options = {
        "hostname": f"web{number}",
        "timezone": "Europe/Zurich",
        "users": [{"name": "ann", "shell": "/bin/bash", "sudo": True, "ssh_authorized_keys": [KEY]}],
        "packages": ["nginx", "vim"],
        "interfaces": [{"mac": mac, "addresses": [f"192.0.2.{number + 10}/24"], "gateway4": "192.0.2.1"}],
    }
    return Customization(scripts=(SCRIPT,), options=options)


def vm(number: int) -> MediaVm:
    return MediaVm(f"6f1c0c2e-9d3a-4d0e-8a55-{number:012x}", f"web{number}", f"i-{number}")


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(dir=work_folder(), prefix="bench-media-") as work:
        folder = Path(work)
        candidates: dict[str, Callable[[int], None]] = {
            "ours": lambda number: ours(folder, number, fsync=False),
            "ours, fsync": lambda number: ours(folder, number, fsync=True),
        }
        for name, make in PEERS.items():
            if shutil.which(name):
                candidates[name] = make(folder)
                candidates[f"{name}, fsync"] = synced(candidates[name], folder)
        least = in_turns(candidates)
    return [judged(name, durable, least) for name in PEERS for durable in ("", ", fsync")]


def judged(peer: str, durable: str, least: dict[str, float]) -> Row:
    """The goal is that of the issue: against what people use, as they use it."""
    goal = GOAL if (peer, durable) == ("cloud-localds", "") else BESIDE
    if peer not in least:
        return not_measured(NAME + durable, f"{peer} is not installed", unit="s", goal=goal)
    value, theirs = least["ours" + durable], least[peer + durable]
    met = goal == BESIDE or value * FACTOR <= theirs
    return row(NAME + durable, value, "s", goal=goal, met=met, peer=peer + durable, peer_value=theirs)


def ours(folder: Path, number: int, *, fsync: bool) -> None:
    write_media(build(customization(number), vm(number)), str(folder / f"{number}.iso"), fsync=fsync)


def synced(make: Callable[[int], None], folder: Path) -> Callable[[int], None]:
    def run(number: int) -> None:
        make(number)
        with (folder / f"{number}.iso").open("rb") as stream:
            os.fsync(stream.fileno())

    return run


def inputs(folder: Path) -> list[Path]:
    """A folder for each VM with what a NoCloud disc holds."""
    result = []
    for number in range(VMS):
        tree = folder / f"tree-{number}"
        tree.mkdir(exist_ok=True)
        for file in build(customization(number), vm(number)).files:
            (tree / file.path).write_bytes(file.content)
        result.append(tree)
    return result


def cloud_localds(folder: Path) -> Callable[[int], None]:
    trees = inputs(folder)

    def make(number: int) -> None:
        tree = trees[number]
        files = [str(folder / f"{number}.iso"), str(tree / "user-data"), str(tree / "meta-data")]
        subprocess.run(
            ["cloud-localds", f"--network-config={tree / 'network-config'}", *files], check=True, capture_output=True
        )

    return make


def genisoimage(folder: Path) -> Callable[[int], None]:
    trees = inputs(folder)

    def make(number: int) -> None:
        options = ["-quiet", "-J", "-r", "-V", "cidata", "-o", str(folder / f"{number}.iso")]
        subprocess.run(["genisoimage", *options, str(trees[number])], check=True, capture_output=True)

    return make


PEERS = {"cloud-localds": cloud_localds, "genisoimage": genisoimage}


def in_turns(candidates: dict[str, Callable[[int], None]]) -> dict[str, float]:
    """Least seconds of each for all VMs. Nothing that another left dirty is written back inside a measurement."""
    least = dict.fromkeys(candidates, float("inf"))
    for _ in range(TURNS):
        for name, make in candidates.items():
            os.sync()
            begin = time.perf_counter()
            for number in range(VMS):
                make(number)
            least[name] = min(least[name], time.perf_counter() - begin)
    return least
