# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VM of the hypervisor each target names: decided for all of them before anything is changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ...errors import OpenNGTError
from .target import Target

__all__ = ["resolve"]

Json = dict[str, Any]


def resolve(targets: Sequence[Target], vms: Sequence[Json]) -> list[Json | OpenNGTError]:
    """For each target its VM as the hypervisor has it, or why it has none.

    VM_NOT_FOUND, VM_AMBIGUOUS, and INVALID_INPUT for each of several targets that are the same VM or the same name:
    which of two logins is meant cannot be guessed.
    """
    by_uuid = {vm["vm_uuid"]: vm for vm in vms}
    by_name: dict[str, list[Json]] = defaultdict(list)
    for vm in vms:
        by_name[vm["vm_name"]].append(vm)
    found = [_one(target, by_uuid, by_name) for target in targets]
    for index, error in _doubles(targets, found).items():
        found[index] = error
    return found


def _one(target: Target, by_uuid: dict[str, Json], by_name: dict[str, list[Json]]) -> Json | OpenNGTError:
    vm = target.vm
    if vm.lower() in by_uuid:
        return by_uuid[vm.lower()]
    named = by_name.get(vm, [])
    if not named:
        return OpenNGTError("VM_NOT_FOUND", f"the hypervisor has no VM with the UUID or name {vm!r}", {"vm": vm})
    if len(named) > 1:
        uuids = [each["vm_uuid"] for each in named]
        return OpenNGTError("VM_AMBIGUOUS", f"{len(named)} VMs are named {vm!r}: {', '.join(uuids)}", {"vms": uuids})
    return named[0]


def _doubles(targets: Sequence[Target], found: Sequence[Json | OpenNGTError]) -> dict[int, OpenNGTError]:
    same: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, (target, vm) in enumerate(zip(targets, found, strict=True)):
        same["name", target.name].append(index)
        if not isinstance(vm, OpenNGTError):
            same["VM", vm["vm_uuid"]].append(index)
    errors = {}
    for (what, value), indexes in same.items():
        if len(indexes) > 1:
            names = ", ".join(targets[index].name for index in indexes)
            message = f"{len(indexes)} targets are the same {what} {value}: {names}"
            remedy = "name each VM once; nothing was done with any of these"
            errors.update(dict.fromkeys(indexes, OpenNGTError("INVALID_INPUT", message, {}, remedy)))
    return errors
