# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""An upgrade by a tools disc: its manifest asks for it and names the agent's digest, and the certificate vouches."""

import hashlib
import logging
import os
from typing import Optional

from . import manifest as manifests
from .blocked import is_blocked
from .errors import AgentError
from .files import Runner, read_capped
from .manifest import AGENT, Manifest, UpgradeWish
from .paths import MANIFEST, UPGRADE_UNIT, Paths
from .systemd import systemctl
from .upgrade_offer import check_version
from .upgrade_record import MOST_PACKAGE, Stage, Trial, check_space, stage, tell
from .version import __version__

__all__ = ["begin", "by_installer_only", "lay_down", "refuse", "wanted_agent"]

METHOD = "agent.upgrade"
host_log = logging.getLogger("openngt.host")


def wanted_agent(folder: str) -> Optional[bytes]:
    """The agent of a mounted disc that asks for an upgrade; nothing is believed yet. None when it asks for none."""
    try:
        if manifests.parse(read_capped(folder, MANIFEST, manifests.MOST_MANIFEST).rstrip(b"\n")).upgrade is None:
            return None
        return read_capped(folder, AGENT, MOST_PACKAGE)
    except (OSError, ValueError):
        return None


def lay_down(paths: Paths, manifest: Manifest, agent: Optional[bytes]) -> bool:
    """Stage what a verified manifest asks for; False, with the reason in the record, when it may not be taken.

    The disc's identity is taken all the same.
    """
    wish = manifest.upgrade
    if wish is None:
        raise AssertionError("called for a disc that asks for nothing")
    host_log.info("%s: asked by the disc, to %s", METHOD, manifest.ngt_version)
    if manifest.ngt_version == __version__ or os.path.lexists(paths.trial):
        return False  # it came over the link as well: what becomes of that is written down by who carries it out
    try:
        if is_blocked(paths, METHOD):
            raise AgentError("METHOD_BLOCKED", "{0} is blocked by the guest's administrator".format(METHOD))
        entry = next((entry for entry in manifest.files if entry.path == AGENT), None)
        if entry is None or agent is None or hashlib.sha256(agent).hexdigest() != entry.sha256:
            raise AgentError("DISC_INVALID", "{0} is not what the manifest says".format(AGENT))
        check_version(manifest.ngt_version, __version__, wish)
        check_space(paths.config, len(agent))
        stage(paths, Stage(wish.id, manifest.ngt_version, wish.rollback_seconds, agent))
    except AgentError as exc:
        refuse(paths, manifest.ngt_version, wish, exc)
        return False
    return True


def begin(paths: Paths, run: Runner) -> None:
    """Start the unit that changes over; when systemd does not take the order, it does at the agent's next start."""
    try:
        systemctl(run, "start", "--no-block", UPGRADE_UNIT)
    except AgentError as exc:
        host_log.warning("%s: not begun: %s: %s", METHOD, exc.code, exc.message)


def by_installer_only() -> AgentError:
    """Why a guest without systemd takes no agent while its own serves."""
    text = "on Windows the installer upgrades the agent: setup.cmd on the tools disc, or openngt fleet install"
    return AgentError("UPGRADE_INVALID", text)


def refuse(paths: Paths, version: str, wish: UpgradeWish, exc: AgentError) -> None:
    """Write down for the service, and for the guest's people, why a disc's agent is not taken."""
    host_log.warning("%s: refused: %s: %s", METHOD, exc.code, exc.message)
    refused = Trial(wish.id, version, __version__, wish.rollback_seconds, "failed", exc.message)
    try:
        tell(paths, refused, exc.code)
    except AgentError as why:
        host_log.warning("%s: the refusal is not written down: %s", METHOD, why.message)
