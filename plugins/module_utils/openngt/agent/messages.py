# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The messages of the link as values: what may come, checked field by field, and what the agent says."""

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Union

from .certificate import UUID
from .config import check_capabilities, check_config

__all__ = [
    "BLOCKED",
    "INVALID_PARAMS",
    "METHOD_NOT_FOUND",
    "OPERATIONS",
    "PROTOCOL",
    "REFUSED",
    "Answer",
    "Call",
    "RequestId",
    "Welcome",
    "classify",
    "error",
    "notification",
    "request",
    "result",
    "welcome",
]

PROTOCOL = 1
INVALID_PARAMS = -32602
METHOD_NOT_FOUND = -32601
BLOCKED = -32000
REFUSED = -32001

MOST_CHUNK_TEXT = 48 * 1024  # with what is around it, below the smallest message limit
KINDS = ("bootstrap", "link", "external")
HEARTBEATS = (1, 60)  # seconds; what a service may ask for

RequestId = Union[str, int]
Call = NamedTuple("Call", [("method", str), ("params", Dict[str, Any]), ("id", Optional[RequestId])])
Answer = NamedTuple("Answer", [("id", RequestId), ("result", Any), ("error", Optional[Dict[str, Any]])])
Welcome = NamedTuple(
    "Welcome",
    [("session", str), ("heartbeat_seconds", float), ("generation", int), ("kind", str), ("service_version", str)],
)


def classify(message: Mapping[str, Any]) -> Union[Call, Answer]:
    """A call (request, or notification when its id is None) or an answer; ValueError for anything else."""
    if message.get("jsonrpc") != "2.0":
        raise ValueError("jsonrpc must be 2.0")
    identifier = message.get("id")
    if isinstance(identifier, bool) or not isinstance(identifier, (str, int, type(None))):
        raise ValueError("id must be text or a whole number")
    if isinstance(identifier, str) and len(identifier) > 128:
        raise ValueError("id is too long")
    if "method" in message:
        method, params = message["method"], message.get("params", {})
        if not isinstance(method, str) or len(method) > 128 or not isinstance(params, dict):
            raise ValueError("method must be text and params an object")
        return Call(method, params, identifier)
    if identifier is None or ("result" in message) == ("error" in message):
        raise ValueError("neither a call nor an answer")
    failure = message.get("error")
    if "error" in message and not isinstance(failure, dict):
        raise ValueError("error must be an object")
    return Answer(identifier, message.get("result"), failure)


def welcome(params: Mapping[str, Any]) -> Welcome:
    """The checked `welcome`; ValueError names the field."""
    if params.get("protocol") != PROTOCOL:
        raise ValueError("protocol must be {0}".format(PROTOCOL))
    heartbeat = params.get("heartbeat_seconds")
    least, most = HEARTBEATS
    if isinstance(heartbeat, bool) or not isinstance(heartbeat, (int, float)) or not least <= heartbeat <= most:
        raise ValueError("heartbeat_seconds must be from {0} to {1}".format(least, most))
    if not UUID.fullmatch(str(params.get("cluster_uuid"))):
        raise ValueError("cluster_uuid must be a UUID in lower case")
    if params.get("kind") not in KINDS:
        raise ValueError("kind must be one of {0}".format(", ".join(KINDS)))
    session, version = params.get("session"), params.get("service_version")
    if not isinstance(session, str) or not isinstance(version, str):
        raise ValueError("session and service_version must be text")
    return Welcome(session[:64], float(heartbeat), _generation(params), str(params["kind"]), version[:64])


def _generation(params: Mapping[str, Any]) -> int:
    generation = params.get("generation")
    if isinstance(generation, bool) or not isinstance(generation, int) or generation < 1:
        raise ValueError("generation must be a whole number of 1 or more")
    return generation


def _identity_rotate(params: Mapping[str, Any]) -> None:
    _generation(params)
    if params.get("kind") != "link":
        raise ValueError("kind must be link")
    if ("client_pem" in params) == ("certificate_pem" in params):
        raise ValueError("one of client_pem and certificate_pem is wanted")
    for field in ("client_pem" if "client_pem" in params else "certificate_pem", "ca_pem"):
        if not isinstance(params.get(field), str) or len(params[field]) > 32768:
            raise ValueError("{0} must be text of at most 32768 characters".format(field))
    if not isinstance(params.get("config"), dict):
        raise ValueError("config must be an object")
    check_config(params["config"])


def _identity_request(params: Mapping[str, Any]) -> None:
    """Nothing is asked with it yet."""


def _upgrade_offer(params: Mapping[str, Any]) -> None:
    for field, most in (("offer", 4096), ("voucher_pem", 8192)):
        if not isinstance(params.get(field), str) or not 0 < len(params[field]) <= most:
            raise ValueError("{0} must be text of 1 to {1} characters".format(field, most))


def _upgrade_chunk(params: Mapping[str, Any]) -> None:
    _upgrade_commit(params)
    offset, data = params.get("offset"), params.get("data")
    if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
        raise ValueError("offset must be a whole number of 0 or more")
    if not isinstance(data, str) or not 0 < len(data) <= MOST_CHUNK_TEXT:
        raise ValueError("data must be text of 1 to {0} characters".format(MOST_CHUNK_TEXT))


def _upgrade_commit(params: Mapping[str, Any]) -> None:
    if not isinstance(params.get("id"), str) or not UUID.fullmatch(params["id"]):
        raise ValueError("id must be a UUID in lower case")


def _capabilities_set(params: Mapping[str, Any]) -> None:
    check_capabilities(params.get("capabilities"))


def _nothing(params: Mapping[str, Any]) -> None:
    """The operation has no parameters; unknown ones are ignored, as everywhere."""


# All that a service may ask of an agent, once `hello` was answered. Never more than stands here.
OPERATIONS: Dict[str, Callable[[Mapping[str, Any]], None]] = {
    "identity.request": _identity_request,
    "identity.rotate": _identity_rotate,
    "capabilities.set": _capabilities_set,
    "agent.upgrade.offer": _upgrade_offer,
    "agent.upgrade.chunk": _upgrade_chunk,
    "agent.upgrade.commit": _upgrade_commit,
    "guest.shutdown": _nothing,
    "guest.reboot": _nothing,
}


def request(identifier: int, method: str, params: Mapping[str, Any]) -> Dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "method": method, "params": dict(params)}


def notification(method: str, params: Mapping[str, Any]) -> Dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": dict(params)}


def result(identifier: RequestId, value: Mapping[str, Any]) -> Dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "result": dict(value)}


def error(identifier: RequestId, code: int, message: str, reason: Optional[str] = None) -> Dict[str, Any]:
    """An error answer; `reason` is a code of errors.REMEDIES for `data.code`."""
    failure: Dict[str, Any] = {"code": code, "message": message}
    if reason is not None:
        failure["data"] = {"code": reason}
    return {"jsonrpc": "2.0", "id": identifier, "error": failure}
