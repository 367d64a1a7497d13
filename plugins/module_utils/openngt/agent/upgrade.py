# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""`ngt_agent.pyz upgrade`: put a staged agent in place, watch it, and take it back when it does not hold its link.

ngt_agent_upgrade.service runs this from the version that was proven last, outside the agent's own process, so it
outlives an agent that crashes, hangs or cannot connect. Killed at any step, it is started again, with the guest too,
and goes on from what is on the disk: until the flip of `current` the old agent serves, after it the trial is watched.
"""

import contextlib
import os
import shutil
from typing import Any, Dict, Optional

from . import compiled, runtime_status, upgrade_record
from .errors import AgentError
from .failpoints import failpoint
from .files import file_errors, locked, make_folder, replace_file, replace_link, sweep, sync_folder
from .guest import Guest
from .paths import UNIT
from .systemd import systemctl
from .upgrade_record import Stage, Trial

__all__ = ["HOLD_SECONDS", "upgrade"]

POLL_SECONDS = 0.5
HOLD_SECONDS = 10.0
"""For so long the new agent must keep one link after its first answered heartbeats."""


def upgrade(guest: Guest) -> Dict[str, Any]:
    """Do what is to be done, to its end; `{"state": null}` when there is nothing.

    Raises only what a repetition can mend; all else ends in the record that the agent reports.
    """
    if not guest.is_root:
        raise AgentError("PERMISSION_DENIED", "upgrade must run as root")
    paths = guest.paths
    with file_errors(paths.home), locked(paths.home):  # an installer waits for the end of a trial
        trial = upgrade_record.read_trial(paths) or _begin(guest)
        if trial is None:
            return {"ok": True, "state": None}
        if trial.state == "on_trial":
            trial = _try(guest, trial)
        if trial.state != "failed":
            _settle(guest, trial)
    return {"ok": True, "state": trial.state, "version": trial.version, "message": trial.message}


def _begin(guest: Guest) -> Optional[Trial]:
    """The staged package in its folder, and the mark that it is on trial. A failure leaves the old agent as it is."""
    paths = guest.paths
    old = os.readlink(paths.current)
    try:
        staged = upgrade_record.read_stage(paths)
        if staged is None:
            return None
        if staged.version == old:  # an installer was faster
            upgrade_record.forget_stage(paths)
            return None
        try:
            return _put(guest, staged, old)
        except AgentError as exc:
            _give_up(guest, Trial(staged.id, staged.version, old, staged.rollback_seconds, "failed", ""), exc)
    except AgentError as exc:
        guest.say("the staged package is thrown away: {0}: {1}".format(exc.code, exc.message))
        upgrade_record.forget_stage(paths)
    return None


def _put(guest: Guest, staged: Stage, old: str) -> Trial:
    paths = guest.paths
    guest.say("agent {0} is put in place beside {1}".format(staged.version, old))
    folder = paths.version_folder(staged.version)
    with file_errors(folder):
        sweep(paths.agent)
        make_folder(folder)
        sweep(folder)
        zipapp = paths.zipapp(staged.version)
        replace_file(zipapp, staged.package)
        replace_file(compiled.path_beside(zipapp), compiled.content_for(staged.package))
        sync_folder(paths.agent)
        failpoint("agent.upgrade.put")
        # After a power cut this one watches, not what was proven before it was put here by hand.
        replace_link(paths.proven, old)
    trial = Trial(staged.id, staged.version, old, staged.rollback_seconds, "on_trial", "")
    upgrade_record.write_trial(paths, trial)
    failpoint("agent.upgrade.marked")
    return trial


def _give_up(guest: Guest, trial: Trial, exc: AgentError) -> Trial:
    failed = trial._replace(state="failed", message=exc.message)
    guest.say("the upgrade to {0} is given up: {1}: {2}".format(failed.version, exc.code, exc.message))
    shutil.rmtree(guest.paths.version_folder(failed.version), ignore_errors=True)
    upgrade_record.forget_trial(guest.paths)
    upgrade_record.forget_stage(guest.paths)  # gives room for the record, where that was the trouble
    with contextlib.suppress(AgentError):
        upgrade_record.tell(guest.paths, failed, exc.code)
    return failed


def _try(guest: Guest, trial: Trial) -> Trial:
    """Change over, watch, and write the verdict down. A trial that was cut short gets its full time again."""
    paths = guest.paths
    with contextlib.suppress(AgentError):  # for looking at only
        upgrade_record.tell(paths, trial, None)
    if os.readlink(paths.current) != trial.version:
        guest.say("version {0} takes over from {1}".format(trial.version, trial.old_version))
        try:
            with file_errors(paths.current):
                replace_link(paths.current, trial.version)
        except AgentError as exc:  # the disk is full: the old agent serves, and nothing is left of the new one
            return _give_up(guest, trial, exc)
    failpoint("agent.upgrade.current")
    upgrade_record.forget_stage(paths)
    failpoint("agent.upgrade.unstaged")
    _restart_unless(guest, trial.version)
    failpoint("agent.upgrade.restarted")
    trouble = _watch(guest, trial)
    if trouble is None:
        verdict = trial._replace(state="kept")
    else:
        text = "agent {0} did not hold its link within {1} s: {2}"
        verdict = trial._replace(
            state="rolled_back", message=text.format(trial.version, trial.rollback_seconds, trouble)
        )
    upgrade_record.write_trial(paths, verdict)
    failpoint("agent.upgrade.judged")
    return verdict


def _watch(guest: Guest, trial: Trial) -> Optional[str]:
    """None as soon as the new agent has held one link for long enough; else what it did, when its time is over."""
    end = guest.monotonic() + trial.rollback_seconds
    session: Optional[str] = None
    since = 0.0
    connected = False  # at any time
    while True:
        now = guest.monotonic()
        shown = runtime_status.read(guest.paths) or {}
        link = shown.get("link") or {}
        is_new = shown.get("agent_version") == trial.version
        connected = connected or (is_new and bool(link.get("active")))
        if not is_new or not link.get("steady"):
            session = None
        elif session is None or link.get("since") != session:
            session, since = link.get("since"), now
        elif now - since >= HOLD_SECONDS:
            return None
        if now >= end:
            return _conduct(guest, trial, shown, connected)
        guest.sleep(POLL_SECONDS)


def _conduct(guest: Guest, trial: Trial, shown: Dict[str, Any], connected: bool) -> str:
    """What people want to know of an agent that failed."""
    done = guest.run(["systemctl", "show", "--property=ActiveState,NRestarts", UNIT])
    unit = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    restarts = unit.get("NRestarts", "0")
    link = shown.get("link") or {}
    error = link.get("last_error") or {}
    if restarts not in ("", "0") and not connected:
        return "it ended and was started again {0} times{1}".format(restarts, _last_words(guest))
    if not shown:
        return "it runs and says nothing" if unit.get("ActiveState") == "active" else "it does not become ready"
    if shown.get("agent_version") != trial.version:
        return "what runs calls itself {0}".format(str(shown.get("agent_version"))[:64])
    if connected:
        return "it connected, and no link has held for {0:g} s".format(HOLD_SECONDS)
    return "it is not connected ({0}: {1})".format(error.get("code"), str(error.get("message"))[:200])


def _last_words(guest: Guest) -> str:
    lines = guest.run(
        ["journalctl", "--no-pager", "-o", "cat", "-n", "30", "_SYSTEMD_UNIT=" + UNIT]
    ).stdout.splitlines()
    return "; it said: {0}".format(lines[-1][:200]) if lines else ""


def _settle(guest: Guest, trial: Trial) -> None:
    """Carry the verdict out; each step can be repeated. The trial's mark goes last."""
    paths = guest.paths
    serves = trial.version if trial.state == "kept" else trial.old_version
    for link in (paths.current, paths.proven):
        if os.readlink(link) != serves:
            replace_link(link, serves)
    failpoint("agent.upgrade.settled")
    guest.say("agent {0}: {1}{2}".format(trial.version, trial.state, ": " + trial.message if trial.message else ""))
    upgrade_record.tell(paths, trial, None if trial.state == "kept" else "UPGRADE_ROLLED_BACK")
    _restart_unless(guest, serves)
    failpoint("agent.upgrade.told")
    _prune(guest, {serves} if trial.state != "kept" else {trial.version, trial.old_version})
    upgrade_record.forget_trial(paths)


def _prune(guest: Guest, kept: Any) -> None:
    """Only the agent that serves and the one before it stay."""
    for entry in list(os.scandir(guest.paths.agent)):
        if entry.is_dir(follow_symlinks=False) and entry.name not in kept:
            shutil.rmtree(entry.path, ignore_errors=True)


def _restart_unless(guest: Guest, version: str) -> None:
    """Without waiting: one that hangs would not come to the end of its start."""
    if (runtime_status.read(guest.paths) or {}).get("agent_version") != version:
        systemctl(guest.run, "restart", "--no-block", UNIT)
