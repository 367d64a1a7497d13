# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of a VM's identity: UUIDs, and the SAN URIs that a certificate says them with."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import OpenNGTError

__all__ = ["VmIdentity", "default_ngt_uuid", "identity_uris", "normalise_uuid", "parse_identity_uris"]

PREFIX = "urn:openngt:"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SHA256 = re.compile(r"[0-9a-f]{64}")
GENERATION = re.compile(r"[1-9][0-9]{0,17}")


def normalise_uuid(value: str, field: str) -> str:
    """The UUID in lower case; INVALID_INPUT naming `field` unless it is written with its hyphens and nothing else."""
    lower = value.lower()
    if UUID.fullmatch(lower) is None:
        raise OpenNGTError(
            "INVALID_INPUT", f"{field} must be a UUID such as 6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", {"field": field}
        )
    return lower


def default_ngt_uuid(ca_sha256: str, vm_uuid: str) -> str:
    """The `ngt_uuid` of a VM that no service has enrolled: the same on each call, another one under another CA.

    Derived, not drawn, so that check mode predicts it and a run after a crash finds it again.
    """
    return str(uuid.uuid5(uuid.UUID(vm_uuid), f"{PREFIX}ca:{ca_sha256}"))


@dataclass(frozen=True)
class VmIdentity:
    vm_uuid: str
    generation: int
    manifest_sha256: str | None = None


def identity_uris(identity: VmIdentity) -> list[str]:
    """The SAN URIs of a VM's certificate (ARCHITECTURE.md, section 2)."""
    uris = [f"{PREFIX}vm:{identity.vm_uuid}", f"{PREFIX}generation:{identity.generation}"]
    if identity.manifest_sha256 is not None:
        uris.append(f"{PREFIX}manifest:sha256:{identity.manifest_sha256}")
    return uris


def parse_identity_uris(uris: Iterable[str]) -> VmIdentity | None:
    """What the SAN URIs say; None when they are not those of a VM.

    CERTIFICATE_INVALID for anything in our name space that is unknown, malformed or said twice: a certificate that
    could be read as two VMs must never be read as one.
    """
    said: dict[str, str] = {}
    for uri in uris:
        if uri.startswith(PREFIX):
            name, _colon, value = uri[len(PREFIX) :].partition(":")
            if name in said:
                raise OpenNGTError("CERTIFICATE_INVALID", f"the certificate names its {name} more than once")
            said[name] = value
    if not said:
        return None
    vm_uuid, generation = said.pop("vm", ""), said.pop("generation", "")
    manifest = said.pop("manifest", None)
    sha256 = None if manifest is None else manifest.removeprefix("sha256:")
    if (
        said
        or UUID.fullmatch(vm_uuid) is None
        or GENERATION.fullmatch(generation) is None
        or (sha256 is not None and (sha256 == manifest or SHA256.fullmatch(sha256) is None))
    ):
        raise OpenNGTError("CERTIFICATE_INVALID", f"the certificate has a malformed {PREFIX} name")
    return VmIdentity(vm_uuid, int(generation), sha256)
