# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in for a program in the simulated guest: a callable of the test, and its three streams."""

from __future__ import annotations

import base64
import queue
import re
import threading
from collections.abc import Callable, Iterator

from openngt.install.transports.powershell import READY

__all__ = ["Ended", "Play", "Run", "echo", "through_bootstrap"]

ENCODED = re.compile(r"-enc\w*\s+(\S+)", re.IGNORECASE)


class Ended(BaseException):
    """Raised in a program whose command was terminated, out of whatever it waits for; not for programs to catch."""


class Run:
    """One command. The program reads and writes through it, in a thread of its own."""

    def __init__(self, command: str, user: str) -> None:
        self.command = command
        """The line as cmd.exe gets it."""
        self.user = user
        self.script = _decoded(command)
        """What stands behind -EncodedCommand, or None."""
        self._input: queue.Queue[bytes | None] = queue.Queue()
        self._pending = b""
        self._input_ended = False
        self._changed = threading.Condition()
        self._output: list[tuple[str, bytes]] = []
        self._exit_status: int | None = None
        self._terminated = False

    # -- For the program ------------------------------------------------------------------------------------------

    def read_line(self) -> str | None:
        """The next line of standard input without its end; None after the last one."""
        while b"\n" not in self._pending and not self._input_ended:
            self._take()
        line, found, rest = self._pending.partition(b"\n")
        if not found and not line:
            return None
        self._pending = rest
        return line.decode().removesuffix("\r")

    def lines(self) -> Iterator[str]:
        while (line := self.read_line()) is not None:
            yield line

    def read(self) -> bytes:
        """All that is left of standard input, which must end."""
        while not self._input_ended:
            self._take()
        content, self._pending = self._pending, b""
        return content

    def say(self, text: str) -> None:
        """A line on standard output, as [Console]::Out.WriteLine writes it."""
        self.write(f"{text}\r\n".encode())

    def write(self, data: bytes, stream: str = "stdout") -> None:
        with self._changed:
            if self._terminated:
                raise Ended
            self._output.append((stream, data))
            self._changed.notify_all()

    # -- For the server -------------------------------------------------------------------------------------------

    def start(self, play: Play) -> None:
        threading.Thread(target=self._run, args=(play,), daemon=True).start()

    def feed(self, data: bytes, *, end: bool) -> None:
        self._input.put(data)
        if end:
            self._input.put(None)

    @property
    def has_ended(self) -> bool:
        with self._changed:
            return self._exit_status is not None

    def collect(self, seconds: float, piece: int, limit: int) -> tuple[list[tuple[str, bytes]], int | None] | None:
        """At most `limit` bytes in pieces of at most `piece`, and the exit status with the last; None: nothing came."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._output or self._exit_status is not None, seconds):
                return None
            streams: list[tuple[str, bytes]] = []
            while self._output and limit > 0:
                name, data = self._output.pop(0)
                take = min(piece, limit)
                streams.append((name, data[:take]))
                limit -= len(data[:take])
                if data[take:]:
                    self._output.insert(0, (name, data[take:]))
            return streams, None if self._output else self._exit_status

    def terminate(self) -> None:
        with self._changed:
            self._terminated = True
            self._changed.notify_all()
        self._input.put(None)

    def _take(self) -> None:
        data = self._input.get()
        if self._terminated:
            raise Ended
        if data is None:
            self._input_ended = True
        else:
            self._pending += data

    def _run(self, play: Play) -> None:
        status = 1
        try:
            status = play(self)
        except Ended:
            status = 1
        finally:
            with self._changed:
                self._exit_status = status
                self._changed.notify_all()


Play = Callable[[Run], int]
"""Stands for a program; its result is the exit status. An exception of it is the test's failure, and status 1 here."""


def echo(run: Run) -> int:
    """Says its command, then each line of its input."""
    run.say(run.command)
    for line in run.lines():
        run.say(line)
    return 0


def through_bootstrap(play: Callable[[Run, str], int]) -> Play:
    """A guest with PowerShell: our transport's bootstrap takes a script from its input, `play(run, script)` is it.

    What `run` reads from then on is what was said after the script.
    """

    def bootstrap(run: Run) -> int:
        if run.script is None or READY not in run.script:
            run.write(f"not the bootstrap: {run.command[:200]}\r\n".encode(), "stderr")
            return 1
        run.say(READY)
        last = run.read_line()
        lines: list[str] = []
        while (line := run.read_line()) != last:
            if line is None:
                return 70
            lines.append(line)
        return play(run, "\n".join(lines))

    return bootstrap


def _decoded(command: str) -> str | None:
    found = ENCODED.search(command)
    if found is None:
        return None
    script = base64.b64decode(found[1]).decode("utf-16-le")
    # ansible-core before 2.18 starts a PowerShell in PowerShell.
    return (_decoded(script) or script) if script.lower().startswith("powershell") else script
