# SPDX-License-Identifier: GPL-3.0-or-later
"""What a customization means for a VM as it is, and what the end of one is told by. Pure: plan and task read the same.

What a guest says of itself may come from whoever took it over: it is bounded, and nothing but words.
"""

import base64
import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from openngt.customization.model import Customization
from openngt.errors import OpenNGTError

from ..hypervisors.base import HypervisorVm, no_empty_drive
from ..store.customizations import Customized, CustomizedState
from .hypervisor import require_known

__all__ = [
    "Decision",
    "Fault",
    "Outcome",
    "Wanted",
    "decide",
    "digest_of",
    "ejected",
    "fault_of",
    "missing_cards",
    "outcome_of",
    "shown",
    "timed_out",
]

Json = dict[str, Any]
Fault = Literal["unfinished", "begun", "disc_lost", "ejected", "timed_out", "ending"]

MOST_WORDS = 2048
"""Characters of a guest's message."""
MOST_ERRORS = 8
LONGEST_ERROR = 256
LONGEST_NAME = 64
CLEANING_SECONDS = 60
"""For so long a finished customization counts as running while its disc is taken away; then its end is told anyway."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for, without its content."""

    digest: str
    instance_id: str
    power_on: bool = False


@dataclass(frozen=True)
class Decision:
    """`insert` finds an empty drive, `replace` takes the earlier disc out first, `power_on` just switches the VM on."""

    action: Literal["unchanged", "insert", "replace", "power_on"]
    reason: str
    drive: str | None = None
    """None where the disc can only be put in as the VM is switched on, and waits for that."""

    @property
    def changed(self) -> bool:
        return self.action != "unchanged"


class Outcome(NamedTuple):
    state: CustomizedState
    code: str | None
    message: str
    details: Json


def digest_of(customization: Customization, vm_uuid: str) -> str:
    """Of all that is asked for but the instance id. Slow by intent: it is shown, and must not serve to guess a password
    that is all but known. Blocking, some 20 ms.
    """
    asked = {name: value for name, value in dataclasses.asdict(customization).items() if name != "instance_id"}
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), default=_bytes)
    content = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return hashlib.scrypt(content, salt=vm_uuid.encode(), n=2**13, r=8, p=1, dklen=32).hex()


def _bytes(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else dict(value)


def decide(row: Customized | None, wanted: Wanted, seen: HypervisorVm, iso: Path) -> Decision:
    """CUSTOMIZATION_CONFLICT, NO_EMPTY_DRIVE, HYPERVISOR_FAILED."""
    require_known(seen)
    if row is None or row.phase == "preparing":
        reason = "the VM was not customized by this service"
        return Decision("insert" if row is None else "replace", reason, _drive(seen, iso))
    if row.instance_id != wanted.instance_id:
        reason = f"instance_id is another one than {row.instance_id}"
        return Decision(_how(row), reason, _drive(seen, iso))
    if row.state == "timed_out":
        return Decision(_how(row), "the guest did not do it in its time", _drive(seen, iso))
    same = row.digest == wanted.digest
    if row.state == "pending" and not same:
        return Decision("replace", "the VM has not begun with what it was given", _drive(seen, iso))
    if not same or row.state == "failed":
        raise _conflict(row)
    if row.state != "done" and wanted.power_on and seen.power_state == "off":
        return Decision("power_on", "the VM is off", row.drive)
    return Decision("unchanged", f"{row.state}: the VM was given this already", row.drive)


def _how(row: Customized) -> Literal["insert", "replace"]:
    return "replace" if row.live else "insert"


def _conflict(row: Customized) -> OpenNGTError:
    words = {
        "running": "the guest is at work with other content",
        "done": "the guest was customized with other content",
        "failed": "the guest has failed",
    }
    return OpenNGTError(
        "CUSTOMIZATION_CONFLICT",
        f"under instance_id {row.instance_id} {words[row.state]}, and does nothing for an instance_id that it has seen",
        {"instance_id": row.instance_id, "state": row.state},
        remedy="give another instance_id to have the guest do it again, or withdraw the customization of a VM that was "
        "put back to its template",
    )


def _drive(seen: HypervisorVm, iso: Path) -> str | None:
    for drive in seen.drives:
        if drive.state == "empty" or drive.holds == str(iso):
            return drive.name
    if seen.power_state != "off" or seen.drives:
        raise no_empty_drive(seen.drives)
    return None


def missing_cards(wanted: Sequence[str], cards: Sequence[str] | None) -> OpenNGTError | None:
    """NO_SUCH_CARD where the network is to be set up on a card that the VM does not have; its guest would wait for it
    and do nothing else. None, too, where the adapter cannot tell what cards there are.
    """
    missing = [] if cards is None else [mac for mac in wanted if mac not in cards]
    if not missing:
        return None
    has = f"has {', '.join(cards)}" if cards else "has none"
    message = f"no network card of the VM has the address {' or '.join(missing)}; it {has}"
    return OpenNGTError("NO_SUCH_CARD", message, {"missing": missing, "cards": list(cards or ())})


def fault_of(row: Customized, seen: HypervisorVm, iso: Path, now: datetime.datetime) -> Fault | None:
    """What is to be done for a customization that nobody is at work for; None when all is as it should be."""
    if row.phase in ("preparing", "ending"):
        return "unfinished" if row.phase == "preparing" else "ending"
    if row.deadline is not None and row.deadline <= now:
        return "timed_out"
    if seen.power_state not in ("on", "paused"):
        return None  # of a VM that is off, or does not answer, an empty drive says nothing
    if row.state == "pending":
        return "begun"
    if any(drive.holds == str(iso) and drive.state == "loaded" for drive in seen.drives):
        return None
    return "disc_lost" if seen.run != row.run else "ejected"


def timed_out(row: Customized) -> Outcome:
    message = f"the guest has not told an end within {row.wait_seconds} s; its disc was taken out"
    return Outcome("timed_out", "CUSTOMIZATION_TIMED_OUT", message, {"told_by": "time"})


def ejected() -> Outcome:
    return Outcome("done", None, "the disc was ejected in the guest or by hand", {"told_by": "eject"})


def outcome_of(report: Mapping[str, Any], told_by: Literal["agent", "serial"]) -> Outcome | None:
    """What a report (docs/customization.md) means; None while the guest is still at it, or says nothing that counts."""
    status = report.get("status")
    if status not in ("done", "error"):
        return None
    errors = [text for item in _list(report.get("errors"))[:MOST_ERRORS] if (text := _words(item, LONGEST_ERROR))]
    module, version = (_words(report.get(name), LONGEST_NAME) for name in ("module", "cloud_init_version"))
    details: Json = {"told_by": told_by, "errors": errors}
    details |= {"module": module} if module else {}
    details |= {"cloud_init_version": version} if version else {}
    said = _words(report.get("message"), MOST_WORDS, tail=True)
    if status == "done":
        return Outcome("done", None, said or "the guest has done it", details)
    text = said or "; ".join(errors) or "the guest says that it failed, and not why"
    return Outcome("failed", "CUSTOMIZATION_FAILED", f"{module}: {text}" if module else text, details)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _words(value: Any, most: int, *, tail: bool = False) -> str:
    """A guest's words without what would act on a terminal; of a long text its beginning, or its end."""
    text = value if isinstance(value, str) else ""
    text = text[-most:] if tail else text[:most]
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text).strip()


def shown(row: Customized, now: datetime.datetime) -> Json:
    """The row as the API has it. An end is told when drive and file are clean: who waits for it may rely on that."""
    cleaning = (
        row.phase == "ending"
        and row.finished_at is not None
        # Before its end only where this host's clock was set back: then nobody is kept waiting for it to catch up.
        and datetime.timedelta() <= now - row.finished_at < datetime.timedelta(seconds=CLEANING_SECONDS)
    )
    told = (
        {"state": "running", "code": None, "message": None, "details": None, "finished_at": None}
        if cleaning
        else {name: getattr(row, name) for name in ("state", "code", "message", "details", "finished_at")}
    )
    fields = ("vm_uuid", "vm_name", "format", "instance_id", "digest", "requested_at", "started_at", "deadline")
    drive = row.drive if row.live else None
    return {**{name: getattr(row, name) for name in fields}, "drive": drive, **told}
