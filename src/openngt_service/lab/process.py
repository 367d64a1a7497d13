# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of the lab: run and watch, find, end."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from openngt.errors import OpenNGTError

__all__ = ["END_SIGNALS", "end_process", "free_port", "processes_naming", "run_logged", "signals_held"]

# SIGINT among them: a shell that runs us in the background has it ignored.
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Below those that Linux gives to whoever connects (ip_local_port_range), which come and go all the time.
PORTS = range(20000, 32000)
SHARES = 16


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """END_SIGNALS that arrive meanwhile are handled at the end of the block, where an exception of theirs does no harm.

    Raised inside `Popen`, it would leave the new process running with nobody who knows it. The handlers change,
    not the signal mask: a program started meanwhile would inherit that. Only the main thread handles signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in END_SIGNALS}
    held = [number for number, handler in handlers.items() if handler not in {signal.SIG_IGN, None}]
    for number in held:
        signal.signal(number, lambda number, _frame: arrived.append(number))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, handlers[number])
    for late in arrived:
        signal.raise_signal(late)


def run_logged(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    each_line: Callable[[str], None] | None = None,
) -> str:
    """Run to the end without a time limit; everything the program says goes to the end of `log`.

    Returns its standard output; where `each_line` watches it at work, standard error is mixed in.
    COMMAND_NOT_FOUND, or COMMAND_FAILED with the last lines of output and the log's path.
    """
    said: list[str] = []
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ {' '.join(command)}\n")
        stream.flush()
        process: subprocess.Popen[str] | None = None
        try:
            with signals_held():
                process = _start(command, stream, environment, watched=each_line is not None)
            assert process.stdout is not None
            for line in process.stdout:
                stream.write(line)
                said.append(line)
                if each_line is not None:
                    each_line(line.rstrip())
            process.wait()
        finally:
            if process is not None:
                _end_started(process)
    if process.returncode:
        name = Path(command[0]).name
        last = "".join(said[-5:]).strip()
        raise OpenNGTError(
            "COMMAND_FAILED",
            f"{name} ended with status {process.returncode}; log: {log}" + (f"\n{last}" if last else ""),
            {"log": str(log)},
        )
    return "".join(said)


def _start(
    command: Sequence[str], log: TextIO, environment: Mapping[str, str] | None, *, watched: bool
) -> "subprocess.Popen[str]":
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if watched else log,
            text=True,
            env=None if environment is None else dict(environment),
        )
    except FileNotFoundError as exc:
        raise OpenNGTError("COMMAND_NOT_FOUND", f"command not found: {command[0]}") from exc


def _end_started(process: "subprocess.Popen[str]") -> None:
    """A signal for us alone must not leave it running."""
    if process.poll() is None:
        process.terminate()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


_given: set[int] = set()


def free_port() -> int:
    """A loopback port that nobody uses at this moment, and that no outgoing connection is given meanwhile.

    It is used a moment later, so one process is never given the same again, and those that ask at once look into other
    shares of the ports first: their ids are neighbours.
    """
    share = os.getpid() % SHARES
    ports = sorted(random.sample(PORTS, len(PORTS)), key=lambda port: (port in _given, port % SHARES != share))
    for port in ports:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port
    raise OpenNGTError("COMMAND_FAILED", f"all ports from {PORTS[0]} to {PORTS[-1]} are in use")


def processes_naming(text: str) -> set[int]:
    """Processes with `text` in an argument, except this one and those it was started by."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if text.encode() in (folder / "cmdline").read_bytes():
                    found.add(int(folder.name))
    return found - _own_line()


def _own_line() -> set[int]:
    line, pid = set(), os.getpid()
    while pid > 0:
        line.add(pid)
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        pid = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("PPid:"))
    return line


def end_process(pid: int, seconds: float, alive: Callable[[], bool] | None = None) -> None:
    """SIGTERM, and SIGKILL when the process is still there after so many seconds.

    `alive` tells whether the number still means the process that is to end. COMMAND_FAILED when it survives both.
    """
    still = alive or (lambda: Path(f"/proc/{pid}/cmdline").exists() and _is_no_zombie(pid))
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not still():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while still() and time.monotonic() < deadline:
            time.sleep(0.05)
    if still():
        raise OpenNGTError("COMMAND_FAILED", f"process {pid} does not end")


def _is_no_zombie(pid: int) -> bool:
    """A process whose parent (perhaps we) has not asked for its status yet has ended all the same."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()[0] != "Z"
        )
    except OSError:
        return False
