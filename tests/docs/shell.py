# SPDX-License-Identifier: GPL-3.0-or-later
"""One person's terminal: a bash that keeps its folder and variables from one example to the next, and its service."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PRIVATE", "Finished", "Shell"]

# Addresses, ports and folders that the pages name are nobody else's here: a network of its own with the documentation's
# addresses on it, and system folders on top of which all that is written goes with the last process.
PRIVATE = """\
set -e
ip link set lo up
for net in 192.0.2.10/24 198.51.100.1/24; do ip address add $net dev lo; done
layer=$(mktemp -d)
mount -t tmpfs tmpfs $layer
for folder in /etc /run /srv /var/lib; do
    mkdir -p $layer$folder/upper $layer$folder/work
    mount -t overlay -o lowerdir=$folder,upperdir=$layer$folder/upper,workdir=$layer$folder/work overlay $folder
done
umount -l $layer && rmdir $layer
set +e"""
READY_SECONDS = 60.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Finished:
    status: int
    output: str
    """Both streams, as a terminal shows them."""


class Shell:
    """`private` keeps network and system folders to this shell (see PRIVATE); a limit in seconds ends what hangs."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, private: bool, limit: float) -> None:
        self.folder, self.limit = folder, limit
        self._scratch = folder.parent / f"{folder.name}.shell"
        self._scratch.mkdir()
        self._service: int | None = None
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        # Processes of its own, too: what has made itself a daemon ends with it.
        namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        enter = ["unshare", *namespaces, *as_root] if private else []
        self._bash = subprocess.Popen(
            [*enter, "bash", "--norc", "--noprofile"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        if private:
            done = self.run(PRIVATE)
            assert done.status == 0, f"a network and folders of one's own cannot be had:\n{done.output}"

    def run(self, text: str) -> Finished:
        """As it is typed; exports stay."""
        script, output = self._written(text)
        status = self._ask(f". {script} >{output} 2>&1 </dev/null; echo $?\n", self.limit)
        return Finished(int(status), output.read_text(encoding="utf-8", errors="replace"))

    def serve(self, text: str) -> Finished:
        """`openngt serve`, until it says that it is ready; an earlier service of this terminal is ended first."""
        self.stop()
        script, output = self._written(f"exec {text}")
        self._service = int(self._ask(f". {script} >{output} 2>&1 </dev/null & echo $!\n", self.limit))
        deadline = time.monotonic() + READY_SECONDS
        while "CA SHA-256" not in output.read_text(encoding="utf-8"):
            assert self._runs(), f"the service ended:\n{output.read_text(encoding='utf-8')}"
            assert time.monotonic() < deadline, f"not ready in time:\n{output.read_text(encoding='utf-8')}"
            time.sleep(0.1)
        return Finished(0, output.read_text(encoding="utf-8"))

    def stop(self) -> None:
        """End the service in order."""
        if self._service is not None:
            pid, self._service = self._service, None
            status = self._ask(f"kill {pid}; wait {pid}; echo $?\n", STOP_SECONDS)
            assert status == "0", f"the service ended with {status}"

    def close(self) -> None:
        """The service in order, then all that the terminal has started and that still runs."""
        try:
            self.stop()
        finally:
            os.killpg(self._bash.pid, signal.SIGKILL)
            self._bash.wait()

    def _runs(self) -> bool:
        return self._ask(f"kill -0 {self._service} 2>/dev/null; echo $?\n", self.limit) == "0"

    def _written(self, text: str) -> Sequence[Path]:
        number = len(list(self._scratch.iterdir())) // 2
        script, output = self._scratch / f"{number}.sh", self._scratch / f"{number}.out"
        script.write_text(f"{text}\n", encoding="utf-8")
        output.touch()
        return script, output

    def _ask(self, line: str, limit: float) -> str:
        """The one line that bash answers. Commands have no part in this: their streams are elsewhere."""
        assert self._bash.stdin is not None and self._bash.stdout is not None
        self._bash.stdin.write(line.encode())
        self._bash.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._bash.stdout, selectors.EVENT_READ)
            assert selector.select(limit), f"no end within {limit:g} s: {line}"
        answer = self._bash.stdout.readline().decode().strip()
        assert answer, f"the shell ended: {line}"
        return answer
