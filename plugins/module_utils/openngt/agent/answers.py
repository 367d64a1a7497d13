# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The answers of the commands that change nothing, which are the same on every system."""

from typing import Any, Dict, List, Optional

from . import identity as identities
from . import runtime_status, upgrade_record
from . import verify as verification
from .errors import AgentError
from .identity import check_newer
from .paths import Paths
from .times import text_of
from .version import __version__

__all__ = ["Answer", "of_disc", "of_status"]

Answer = Dict[str, Any]


def of_disc(paths: Paths, vm_uuid: Optional[str], source: str, ca_sha256: Optional[str]) -> Answer:
    """The disc's words if the agent of this guest would take it now; DISC_OLDER when it was used up."""
    stored = identities.load_or_none(paths)
    disc = verification.read_disc(source)
    found = verification.verify(disc, verification.Trust(vm_uuid, stored, ca_sha256))
    verification.verify_files(source, found.manifest)
    check_newer(stored, found.identity)
    return {
        "ok": True,
        "changed": False,
        "steps": [],
        "vm_uuid": found.manifest.vm_uuid,
        "generation": found.manifest.generation,
        "kind": found.manifest.kind,
        "version": found.manifest.ngt_version,
        "expires": text_of(found.manifest.expires.timestamp()),
        "ca_sha256": found.identity.ca_sha256,
        "trusted_by": found.trusted_by,
        "files": len(found.manifest.files),
    }


def of_status(paths: Paths, service: Dict[str, Optional[str]]) -> Answer:
    """What the agent says of itself, as far as it runs. `service`: its unit, and what the system says of that."""
    said = runtime_status.read(paths) or {}
    link = said.get("link") or runtime_status.no_link()
    if service["active"] != "active":
        link = runtime_status.no_link(*_last_error(link))
    return {
        "ok": True,
        "agent_version": said.get("agent_version", __version__),
        "service": service,
        "identity": said.get("identity") or _stored(paths),
        "link": link,
        "serial_port": said.get("serial_port"),
        "capabilities": said.get("capabilities") or {},
        "upgrade": upgrade_record.shown(paths),
    }


def _last_error(link: Dict[str, Any]) -> List[Any]:
    error = link.get("last_error") or {}
    return [error.get("code"), error.get("message", "")]


def _stored(paths: Paths) -> Optional[Dict[str, Any]]:
    """The identity on disk, for who may read it."""
    try:
        return runtime_status.identity_shown(identities.load(paths))
    except AgentError:
        return None
