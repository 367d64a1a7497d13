# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Both sides of systemd: what a service tells it (sd_notify(3)), and what an installer asks it to do."""

import contextlib
import socket
import time
from typing import Callable, Dict, Mapping

from .errors import AgentError
from .files import Finished, Runner
from .paths import UNIT

__all__ = ["Notifier", "is_enabled", "is_masked", "properties", "systemctl"]

SECONDS_BETWEEN_BEATS = 5.0


class Notifier:
    """Tells the service manager how this process is; does nothing where none listens."""

    def __init__(self, environment: Mapping[str, str], monotonic: Callable[[], float] = time.monotonic) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._monotonic = monotonic
        self._last_beat = float("-inf")

    def ready(self) -> None:
        self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def beat(self) -> None:
        """Alive. Cheap enough to be called at every turn."""
        now = self._monotonic()
        if now - self._last_beat >= SECONDS_BETWEEN_BEATS:
            self._last_beat = now
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A manager that does not listen is no reason to stop serving.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode("ascii"), self._address)


def systemctl(run: Runner, *arguments: str) -> Finished:
    """Run systemctl; COMMAND_FAILED with its words unless it succeeds."""
    done = run(["systemctl", "--no-ask-password"] + list(arguments))
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise AgentError(
            "COMMAND_FAILED",
            "systemctl {0} failed: {1}".format(" ".join(arguments), said or "exit status {0}".format(done.returncode)),
            {"exit_status": done.returncode},
        )
    return done


def properties(run: Runner, unit: str = UNIT) -> Dict[str, str]:
    """ActiveState, SubState and NeedDaemonReload of a unit; empty where systemctl does not answer."""
    done = run(["systemctl", "show", "--property=ActiveState,SubState,NeedDaemonReload", unit])
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value for name, separator, value in pairs if separator}


def is_masked(run: Runner, unit: str) -> bool:
    return run(["systemctl", "is-enabled", unit]).stdout.strip() == "masked"


def is_enabled(run: Runner, unit: str = UNIT) -> bool:
    return run(["systemctl", "is-enabled", unit]).stdout.strip() == "enabled"
