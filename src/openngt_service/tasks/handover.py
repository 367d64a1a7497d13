# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a connected agent a new identity over its link.

Where the guest can, the agent makes the key and only asks for a certificate: then the private key never leaves the
guest (T6). Else the service makes it and hands it over, inside the link's TLS.

The new certificate stays `next` until the agent uses it, whatever becomes of the call: an answer that got lost may mean
that the agent has it, and then it is accepted; if not, the old one still is.
"""

from dataclasses import dataclass
from typing import Any, Literal

from openngt import effects
from openngt.errors import REMEDIES, OpenNGTError
from openngt.pki.certificate_request import public_key_of_request

from ..store.certificate_rows import Entry
from ..store.ledger import Issued, IssueRequest
from ..store.registry import Vm
from .parts import Parts

__all__ = ["Handover", "KeyMaker", "call_agent", "deliver", "prepare"]

KeyMaker = Literal["agent", "service"]
"""Who made the private key."""

METHOD_NOT_FOUND = -32601
NO_OPENSSL = ("COMMAND_NOT_FOUND", "COMMAND_FAILED", "COMMAND_TIMED_OUT")
"""What an agent answers whose guest has no `openssl`, or none that works."""


@dataclass(frozen=True)
class Handover:
    """A certificate that is written down and not handed over yet."""

    entry: Entry
    key: KeyMaker
    params: dict[str, Any]
    """Of `identity.rotate`; holds the private key where the service made it."""


async def prepare(
    parts: Parts, vm: Vm, validity_days: int | None, *, actor: str, own_key_only: bool = False
) -> Handover:
    """Ask the agent for its request, then issue: for a link that is dead nothing is issued.

    With `own_key_only` an agent that does not know the question is AGENT_TOO_OLD, not given a key. Raises what the
    ledger and `GatewayPort.call` raise; a refusal of the agent under the code that it gave (METHOD_BLOCKED).
    """
    public_key_pem = await _public_key(parts, vm, own_key_only=own_key_only)
    now = effects.now().replace(microsecond=0)
    life = parts.lifetime("link", now, validity_days)
    # Before it is issued: if the CA changes in between, the next one is among these already.
    ca_pem = parts.media.cluster.ca_pem.decode()
    request = IssueRequest(vm.vm_uuid, "link", life, ngt_uuid=vm.ngt_uuid, public_key_pem=public_key_pem)
    [issued] = await parts.store.ledger.issue([request], actor=actor, now=now)
    generation = issued.entry.generation
    params = {
        "generation": generation,
        "kind": "link",
        "ca_pem": ca_pem,
        "config": await parts.media.guest_config(vm, generation=generation, created=now, expires=now + life),
        **_pem(issued),
    }
    return Handover(issued.entry, "service" if public_key_pem is None else "agent", params)


async def deliver(parts: Parts, handover: Handover) -> None:
    """Returns when the agent has stored it. `details.outcome` of an error says whether it may have all the same."""
    await call_agent(parts, handover.entry.vm_uuid, "identity.rotate", handover.params)


def _pem(issued: Issued) -> dict[str, str]:
    certificate = issued.certificate
    if certificate.private_key_pem is None:
        return {"certificate_pem": certificate.certificate_pem.decode()}
    return {"client_pem": certificate.client_pem.decode()}


async def _public_key(parts: Parts, vm: Vm, *, own_key_only: bool) -> bytes | None:
    """Of a key that the agent has made; None where it cannot make one."""
    try:
        answer = await call_agent(parts, vm.vm_uuid, "identity.request", {})
    except OpenNGTError as exc:
        if exc.code in NO_OPENSSL:
            return None
        if exc.details.get("agent_code") != METHOD_NOT_FOUND:
            raise
        if own_key_only:
            session = parts.gateway.session(vm.vm_uuid)
            version = "unknown" if session is None else session.agent_version
            details = {"agent_version": version}
            message = f"the agent (version {version}) cannot ask for a certificate over its link"
            raise OpenNGTError("AGENT_TOO_OLD", message, details) from exc
        return None
    csr_pem = answer.get("csr_pem")
    if not isinstance(csr_pem, str):
        raise OpenNGTError("AGENT_FAILED", "the agent's result of identity.request has no csr_pem")
    try:
        return public_key_of_request(csr_pem.encode("utf-8", "replace"))
    except OpenNGTError as exc:
        raise OpenNGTError("AGENT_FAILED", f"the agent's request cannot be used: {exc.message}") from exc


async def call_agent(parts: Parts, vm_uuid: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """`GatewayPort.call`; a refusal of the agent's under the code that it gave, where that is one of ours."""
    try:
        return await parts.gateway.call(vm_uuid, method, params)
    except OpenNGTError as exc:
        reason = exc.details.get("agent_reason")
        if exc.code != "AGENT_FAILED" or reason not in REMEDIES:
            raise
        raise OpenNGTError(str(reason), exc.message, exc.details) from exc
