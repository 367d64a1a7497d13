# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The identity in the guest: `identity.pem`, one file, so that one rename swaps it all (ARCHITECTURE.md, section 2)."""

import functools
import os
import ssl
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import strict_json
from .certificate import SHA256, UUID, vm_of
from .errors import AgentError
from .failpoints import failpoint
from .files import file_errors, locked, make_folder, read_capped, replace_file, sweep
from .paths import Paths
from .tls import Certificate, certificates_in, fingerprint, self_handshake, split_client_pem

__all__ = ["Identity", "load", "load_or_none", "make", "same_count", "store", "sweep_unfinished", "trusted"]

FIRST_LINE = "# openngt identity 1 "
MOST_IDENTITY = 64 * 1024
KINDS = ("bootstrap", "link")

Identity = NamedTuple(
    "Identity",
    [
        ("generation", int),
        ("kind", str),
        ("vm_uuid", str),
        ("ngt_uuid", str),
        ("cluster_uuid", str),
        ("ca_sha256", str),
        ("client_pem", str),  # secret: private key, then leaf
        ("ca_pem", str),
        ("certificate", Certificate),
    ],
)


def make(
    kind: str, cluster_uuid: str, client_pem: str, ca_pem: str, ca_sha256: str, check_time: bool = True
) -> Identity:
    """An identity of its parts, proven to belong together; ValueError says what does not (never a secret).

    An expired certificate passes without `check_time`: it names who this VM was.
    """
    if kind not in KINDS or not UUID.fullmatch(cluster_uuid) or not SHA256.fullmatch(ca_sha256):
        raise ValueError("kind, cluster_uuid or ca_sha256 is malformed")
    key, leaf = split_client_pem(client_pem)
    authorities = certificates_in(ca_pem)
    if ca_sha256 not in [fingerprint(pem) for pem in authorities]:
        raise ValueError("the named CA is not among its CA certificates")
    try:
        certificate = self_handshake(key + leaf, "".join(authorities), check_time)
    except ssl.SSLError as exc:
        raise ValueError("key, certificate and CA do not belong together ({0})".format(exc.reason)) from exc
    vm = vm_of(certificate.uris)
    if not UUID.fullmatch(certificate.common_name):
        raise ValueError("the certificate does not name an ngt_uuid")
    return Identity(
        vm.generation,
        kind,
        vm.vm_uuid,
        certificate.common_name,
        cluster_uuid,
        ca_sha256,
        key + leaf,
        "".join(authorities),
        certificate,
    )


def render(identity: Identity) -> bytes:
    """The bytes of identity.pem."""
    header = {field: getattr(identity, field) for field in _HEADER}
    text = FIRST_LINE + strict_json.dump(header).decode("ascii") + "\n" + identity.client_pem + identity.ca_pem
    return text.encode("ascii")


_HEADER = ("generation", "kind", "vm_uuid", "ngt_uuid", "cluster_uuid", "ca_sha256")


@functools.lru_cache(maxsize=2)
def parse(content: bytes) -> Identity:
    """An identity from the bytes of identity.pem; ValueError when it is damaged. It may have expired.

    The same bytes are proven once: the agent asks for its identity at each try to connect.
    """
    header, client_pem, ca_pem = _split(content)
    identity = make(
        str(header.get("kind")),
        str(header.get("cluster_uuid")),
        client_pem,
        ca_pem,
        str(header.get("ca_sha256")),
        check_time=False,
    )
    for field in _HEADER:
        if header.get(field) != getattr(identity, field):
            raise ValueError("{0} in the first line is not the certificate's".format(field))
    return identity


def _split(content: bytes) -> Tuple[Dict[str, Any], str, str]:
    """(first line's object, key and leaf, CA certificates)"""
    text = content.decode("ascii")
    first, _newline, rest = text.partition("\n")
    if not first.startswith(FIRST_LINE):
        raise ValueError("not an identity file of format 1")
    header = strict_json.load_object(first[len(FIRST_LINE) :].encode("ascii"), 4096)
    certificates = certificates_in(rest)
    if len(certificates) < 2 or not rest.endswith(certificates[-1]):
        raise ValueError("key, certificate and CA certificates are wanted")
    key = rest[: rest.index("-----BEGIN CERTIFICATE-----")]
    return header, key + certificates[0], "".join(certificates[1:])


def load(paths: Paths) -> Identity:
    """The stored identity; IDENTITY_INVALID when it is missing or damaged."""
    try:
        return parse(read_capped(paths.config, os.path.basename(paths.identity), MOST_IDENTITY))
    except (OSError, ValueError) as exc:
        raise AgentError("IDENTITY_INVALID", "{0}: {1}".format(paths.identity, exc)) from exc


def load_or_none(paths: Paths) -> Optional[Identity]:
    """The stored identity, or None when there is none that could be used."""
    if not os.path.lexists(paths.identity):
        return None
    try:
        return load(paths)
    except AgentError as exc:
        if exc.code != "IDENTITY_INVALID":
            raise
        return None


def store(paths: Paths, identity: Identity, config: Dict[str, Any]) -> None:
    """Make this the VM's identity; when this returns, a power cut cannot undo it.

    The configuration goes first: until the identity is renamed into place, the VM is who it was. DISC_OLDER when a
    newer generation of the same VM and CA is stored by then.
    """
    with file_errors(paths.config):
        make_folder(paths.config, 0o700)
        with locked(paths.config):
            check_newer(load_or_none(paths), identity)
            replace_file(paths.ngt_config, strict_json.dump(config) + b"\n", mode=0o600)
            failpoint("agent.identity.config")
            replace_file(paths.identity, render(identity), mode=0o600, at=_identity_failpoints)


def _identity_failpoints(step: str) -> None:
    if step == "written":
        failpoint("agent.identity.written")
    elif step == "renamed":
        failpoint("agent.identity.renamed")


def check_newer(stored: Optional[Identity], new: Identity) -> None:
    """DISC_OLDER unless `new` may follow `stored`."""
    if stored is None or not same_count(stored, new):
        return
    if new.generation <= stored.generation:
        raise AgentError(
            "DISC_OLDER",
            "generation {0} is not newer than the stored {1}".format(new.generation, stored.generation),
            {"generation": new.generation, "stored": stored.generation},
        )


def same_count(stored: Identity, new: Identity) -> bool:
    """Can the generations of the two be compared? Each service counts for itself, over all CAs that follow another."""
    return stored.vm_uuid == new.vm_uuid and new.ca_sha256 in trusted(stored)


def trusted(identity: Identity) -> List[str]:
    """The fingerprints of the CAs that it trusts."""
    return [fingerprint(pem) for pem in certificates_in(identity.ca_pem)]


def sweep_unfinished(paths: Paths) -> None:
    """Remove what a power cut left half-written beside the identity."""
    if os.path.isdir(paths.config):
        with locked(paths.config):
            sweep(paths.config)
