# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""What has to be done so that a guest has the agent, or has it not: pure decisions over what was observed."""

from typing import Any, Dict, List, NamedTuple, Optional

__all__ = ["Observed", "Plan", "Wanted", "only_the_link_is_missing", "plan"]

Observed = NamedTuple(
    "Observed",
    [
        ("status", Optional[Dict[str, Any]]),  # what `ngtcli status` says; None: no agent that could answer
        ("leftovers", List[str]),  # files and folders of an agent, broken ones included
    ],
)

Wanted = NamedTuple(
    "Wanted",
    [
        ("present", bool),
        ("version", str),
        ("ca_sha256", Optional[str]),
        ("linked", bool),  # also connected, with its long-lived identity; False: there may be no service yet
        ("generation", int),  # of the disc that was mounted for it: with an older identity it does not count; 0: any
    ],
)

Plan = NamedTuple(
    "Plan",
    [
        ("operation", str),  # none | install | uninstall
        ("reason", str),
        ("before", Dict[str, Any]),
        ("after", Dict[str, Any]),
    ],
)


def plan(observed: Observed, wanted: Wanted) -> Plan:
    """Install or uninstall, with the reason in words, or nothing."""
    before = _shown(observed)
    if not wanted.present:
        after: Dict[str, Any] = {"installed": False}
        if not observed.leftovers:
            return Plan("none", "nothing of the agent is here", after, after)
        return Plan("uninstall", "found {0}".format(", ".join(observed.leftovers)), before, after)
    reasons = _shortcomings(observed, wanted)
    if not reasons:
        linked = " and its link is active" if wanted.linked else ""
        return Plan("none", "version {0} runs{1}".format(wanted.version, linked), before, before)
    identity = "link" if wanted.linked else before.get("identity") or "bootstrap"
    after = dict(before, installed=True, version=wanted.version, service="active", identity=identity)
    if wanted.linked:
        after["link_active"] = True
    if wanted.ca_sha256:
        after["ca_sha256"] = wanted.ca_sha256
    held = _generation(observed)
    if held < wanted.generation:  # otherwise it says nothing that a person could compare: each rotation raises it
        before = dict(before, generation=held or None)
        after["generation"] = "{0} or later".format(wanted.generation)
    return Plan("install", "; ".join(reasons), before, after)


def only_the_link_is_missing(observed: Observed, wanted: Wanted) -> bool:
    """True for an agent that is well but not connected at this moment: it may be about to reconnect."""
    return _shortcomings(observed, wanted) == [NO_LINK]


NO_LINK = "its link is not active"


def _shortcomings(observed: Observed, wanted: Wanted) -> List[str]:
    status = observed.status
    if status is None:
        return ["an agent is here but does not answer" if observed.leftovers else "no agent is installed"]
    identity = status.get("identity") or {}
    reasons = []
    if status.get("agent_version") != wanted.version:
        reasons.append("version {0} is installed, {1} is wanted".format(status.get("agent_version"), wanted.version))
    if (status.get("service") or {}).get("active") != "active":
        reasons.append("its service does not run")
    if not identity.get("kind"):
        reasons.append("it has no identity")
    elif wanted.linked and identity["kind"] == "bootstrap":
        reasons.append("it has no long-lived identity")
    if identity.get("kind") and _generation(observed) < wanted.generation:
        words = "its identity is of generation {0}, the disc's of {1}"
        reasons.append(words.format(_generation(observed), wanted.generation))
    if wanted.ca_sha256 and identity.get("ca_sha256") not in (None, wanted.ca_sha256):
        reasons.append("it trusts another CA")
    if wanted.linked and not (status.get("link") or {}).get("active"):
        reasons.append(NO_LINK)
    return reasons


def _generation(observed: Observed) -> int:
    """Of the stored identity; 0 without one."""
    return int(((observed.status or {}).get("identity") or {}).get("generation") or 0)


def _shown(observed: Observed) -> Dict[str, Any]:
    """What a diff shows of the state before."""
    status = observed.status
    if status is None:
        return {"installed": bool(observed.leftovers)}
    identity = status.get("identity") or {}
    return {
        "installed": True,
        "version": status.get("agent_version"),
        "service": (status.get("service") or {}).get("active"),
        "identity": identity.get("kind"),
        "ca_sha256": identity.get("ca_sha256"),
        "link_active": bool((status.get("link") or {}).get("active")),
    }
