# SPDX-License-Identifier: GPL-3.0-or-later
"""PID 1 of a simulated guest: systemd in miniature.

`systemctl` and `mount` in the guest ask it (root.py). A unit's program is really started, awaited (Type=notify),
stopped and started again; of its sandbox nothing is done. When PID 1 ends, the kernel ends everything in the guest.
"""

import contextlib
import os
import selectors
import shlex
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .disc import mount_disc
from .root import ISO_MOUNTER

__all__ = ["Init", "spawn"]

UNITS = Path("/etc/systemd/system")
WANTED = UNITS / "multi-user.target.wants"
REQUESTS = "/run/init/requests"
NOTIFY = "/run/systemd/notify"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
START_SECONDS, STOP_SECONDS = 90.0, 10.0


@dataclass(frozen=True)
class Answer:
    status: int = 0
    says: str = ""
    complains: str = ""


Reply = Callable[[Answer], None]


@dataclass
class Unit:
    """A service that was started at least once."""

    name: str
    settings: dict[str, list[str]]
    pid: int | None = None
    active: str = "inactive"
    deadline: float | None = None
    """When it is killed, given up or started again, as `active` says."""
    waiting: list[Reply] = field(default_factory=list)
    then: Callable[[], None] | None = None
    """What follows once it has stopped."""


def spawn(command: Sequence[str], log: str, umask: int = 0o022, **environment: str) -> int:
    """Start a program in a session of its own; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.umask(umask)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        for target, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
            os.dup2(os.open("/dev/null" if target == 0 else log, flags, 0o640), target)
        os.dup2(1, 2)
        os.closerange(3, 256)
        os.execve(command[0], list(command), {"PATH": PATH, "LANG": "C.UTF-8", **environment})
    finally:
        os._exit(127)


class Init:
    """`run` returns when the guest is switched off. `host` is a descriptor of the host's root folder."""

    def __init__(self, host: int, hypervisor: str, vm_uuid: str) -> None:
        self._host, self._hypervisor, self._vm_uuid = host, hypervisor, vm_uuid
        self._units: dict[str, Unit] = {}
        self._off = False
        for folder, mode in (("/run/init", 0o700), ("/run/log", 0o755), ("/run/sshd", 0o755), ("/run/systemd", 0o755)):
            os.mkdir(folder, mode)  # noqa: PTH102
        os.mkdir("/run/systemd/system")  # noqa: PTH102
        os.mkfifo(REQUESTS, 0o600)
        # Also for writing, so that it has no end.
        self._requests = os.open(REQUESTS, os.O_RDWR | os.O_NONBLOCK)
        self._half = b""
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._notify.bind(NOTIFY)
        self._notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._woken, wake = os.pipe()
        for descriptor in (self._woken, wake):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)

    def run(self) -> None:
        for link in sorted(WANTED.iterdir()):
            self._start(link.name, lambda _answer: None)
        with selectors.DefaultSelector() as selector:
            for source, handler in (
                (self._requests, self._hear),
                (self._notify.fileno(), self._hear_units),
                (self._woken, self._reap),
            ):
                selector.register(source, selectors.EVENT_READ, handler)
            while not self._off:
                for key, _ in selector.select(self._seconds_left()):
                    key.data()
                self._mind_deadlines()

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._half += os.read(self._requests, 65536)
        *lines, self._half = self._half.split(b"\n")
        for line in lines:
            who, verb, *arguments = line.decode().split()
            self._serve(verb, arguments, lambda answer, who=who: _answer(who, answer))  # type: ignore[misc]

    def _serve(self, verb: str, arguments: list[str], reply: Reply) -> None:
        if verb == ISO_MOUNTER:
            complaint = mount_disc(self._host, self._hypervisor, self._vm_uuid, arguments)
            reply(Answer(32, complains=f"mount: {complaint}") if complaint else Answer())
            return
        options = {word for word in arguments if word.startswith("-")}
        words = [word for word in arguments if word not in options]
        command, names = (words or ["?"])[0], words[1:]
        if command in ("start", "restart", "stop"):
            self._change(command, names[0], reply, wait="--no-block" not in options)
        elif command in ("enable", "disable", "mask", "unmask"):
            self._install(command, names[0])
            if "--now" in options:
                self._change("start" if command == "enable" else "stop", names[0], reply)
            else:
                reply(Answer())
        elif command in ("poweroff", "halt", "reboot"):
            self._off = True
        else:
            reply(self._tell(command, names))

    def _tell(self, command: str, names: list[str]) -> Answer:
        name = names[0] if names else ""
        unit = self._units.get(name) or Unit(name, {})
        if command in ("daemon-reload", "reset-failed", "is-system-running"):
            return Answer(says="running" if command == "is-system-running" else "")
        if command == "is-active":
            return Answer(0 if unit.active == "active" else 3, unit.active)
        if command == "is-enabled":
            masked = (UNITS / name).is_symlink()
            state = "masked" if masked else "enabled" if (WANTED / name).is_symlink() else "disabled"
            return Answer(0 if state == "enabled" else 1, state)
        if command == "show":
            sub = {"active": "running", "activating": "start", "deactivating": "stop-sigterm"}.get(unit.active, "dead")
            return Answer(says=f"ActiveState={unit.active}\nSubState={sub}\nNeedDaemonReload=no")
        return Answer(1, complains=f"Unknown command verb {command}.")

    def _install(self, command: str, name: str) -> None:
        link = {"enable": WANTED, "disable": WANTED}.get(command, UNITS) / name
        link.unlink(missing_ok=True)
        if command in ("enable", "mask"):
            link.symlink_to("/dev/null" if command == "mask" else UNITS / name)

    def _change(self, command: str, name: str, reply: Reply, *, wait: bool = True) -> None:
        if not wait:
            reply(Answer())
            reply = lambda _answer: None  # noqa: E731
        unit = self._units.get(name)
        running = unit is not None and unit.pid is not None
        if command == "start" and running:
            reply(Answer())
        elif unit is not None and unit.pid is not None:
            unit.then = (lambda: self._start(name, reply)) if command == "restart" else (lambda: reply(Answer()))
            unit.active, unit.deadline = "deactivating", time.monotonic() + STOP_SECONDS
            os.kill(unit.pid, signal.SIGTERM)
        elif command == "stop":
            if unit is not None:
                unit.active, unit.deadline = "inactive", None
            reply(Answer())
        else:
            self._start(name, reply)

    def _start(self, name: str, reply: Reply) -> None:
        try:
            settings = _settings(UNITS / name)
            command = shlex.split(settings["ExecStart"][0])
        except (OSError, KeyError):
            reply(Answer(5, complains=f"Failed to start {name}: Unit {name} not found."))
            return
        unit = self._units.setdefault(name, Unit(name, settings))
        unit.settings = settings
        either = [path for path in settings.get("ConditionPathExists", []) if path.startswith("|")]
        if either and not any(os.path.lexists(path[1:]) for path in either):
            reply(Answer())
            return
        for wanted in settings.get("Wants", []):
            self._change("start", wanted, lambda _answer: None)
        for folder in settings.get("RuntimeDirectory", []):
            Path("/run", folder).mkdir(int(settings.get("RuntimeDirectoryMode", ["0755"])[0], 8), exist_ok=True)
        umask = int(settings.get("UMask", ["0022"])[0], 8)
        unit.pid = spawn(command, f"/run/log/{name}", umask, NOTIFY_SOCKET=NOTIFY)
        unit.waiting.append(reply)
        if settings.get("Type") == ["notify"]:
            unit.active, unit.deadline = "activating", time.monotonic() + START_SECONDS
        else:
            self._is_up(unit)

    def _is_up(self, unit: Unit) -> None:
        unit.active, unit.deadline = "active", None
        self._tell_waiting(unit, Answer())

    def _tell_waiting(self, unit: Unit, answer: Answer) -> None:
        waiting, unit.waiting = unit.waiting, []
        for reply in waiting:
            reply(answer)

    def _hear_units(self) -> None:
        data, ancillary, _flags, _address = self._notify.recvmsg(4096, socket.CMSG_SPACE(12))
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and b"READY=1" in data.split(b"\n"):
                pid = int.from_bytes(content[:4], "little")
                for unit in self._units.values():
                    if unit.pid == pid and unit.active == "activating":
                        self._is_up(unit)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for unit in list(self._units.values()):
                    if unit.pid == ended[0]:
                        self._has_ended(unit, ended[1])

    def _has_ended(self, unit: Unit, status: int) -> None:
        unit.pid = None
        then, unit.then = unit.then, None
        failed = Answer(1, complains=f"Job for {unit.name} failed.")
        if then is not None:
            unit.active, unit.deadline = "inactive", None
            self._tell_waiting(unit, failed)
            then()
        elif unit.settings.get("Restart", ["no"])[0] in (("always", "on-failure") if status else ("always",)):
            unit.active = "activating"
            unit.deadline = time.monotonic() + float(unit.settings.get("RestartSec", ["0.1"])[0])
            self._tell_waiting(unit, failed)
        else:
            unit.active, unit.deadline = ("failed" if status else "inactive"), None
            self._tell_waiting(unit, failed)

    def _seconds_left(self) -> float | None:
        deadlines = [unit.deadline for unit in self._units.values() if unit.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _mind_deadlines(self) -> None:
        now = time.monotonic()
        for unit in list(self._units.values()):
            if unit.deadline is not None and unit.deadline <= now:
                unit.deadline = None
                if unit.pid is not None:
                    os.kill(unit.pid, signal.SIGKILL)
                else:
                    self._start(unit.name, lambda _answer: None)


def _settings(path: Path) -> dict[str, list[str]]:
    """`Key=value` lines of a unit file, its sections thrown together."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def _answer(who: str, answer: Answer) -> None:
    lines = [
        str(answer.status),
        *answer.says.splitlines(),
        *(f"!{line}" for line in answer.complains.splitlines()),
        ".",
    ]
    # Whoever asked may be gone.
    with contextlib.suppress(OSError):
        descriptor = os.open(f"/run/init/{who}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
        finally:
            os.close(descriptor)
