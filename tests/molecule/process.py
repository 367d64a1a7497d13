# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scenario needs beside the lab's guests, as a process that outlives the playbook which starts it.

`python -m tests.molecule.<name> start FOLDER` returns when FOLDER/ready.json says where it answers; `stop FOLDER` ends
it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from openngt_service.lab.process import end_process, processes_naming

__all__ = ["Beside", "main"]

Beside = Callable[[Path], AbstractContextManager[Mapping[str, Any]]]
"""Runs while it is entered, with this folder for its own, and says where it answers."""

STOP_SECONDS = 30.0


def main(beside: Beside, ready_seconds: float) -> None:
    """Do what the command line asks for; `ready_seconds` is how long a start may take."""
    action, folder = sys.argv[1], Path(sys.argv[2]).absolute()
    if action == "serve":
        serve(beside, folder)
    elif action == "start":
        stop(folder)
        start(folder, ready_seconds)
    else:
        stop(folder)


def start(folder: Path, ready_seconds: float) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    log, name = folder / "log", sys.modules["__main__"].__spec__
    assert name is not None, "run as a module: python -m"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", name.name, "serve", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    deadline = time.monotonic() + ready_seconds
    while not (folder / "ready.json").exists():
        if process.poll() is not None:
            sys.exit(log.read_text(errors="replace"))
        if time.monotonic() > deadline:
            process.terminate()
            sys.exit(f"not ready after {ready_seconds:g} s; log: {log}")
        time.sleep(0.1)


def stop(folder: Path) -> None:
    """Also what has ended by itself, or was never started."""
    ready = folder / "ready.json"
    if ready.exists():
        pid = json.loads(ready.read_text())["pid"]
        if pid in processes_naming(str(folder)):
            end_process(pid, STOP_SECONDS)
        ready.unlink()


def serve(beside: Beside, folder: Path) -> None:
    """Until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    with beside(folder) as where:
        unfinished = folder / "ready.json.unfinished"
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps({"pid": os.getpid(), **where}))
        unfinished.rename(folder / "ready.json")
        signal.pause()
