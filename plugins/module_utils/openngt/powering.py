# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the service to switch many VMs at once, and tell for each how it ended. For the module and the CLI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .client import Client
from .errors import OpenNGTError

__all__ = ["FALLBACKS", "VERBS", "Outcome", "failure_of", "power"]

Json = dict[str, Any]

VERBS = ("on", "off", "shutdown", "reset", "power_cycle", "guest_shutdown", "guest_reboot")
FALLBACKS = ("none", "acpi", "off")
SPARE_SECONDS = 180.0
"""Beyond what the guest may take: for a mount that has the VM's turn, and for the hypervisor."""

# What would meet every other VM as well.
OF_THE_SERVICE = frozenset({"AUTHENTICATION_FAILED", "ENDPOINT_UNREACHABLE", "FORBIDDEN", "TLS_NOT_TRUSTED"})


class Outcome(NamedTuple):
    """`result` is the task's, None for a failure or a task that is not waited for."""

    vm: str
    task: Json | None
    result: Json | None
    error: OpenNGTError | None


def power(
    client: Client,
    vms: Sequence[str],
    verb: str,
    *,
    fallback: str = "none",
    wait_seconds: int = 300,
    force: bool = False,
    check: bool = False,
    wait: bool = True,
    on_progress: Callable[[str, Json], None] | None = None,
) -> list[Outcome]:
    """One outcome for each VM, in order; they are all under way before the first is waited for.

    Raises only what has to do with the service and not with a VM, and only before anything was asked for; INVALID_INPUT
    for no VM at all.
    """
    if not vms:
        raise OpenNGTError("INVALID_INPUT", "vm: the list is empty")
    begun: list[Outcome] = []
    for vm in dict.fromkeys(vms):
        try:
            task = client.power(vm, verb, fallback=fallback, wait_seconds=wait_seconds, force=force, check=check)
        except OpenNGTError as error:
            if error.code in OF_THE_SERVICE and not begun:
                raise
            begun.append(Outcome(vm, None, None, error))
        else:
            begun.append(Outcome(vm, task, None, None))
    if not wait:
        return begun
    limit = wait_seconds * (1 + FALLBACKS.index(fallback)) + SPARE_SECONDS
    return [_ended(client, outcome, limit, on_progress) for outcome in begun]


def failure_of(verb: str, outcomes: Sequence[Outcome]) -> OpenNGTError | None:
    """One error for all that failed, None when none did. One VM's own, where only one was asked for."""
    failed = [(outcome.vm, outcome.error) for outcome in outcomes if outcome.error is not None]
    if not failed:
        return None
    first = failed[0][1]
    if len(outcomes) == 1:
        return first
    listed = "; ".join(f"{vm}: {error.message} [{error.code}]" for vm, error in failed)
    details = {"failed": {vm: error.to_dict() for vm, error in failed}}
    message = f"{verb} failed for {len(failed)} of {len(outcomes)} VMs: {listed}"
    return OpenNGTError(first.code, message, details, first.remedy)


def _ended(client: Client, outcome: Outcome, limit: float, on_progress: Callable[[str, Json], None] | None) -> Outcome:
    if outcome.task is None:
        return outcome
    tell = None if on_progress is None else lambda task: on_progress(outcome.vm, task)
    try:
        task = client.wait_task(outcome.task, limit, tell)
    except OpenNGTError as error:
        return outcome._replace(error=error)
    return outcome._replace(task=task, result=task["result"])
