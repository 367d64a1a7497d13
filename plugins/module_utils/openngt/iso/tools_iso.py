# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's ISO in two steps, as its certificate vouches for its content.

1. `prepare` settles everything but the certificate and gives the manifest's digest;
2. the caller signs a certificate that carries the digest, writes it into its ledger or log, and calls `write_iso`.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import OpenNGTError
from ..pki.identity import normalise_uuid
from ..version import __version__
from ._unfinished import sweep
from .clone import CloneMethod, clone
from .layout import CA, CLIENT, CONFIG, MANIFEST
from .manifest import FileEntry, Manifest, Upgrade, canonical_json
from .template import Template, padded

__all__ = ["CAPABILITIES", "Cluster", "Unsigned", "Vm", "prepare", "service_name", "sweep", "write_iso"]

CAPABILITIES = ("self_service_restore", "vss_snapshot")
"""Names of what an agent can be allowed to do."""

# An IPv4 or IPv6 address or a DNS name: what nobody could take for an option, a URL or two words.
HOST = re.compile(r"[0-9A-Za-z][0-9A-Za-z.:_-]{0,252}|::[0-9A-Fa-f:.]{0,43}")
BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Cluster:
    """Where the service is, and whom an agent is to trust. INVALID_INPUT names the field that does not do."""

    cluster_uuid: str
    cluster_ip: str
    ca_pem: bytes = field(repr=False)
    """CA certificates; the first is the one whose fingerprint agents pin."""
    port: int = 2074
    serial_ports: tuple[str, ...] = ()
    """The guest's names for its port to the service, the first to be tried in front; none: the network alone."""
    preferred_transport: str = "serial"

    def __post_init__(self) -> None:
        object.__setattr__(self, "cluster_uuid", normalise_uuid(self.cluster_uuid, "cluster_uuid"))
        if HOST.fullmatch(self.cluster_ip) is None:
            raise OpenNGTError("INVALID_INPUT", "cluster_ip must be an address or a host name", {"field": "cluster_ip"})
        if not 1 <= self.port <= 65535:
            raise OpenNGTError("INVALID_INPUT", "port must be 1 to 65535", {"field": "port"})

    @cached_property
    def ca_sha256(self) -> str:
        """Lower-case hex SHA-256 of the first certificate's DER; CERTIFICATE_INVALID when there is none."""
        text = self.ca_pem.decode("ascii", "replace")
        begin, end = text.find(BEGIN), text.find(END)
        try:
            der = ssl.PEM_cert_to_DER_cert(text[begin : end + len(END)])
        except ValueError as exc:
            raise OpenNGTError("CERTIFICATE_INVALID", "ca_pem holds no certificate in PEM form") from exc
        return hashlib.sha256(der).hexdigest()


@dataclass(frozen=True)
class Vm:
    """For whom the ISO is. UUIDs are normalised to lower case; INVALID_INPUT names the field."""

    vm_uuid: str
    vm_name: str
    ngt_uuid: str
    capabilities: Mapping[str, bool] = field(default_factory=lambda: dict.fromkeys(CAPABILITIES, False))

    def __post_init__(self) -> None:
        object.__setattr__(self, "vm_uuid", normalise_uuid(self.vm_uuid, "vm_uuid"))
        object.__setattr__(self, "ngt_uuid", normalise_uuid(self.ngt_uuid, "ngt_uuid"))


@dataclass(frozen=True)
class Unsigned:
    """An ISO that lacks nothing but its certificate."""

    manifest: Manifest
    manifest_sha256: str
    """Goes into the certificate: `VmCertificateRequest.manifest_sha256`."""
    slots: Mapping[str, bytes]
    """Content of every slot but `config/client.pem`, unpadded."""


def service_name(cluster_uuid: str) -> str:
    """The DNS name in the gateway's certificate, which agents verify instead of an address."""
    return f"guest-tools.{cluster_uuid}"


def prepare(
    template: Template,
    vm: Vm,
    cluster: Cluster,
    *,
    generation: int,
    created: datetime.datetime,
    expires: datetime.datetime,
    upgrade: Upgrade | None = None,
) -> Unsigned:
    """Write the VM's configuration and the manifest over it and the template's files. Pure.

    Give the certificate the same `expires`. With `upgrade` a running agent changes over to the one on the disc.
    INVALID_INPUT names the field that does not do, ISO_TOO_LARGE the slot.
    """
    config = canonical_json(
        {
            "cluster_ip": cluster.cluster_ip,
            "port": cluster.port,
            "cluster_uuid": cluster.cluster_uuid,
            "service_name": service_name(cluster.cluster_uuid),
            "vm_uuid": vm.vm_uuid,
            "vm_name": vm.vm_name,
            "ngt_uuid": vm.ngt_uuid,
            "capabilities": dict(vm.capabilities),
            "generation": generation,
            "ngt_version": __version__,
            **_transports(cluster),
        }
    )
    slots = {CONFIG: config, CA: cluster.ca_pem.rstrip(b"\n")}
    for path, content in slots.items():
        padded(path, content)  # too large is an error before a certificate is signed, not after
    own = [FileEntry.of(path, content) for path, content in slots.items()]
    manifest = Manifest(
        vm_uuid=vm.vm_uuid,
        ngt_uuid=vm.ngt_uuid,
        cluster_uuid=cluster.cluster_uuid,
        generation=generation,
        kind=template.kind,
        ngt_version=__version__,
        created=created,
        expires=expires,
        ca_sha256=cluster.ca_sha256,
        files=tuple(sorted((*template.files, *own), key=lambda entry: entry.path)),
        upgrade=upgrade,
    )
    slots[MANIFEST] = manifest.to_bytes()
    return Unsigned(manifest, hashlib.sha256(slots[MANIFEST]).hexdigest(), MappingProxyType(slots))


def _transports(cluster: Cluster) -> dict[str, Any]:
    if not cluster.serial_ports:
        return {}
    return {"serial_ports": list(cluster.serial_ports), "preferred_transport": cluster.preferred_transport}


def write_iso(
    template: Template, unsigned: Unsigned, client_pem: bytes, destination: Path, *, fsync: bool = True
) -> CloneMethod:
    """Put the ISO under its name, complete or not at all; errors as those of `clone`.

    `client_pem` is key and leaf (`IssuedCertificate.client_pem`). `fsync=False` leaves durability to the caller.
    """
    return clone(template, {**unsigned.slots, CLIENT: client_pem}, destination, fsync=fsync)
