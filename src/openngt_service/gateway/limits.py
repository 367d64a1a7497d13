# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's bounds, and the three small machines that keep them. No I/O; time comes in as monotonic seconds."""

import functools
import ipaddress
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

__all__ = ["DeadlineWheel", "Limits", "LogLimiter", "TokenBucket", "address_key"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, bytes and counts. The defaults are those of the published protocol (docs/protocol.md)."""

    handshake_seconds: float = 5.0
    first_frame_seconds: float = 5.0
    frame_seconds: float = 10.0
    heartbeat_seconds: float = 3.0
    send_seconds: float = 10.0
    send_queue_bytes: int = 2 * 1024 * 1024
    message_bytes: int = 1024 * 1024
    """The largest message, once `hello` has been answered."""
    socket_buffer_bytes: int = 64 * 1024
    frames_per_second: float = 50.0
    frames_burst: int = 200
    # Many guests may stand behind one address, but they are through a handshake within milliseconds.
    unauthenticated_per_address: int = 256
    # A handshake takes about a millisecond of CPU: half of one core stays for those who are connected already.
    accepts_per_second: float = 500.0
    accepts_burst: int = 1000
    connections: int = 20_000
    sessions_per_vm: int = 3
    """Before hello or after: the live one, its successor, and one that is about to be noticed dead."""
    drain_seconds: float = 5.0

    def for_serial(self) -> "Limits":
        """The same for an agent behind a serial port: what is queued must leave within a heartbeat's patience.

        QEMU's COM2 brings 80 KB a second down to a guest (measured).
        """
        return replace(
            self,
            message_bytes=64 * 1024,
            send_queue_bytes=192 * 1024,
            send_seconds=min(5.0, self.send_seconds),
            socket_buffer_bytes=8 * 1024,
        )

    @property
    def silence_seconds(self) -> float:
        """Two missed heartbeats; the second is missed half an interval after it was due."""
        return 2.5 * self.heartbeat_seconds


class TokenBucket:
    """`rate` a second on average, `burst` at once."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class LogLimiter:
    """How many lines of one kind an attacker can make us write: `burst` in each `seconds`."""

    def __init__(self, burst: int = 20, seconds: float = 10.0) -> None:
        self._burst = burst
        self._seconds = seconds
        self._windows: dict[str, tuple[float, int]] = {}

    def admit(self, kind: str, now: float) -> int | None:
        """None: say nothing. Otherwise the number of lines of this kind that were left out in the window before.

        `kind` must come from a fixed set of ours, never from a peer: each one is remembered.
        """
        start, count = self._windows.get(kind, (now, 0))
        suppressed = 0
        if now - start >= self._seconds:
            suppressed, start, count = max(0, count - self._burst), now, 0
        self._windows[kind] = (start, count + 1)
        return suppressed if count < self._burst else None


class HasDeadline(Protocol):
    slot: int  # owned by the wheel; 0 to begin with

    @property
    def deadline(self) -> float | None:
        """Monotonic moment; it may move later by itself. None: forget me."""
        ...


Item = TypeVar("Item", bound=HasDeadline)


class DeadlineWheel(Generic[Item]):
    """One timer for all deadlines.

    A deadline that moves later (each heartbeat moves one) costs nothing: the item is looked at when its old moment
    comes, and put where its deadline is then. When one moves earlier, its owner calls `schedule` again.
    """

    def __init__(self, tick_seconds: float = 0.25) -> None:
        self.tick_seconds = tick_seconds
        self._slots: dict[int, list[Item]] = {}
        self._turned = 0

    def schedule(self, item: Item) -> None:
        deadline = item.deadline
        if deadline is None:
            return
        slot = max(int(deadline / self.tick_seconds) + 1, self._turned + 1)
        if self._turned < item.slot <= slot:
            return  # it stands in an earlier slot and will be looked at there
        item.slot = slot
        self._slots.setdefault(slot, []).append(item)

    def turn(self, now: float) -> list[Item]:
        """What is due, at most one tick late. It is forgotten here; its owner may schedule it again."""
        self._turned = int(now / self.tick_seconds)
        due = []
        for slot in sorted(slot for slot in self._slots if slot <= self._turned):
            for item in self._slots.pop(slot):
                if item.slot != slot:
                    continue  # moved to an earlier slot since
                deadline = item.deadline
                if deadline is not None and deadline <= now:
                    due.append(item)
                else:
                    self.schedule(item)
        return due


@functools.lru_cache(maxsize=1024)
def address_key(host: str) -> str:
    """What counts as one peer: an IPv4 address, or an IPv6 /64, which one host can fill with addresses of its own."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False))
