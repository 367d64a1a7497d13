# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for AWX as a process of its own: `python -m tests.fakes.awx_process start FOLDER`, for Molecule.

FOLDER/awx.json holds its `url` and `token` until `stop FOLDER`. Whatever project is made in it, its files are those in
FOLDER/project.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from openngt_service.lab.process import end_process, processes_naming

from .awx_controller import AwxController, AwxServer

READY_SECONDS = 30.0
STOP_SECONDS = 10.0


def start(folder: Path) -> None:
    """Until it answers."""
    stop(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "awx.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.awx_process", "serve", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_SECONDS
    while not (folder / "awx.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            sys.exit((folder / "awx.log").read_text(errors="replace") or f"not ready after {READY_SECONDS:g} s")
        time.sleep(0.1)


def stop(folder: Path) -> None:
    """Also when it has ended by itself, or was never started."""
    address = folder / "awx.json"
    if address.exists():
        pid = json.loads(address.read_text())["pid"]
        if pid in processes_naming(str(folder)):
            end_process(pid, STOP_SECONDS)
        address.unlink()


def serve(folder: Path) -> None:
    """Until SIGTERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    token = secrets.token_urlsafe()
    with AwxServer(AwxController(folder / "project"), token) as server:
        unfinished = folder / "awx.json.unfinished"
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps({"url": server.url, "token": token, "pid": os.getpid()}))
        unfinished.rename(folder / "awx.json")
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    action, given = sys.argv[1:]
    {"start": start, "stop": stop, "serve": serve}[action](Path(given).absolute())
