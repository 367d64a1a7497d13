# SPDX-License-Identifier: GPL-3.0-or-later
"""When a link counts as proven, and waiting for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from .client import Client
from .errors import OpenNGTError

__all__ = ["missing_for_proof", "wait_for_links"]

Json = dict[str, Any]
FIRST_POLL_SECONDS = 0.1
POLL_SECONDS = 1.0


def missing_for_proof(record: Json, generation: int | None) -> str | None:
    """What the service does not see yet; None when the VM's link is proven.

    Proven: active now, with a long-lived certificate (a bootstrap one is on the ISO, where others may have read it)
    of at least the given generation.
    """
    certificate = record["certificate"]
    if not record["communication_link_active"]:
        return "no active link"
    if certificate is None or certificate["kind"] == "bootstrap":
        return "the agent has not taken its long-lived certificate yet"
    if generation is not None and certificate["generation"] < generation:
        return f"the link runs with generation {certificate['generation']}, not {generation}"
    return None


def wait_for_links(
    client: Client,
    vms: Sequence[str],
    seconds: float,
    *,
    generation: int | None = None,
    guest_saw: Any = None,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> list[Json]:
    """Records of the VMs once each link is proven.

    LINK_NOT_ACTIVE after `seconds`, with what the service saw and `guest_saw`, the other side, as the caller gave it.
    A service that restarts meanwhile is waited for, as the agents do.
    """
    deadline = clock() + seconds
    wait = FIRST_POLL_SECONDS
    while True:
        try:
            records = [client.vm(vm) for vm in vms]
        except OpenNGTError as exc:
            if exc.code != "ENDPOINT_UNREACHABLE" or clock() >= deadline:
                raise
            pause(min(POLL_SECONDS, max(0.0, deadline - clock())))
            continue
        waiting = {r["vm_name"]: why for r in records if (why := missing_for_proof(r, generation)) is not None}
        if not waiting:
            return records
        if clock() >= deadline:
            raise _not_active(records, waiting, seconds, guest_saw)
        pause(min(wait, max(0.0, deadline - clock())))
        wait = min(POLL_SECONDS, 2 * wait)


def _not_active(records: Sequence[Json], waiting: dict[str, str], seconds: float, guest_saw: Any) -> OpenNGTError:
    listed = "; ".join(f"{name}: {why}{_refusal(records, name)}" for name, why in waiting.items())
    seen = [
        {
            "vm_name": record["vm_name"],
            "vm_uuid": record["vm_uuid"],
            "missing": waiting[record["vm_name"]],
            **{key: record.get(key) for key in ("power_state", "generation", "certificate", "mount", "link")},
        }
        for record in records
        if record["vm_name"] in waiting
    ]
    details = {"service_saw": seen, "guest_saw": guest_saw}
    return OpenNGTError("LINK_NOT_ACTIVE", f"not proven within {seconds:g} s: {listed}", details)


def _refusal(records: Sequence[Json], name: str) -> str:
    """The gateway's own words, when it turned this VM away: they usually are the whole answer."""
    record = next(record for record in records if record["vm_name"] == name)
    refusal = (record.get("link") or {}).get("last_refusal")
    return f" (the gateway refused it: {refusal['reason']})" if refusal else ""
