# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What an upgrade leaves on the disk: the package that waits, the trial that runs, and how the last one ended.

Each is one file and one rename: after a power cut it is there whole, or the one before it is.
"""

import contextlib
import hashlib
import os
from typing import Any, Dict, NamedTuple, Optional, Tuple

from . import strict_json
from .certificate import UUID
from .errors import AgentError
from .files import file_errors, read_capped, replace_file
from .manifest import ROLLBACK_SECONDS, VERSION
from .paths import Paths
from .times import now_text

__all__ = [
    "MOST_PACKAGE",
    "STATES",
    "Stage",
    "Trial",
    "check_space",
    "forget_stage",
    "forget_trial",
    "read_stage",
    "read_trial",
    "shown",
    "stage",
    "tell",
    "write_trial",
]

MOST_PACKAGE = 16 * 1024 * 1024
MOST_RECORD = 4096
SPARE_BYTES = 8 * 1024 * 1024
MOST_MESSAGE = 500
STATES = ("on_trial", "kept", "rolled_back", "failed")
FORMAT = "openngt-staged-1"

Stage = NamedTuple("Stage", [("id", str), ("version", str), ("rollback_seconds", int), ("package", bytes)])

Trial = NamedTuple(
    "Trial",
    [
        ("id", str),  # of the upgrade, as the service names it
        ("version", str),
        ("old_version", str),
        ("rollback_seconds", int),
        ("state", str),  # of STATES
        ("message", str),  # why it is not kept
    ],
)


def check_space(folder: str, package: int) -> None:
    """NO_SPACE unless there is room for the package twice: as it waits, and in its place."""
    with file_errors(folder):
        found = os.statvfs(folder)
    free, wanted = found.f_bavail * found.f_frsize, 2 * package + SPARE_BYTES
    if free < wanted:
        text = "{0} has {1} MB free, an upgrade needs {2} MB".format(folder, free >> 20, (wanted >> 20) + 1)
        raise AgentError("NO_SPACE", text, {"path": folder, "free": free, "wanted": wanted})


def stage(paths: Paths, wanted: Stage) -> None:
    """Lay a verified package down for ngt_agent_upgrade.service, durably. NO_SPACE and others leave nothing."""
    head = strict_json.dump(
        {
            "format": FORMAT,
            "id": wanted.id,
            "version": wanted.version,
            "rollback_seconds": wanted.rollback_seconds,
            "sha256": hashlib.sha256(wanted.package).hexdigest(),
        }
    )
    with file_errors(paths.staged_upgrade):
        replace_file(paths.staged_upgrade, head + b"\n" + wanted.package, mode=0o600)


def read_stage(paths: Paths) -> Optional[Stage]:
    """What waits; None when nothing does. UPGRADE_INVALID for what is not what was laid down."""
    folder, name = os.path.split(paths.staged_upgrade)
    with file_errors(paths.staged_upgrade):
        try:
            content = read_capped(folder, name, MOST_PACKAGE + MOST_RECORD)
        except FileNotFoundError:
            return None
    line, _newline, package = content.partition(b"\n")
    try:
        head = strict_json.load_object(line, MOST_RECORD)
        if head.get("format") != FORMAT or head.get("sha256") != hashlib.sha256(package).hexdigest():
            raise ValueError("it is not as it was laid down")
        names = _names(head, "version")
    except ValueError as exc:
        raise AgentError("UPGRADE_INVALID", "{0}: {1}".format(paths.staged_upgrade, exc)) from exc
    return Stage(names[0], names[1], names[2], package)


def forget_stage(paths: Paths) -> None:
    with file_errors(paths.staged_upgrade), contextlib.suppress(FileNotFoundError):
        os.unlink(paths.staged_upgrade)


def write_trial(paths: Paths, trial: Trial) -> None:
    with file_errors(paths.trial):
        replace_file(paths.trial, strict_json.dump(dict(trial._asdict())), mode=0o600)


def read_trial(paths: Paths) -> Optional[Trial]:
    """The trial that is under way; None without one, or when the file cannot be one of ours."""
    found = _read(paths.trial)
    if found is None or found.get("state") not in STATES:
        return None
    try:
        identifier, version, seconds = _names(found, "version")
        old = _names(found, "old_version")[1]
    except ValueError:
        return None
    return Trial(identifier, version, old, seconds, str(found["state"]), str(found.get("message"))[:MOST_MESSAGE])


def forget_trial(paths: Paths) -> None:
    with file_errors(paths.trial), contextlib.suppress(FileNotFoundError):
        os.unlink(paths.trial)


def tell(paths: Paths, trial: Trial, code: Optional[str]) -> None:
    """Write down how far an upgrade is, for the agent to report and for people; `code` is of errors.REMEDIES."""
    record = {
        "id": trial.id,
        "state": trial.state,
        "version": trial.version,
        "old_version": trial.old_version,
        "code": code,
        "message": trial.message[:MOST_MESSAGE] or None,
        "at": now_text(),
    }
    with file_errors(paths.upgrade):
        replace_file(paths.upgrade, strict_json.dump(record) + b"\n")


def shown(paths: Paths) -> Optional[Dict[str, Any]]:
    """What `tell` wrote last; None where there was no upgrade yet."""
    return _read(paths.upgrade)


def _read(path: str) -> Optional[Dict[str, Any]]:
    folder, name = os.path.split(path)
    try:
        return strict_json.load_object(read_capped(folder, name, MOST_RECORD), MOST_RECORD)
    except (OSError, ValueError):
        return None


def _names(found: Dict[str, Any], version: str) -> Tuple[str, str, int]:
    identifier, name, seconds = found.get("id"), found.get(version), found.get("rollback_seconds")
    if not isinstance(identifier, str) or not UUID.fullmatch(identifier):
        raise ValueError("id must be a UUID in lower case")
    if not isinstance(name, str) or not VERSION.fullmatch(name):
        raise ValueError("{0} is malformed".format(version))
    least, most = ROLLBACK_SECONDS
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not least <= seconds <= most:
        raise ValueError("rollback_seconds must be from {0} to {1}".format(least, most))
    return identifier, name, seconds
