# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only. It travels as text (`reporter.py`), so it imports no sibling.
"""Says at the end of cloud-init, in the guest, what became of its customization, and takes the disc away.

A good end is told once, then the disc is ejected. A bad end is told until somebody has taken the disc away: whoever
listens at the other end of the port may just be starting anew, and a port has no memory.
"""

import contextlib
import fcntl
import glob
import json
import os
import select
import signal
import stat
import subprocess
import sys
import termios
import time
from typing import Any, Callable, Dict, List, Optional

__all__ = ["MARK", "find_disc", "line_of", "record_of", "report"]

MARK = "OPENNGT-CUSTOMIZATION"
"""Begins the line; one blank and the record in JSON follow."""
PORTS = ("/dev/virtio-ports/org.openngt.guest_tools.0", "/dev/ttyS1")
ENDED = "run/cloud-init/result.json"
"""Of this boot, written by every release as its last stage ends."""

POLL_SECONDS = 0.5
AGAIN_SECONDS = 5.0
WRITE_SECONDS = 5.0
LOST_SECONDS = 30.0
"""After a last stage that failed, for a result to be there."""

MOST_ERRORS = 8
MOST_ERROR = 256
MOST_MESSAGE = 2048

# Where ISO 9660 has the name of a volume, and the names that cloud-init looks for.
LABEL_AT = 16 * 2048 + 40
LABEL_BYTES = 32
LABELS = (b"cidata", b"config-2")
BLOCK_BYTES = 1 << 20
# linux/cdrom.h: eject(1) does both; the first alone leaves the lock of udev in its way.
CDROM_LOCKDOOR = 0x5329
CDROMEJECT = 0x5309

Record = Dict[str, Any]


def report(nonce: str, read: Callable[[], Record], root: str = "/") -> None:
    """Wait for the end, tell it, and let go of the disc that holds the nonce. `read` is `cloud_init.read`.

    Returns early when that disc has gone: whoever took it away knows enough. A guest that goes down meanwhile is told
    of once more, if its end is known.
    """
    going_down = []  # type: List[int]
    signal.signal(signal.SIGTERM, lambda number, _frame: going_down.append(number))
    answer = _ended(nonce, read, root, going_down)
    while answer is not None:
        record = record_of(nonce, answer)
        told = [port for port in PORTS if _tell(_at(root, port), line_of(record))]
        sys.stdout.write("openngt: {0}, told at {1}\n".format(record["status"], ", ".join(told) or "no port"))
        sys.stdout.flush()
        if record["status"] == "done":
            _eject(find_disc(nonce, root))
            return
        if going_down or find_disc(nonce, root) is None:
            return
        _sleep(AGAIN_SECONDS, going_down)


def record_of(nonce: str, answer: Record) -> Record:
    """What the service is told. The words of a good end are its warnings."""
    done = answer["state"] == "done"
    message = answer["message"] or "\n".join(answer["warnings"])
    return {
        "nonce": nonce,
        "instance_id": answer["instance_id"],
        "status": "done" if done else "error",
        "errors": [str(error)[:MOST_ERROR] for error in answer["errors"][:MOST_ERRORS]],
        "module": answer["module"],
        "message": message.encode("utf-8", "replace")[-MOST_MESSAGE:].decode("utf-8", "ignore"),
        "cloud_init_version": answer["version"],
    }


def line_of(record: Record) -> bytes:
    """ASCII, with a line's end before it: who knows what was written to the port last."""
    return "\n{0} {1}\n".format(MARK, json.dumps(record, sort_keys=True)).encode("ascii")


def find_disc(nonce: str, root: str = "/") -> Optional[str]:
    """The drive that holds the disc with this nonce on it, or None."""
    for device in sorted(glob.glob(_at(root, "/dev/sr*"))):
        with contextlib.suppress(OSError):
            if _holds(device, nonce.encode("ascii")):
                return device
    return None


def _holds(device: str, nonce: bytes) -> bool:
    """Files lie on an ISO in one piece and as they are."""
    with open(device, "rb") as disc:
        disc.seek(LABEL_AT)
        if disc.read(LABEL_BYTES).rstrip(b" \0").lower() not in LABELS:
            return False
        disc.seek(0)
        before = b""
        for block in iter(lambda: disc.read(BLOCK_BYTES), b""):
            if nonce in before + block:
                return True
            before = block[-len(nonce) :]
    return False


def _ended(nonce: str, read: Callable[[], Record], root: str, going_down: List[int]) -> Optional[Record]:
    """The answer once cloud-init is through; None when there is no sense in waiting for it any more."""
    failed_since = None  # type: Optional[float]
    looked = time.monotonic()
    while True:
        ended = os.path.exists(_at(root, ENDED))
        if ended:
            # Since 23.4 it is at it until its last service has ended.
            answer = read()
            if answer["state"] in ("done", "failed"):
                return answer
        if going_down:
            return None
        if time.monotonic() - looked > AGAIN_SECONDS:
            looked = time.monotonic()
            if find_disc(nonce, root) is None:
                return None
            failed_since = (failed_since or looked) if not ended and _last_stage_failed() else None
            if failed_since is not None and looked - failed_since > LOST_SECONDS:
                return dict(read(), state="failed", module=None, message="cloud-init's last stage was ended by force")
        time.sleep(POLL_SECONDS)


def _last_stage_failed() -> bool:
    """It was killed, and leaves no result."""
    with contextlib.suppress(OSError):
        command = ["systemctl", "is-failed", "--quiet", "cloud-final.service"]
        status = subprocess.call(  # pylint: disable=ansible-bad-function
            command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return status == 0
    return False


def _sleep(seconds: float, going_down: List[int]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not going_down:
        time.sleep(POLL_SECONDS)


def _tell(device: str, line: bytes) -> bool:
    """False where there is no such port, somebody has it (an agent, which tells it itself), or it takes nothing."""
    if device.rpartition("/")[2] in _consoles():
        return False
    try:
        port = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _write(port, line)
    except (OSError, termios.error):
        return False
    finally:
        os.close(port)


def _write(port: int, line: bytes) -> bool:
    if not stat.S_ISCHR(os.fstat(port).st_mode):
        return False
    fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
    terminal = os.isatty(port)
    if terminal:
        _make_raw(port)
    end, left = time.monotonic() + WRITE_SECONDS, line
    while left and time.monotonic() < end:
        if select.select([], [port], [], POLL_SECONDS)[1]:
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(port, left) :]
    if terminal:
        _let_leave(port, end)
    return not left


def _make_raw(port: int) -> None:
    """As the agent has it; termios.error where a terminal's node has no port behind it."""
    speed = termios.B115200
    mode = termios.tcgetattr(port)
    mode[:6] = [termios.IGNBRK, 0, termios.CS8 | termios.CREAD | termios.CLOCAL, 0, speed, speed]
    termios.tcsetattr(port, termios.TCSANOW, mode)


def _let_leave(port: int, end: float) -> None:
    """A port whose host does not read would hold its closer for half a minute."""
    waiting = bytearray(4)
    while time.monotonic() < end:
        fcntl.ioctl(port, termios.TIOCOUTQ, waiting)
        if not any(waiting):
            return
        time.sleep(0.02)
    termios.tcflush(port, termios.TCOFLUSH)


def _consoles() -> List[str]:
    """Where the kernel writes, we do not."""
    with contextlib.suppress(OSError), open("/sys/class/tty/console/active", encoding="ascii") as active:
        return active.read().split()
    return []


def _eject(device: Optional[str]) -> None:
    if device is None:
        return
    with contextlib.suppress(OSError):
        drive = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(drive, CDROM_LOCKDOOR, 0)
            fcntl.ioctl(drive, CDROMEJECT)
        finally:
            os.close(drive)


def _at(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))
