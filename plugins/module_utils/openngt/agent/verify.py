# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Is this tools disc from a service that we trust, made for this VM, whole and of today?

The VM's certificate vouches for the manifest, the manifest for every other file. What is judged is copied into memory
first and only the copy is used: a medium can change under its reader.
"""

import hashlib
import os
import ssl
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import manifest as manifests
from .certificate import SHA256, vm_of
from .config import parse_config
from .errors import AgentError
from .files import open_below, read_capped
from .identity import Identity, make
from .manifest import AGENT, CA, CLIENT, CONFIG, SLOTS, FileEntry, Manifest
from .paths import MANIFEST
from .tls import Certificate, certificates_in, fingerprint, self_handshake, split_chain

__all__ = ["Disc", "Trust", "VerifiedDisc", "is_tools_disc", "read_agent", "read_disc", "verify", "verify_files"]

PIECE = 1024 * 1024

Disc = NamedTuple("Disc", [("manifest", bytes), ("config", bytes), ("client", bytes), ("ca", bytes)])

Trust = NamedTuple(
    "Trust",
    [
        ("vm_uuid", Optional[str]),  # as the firmware says
        ("stored", Optional[Identity]),  # of this guest, if it has one
        ("ca_sha256", Optional[str]),  # as whoever installs says
    ],
)

VerifiedDisc = NamedTuple(
    "VerifiedDisc",
    [
        ("manifest", Manifest),
        ("config", Dict[str, Any]),
        ("identity", Identity),
        ("trusted_by", str),  # fingerprint | stored identity | first use
    ],
)


def is_tools_disc(folder: str) -> bool:
    """Does a mounted disc look like a tools disc? By its manifest; nothing is believed yet."""
    try:
        manifests.parse(read_capped(folder, MANIFEST, SLOTS[MANIFEST]).rstrip(b"\n"))
    except (OSError, ValueError):
        return False
    return True


def read_disc(folder: str) -> Disc:
    """The disc's own words, copied into memory and freed of their padding. DISC_NOT_FOUND, DISC_INVALID."""
    if not os.path.lexists(os.path.join(folder, MANIFEST)):
        raise AgentError("DISC_NOT_FOUND", "{0} holds no {1}".format(folder, MANIFEST), {"path": folder})
    found: List[bytes] = []
    for path in (MANIFEST, CONFIG, CLIENT, CA):
        try:
            found.append(read_capped(folder, path, SLOTS[path]).rstrip(b"\n"))
        except OSError as exc:
            raise _invalid("{0}: {1}".format(path, exc.strerror), path) from exc
    return Disc(*found)


def verify(disc: Disc, trust: Trust, now: Optional[float] = None) -> VerifiedDisc:
    """The disc's identity and configuration, if they may be taken.

    DISC_UNTRUSTED: another CA than the one named or stored, and none that such a one vouches for. DISC_EXPIRED.
    DISC_OF_ANOTHER_VM. DISC_INVALID: altered, damaged or inconsistent. Whether it is newer than what is stored is asked
    of `check_newer`.
    """
    now = time.time() if now is None else now
    ca_pem = _ascii(disc.ca, CA)
    anchors, trusted_by = _anchors(ca_pem, trust)
    certificate = _prove(_chain_pem(disc), anchors, certificates_in(ca_pem), now)
    found = _vouched_manifest(disc, certificate)
    if trust.vm_uuid != found.vm_uuid:
        raise AgentError(
            "DISC_OF_ANOTHER_VM",
            "the disc was made for VM {0}; this is {1}".format(found.vm_uuid, trust.vm_uuid or "a VM without a UUID"),
            {"disc": found.vm_uuid, "vm_uuid": trust.vm_uuid},
        )
    if found.expires.timestamp() <= now:
        raise AgentError("DISC_EXPIRED", "the disc expired at {0:%Y-%m-%dT%H:%M:%S%z}".format(found.expires))
    return VerifiedDisc(found, _vouched_config(disc, found), _identity(disc, found, ca_pem), trusted_by)


def verify_files(folder: str, manifest: Manifest) -> None:
    """Every file that the manifest names is on the disc as it says; DISC_INVALID names the first that is not."""
    for entry in manifest.files:
        if entry.path in SLOTS:
            _check(entry, _read(folder, entry, SLOTS[entry.path]).rstrip(b"\n"))
        else:
            _check_stream(folder, entry)


def read_agent(folder: str, manifest: Manifest) -> bytes:
    """The agent on the disc, in memory and as the manifest says. DISC_INVALID, also for a disc that carries none."""
    for entry in manifest.files:
        if entry.path == AGENT:
            content = _read(folder, entry, entry.size)
            _check(entry, content)
            return content
    raise _invalid("the disc carries no agent; it is for agents that are installed already", AGENT)


def _anchors(ca_pem: str, trust: Trust) -> Tuple[List[str], str]:
    """The CA certificates that may vouch for the disc, and whose word that is."""
    if trust.ca_sha256 is not None:
        wanted = trust.ca_sha256.lower()
        if not SHA256.fullmatch(wanted):
            raise AgentError("INVALID_INPUT", "ca_sha256 must be 64 hex digits", {"field": "ca_sha256"})
        named = [pem for pem in certificates_in(ca_pem) if _fingerprint(pem) == wanted]
        if not named:
            raise AgentError("DISC_UNTRUSTED", "the disc's CA is not the one named by its fingerprint")
        return named, "fingerprint"
    if trust.stored is not None:
        return certificates_in(trust.stored.ca_pem), "stored identity"
    return certificates_in(ca_pem), "first use"


def _prove(chain_pem: str, anchors: List[str], own: List[str], now: float) -> Certificate:
    """The leaf of the disc's chain. Without one, the chain is key and leaf; else a CA of `anchors` vouches for the
    disc's, which it has done for good: a guest that slept beyond that CA's end still follows it to the next. Of today
    have to be the leaf and the CA that signed it.
    """
    if not own:
        raise _invalid("{0} holds no certificate".format(CA), CA)
    try:
        return self_handshake(chain_pem, "".join(anchors))
    except ssl.SSLError as exc:
        reason = exc.reason or "not accepted"
    certificate = _accepted(chain_pem, anchors, check_time=False)
    if certificate is not None:
        if _accepted(chain_pem, own, check_time=True) is not None:
            return certificate
        # The verdict is final; why it is so decides what to tell. Python 3.6 does not say.
        when = "is not valid yet: look at the guest's clock" if certificate.not_before > now else "has expired"
        raise AgentError("DISC_EXPIRED", "the disc's certificate or its CA {0}".format(when))
    if _accepted(chain_pem, own, check_time=False) is not None:
        raise AgentError("DISC_UNTRUSTED", "the disc comes from another CA than the one that this guest trusts")
    raise _invalid("key, certificate and CA do not belong together ({0})".format(reason), CLIENT)


def _accepted(chain_pem: str, authorities: List[str], check_time: bool) -> Optional[Certificate]:
    try:
        return self_handshake(chain_pem, "".join(authorities), check_time)
    except ssl.SSLError:
        return None


def _vouched_manifest(disc: Disc, certificate: Certificate) -> Manifest:
    try:
        vm = vm_of(certificate.uris)
    except ValueError as exc:
        raise _invalid("{0}: {1}".format(CLIENT, exc), CLIENT) from exc
    if vm.manifest_sha256 != hashlib.sha256(disc.manifest).hexdigest():
        raise _invalid("the certificate does not vouch for this manifest", MANIFEST)
    try:
        found = manifests.parse(disc.manifest)
    except ValueError as exc:
        raise _invalid("{0}: {1}".format(MANIFEST, exc), MANIFEST) from exc
    if (found.vm_uuid, found.generation, found.ngt_uuid) != (vm.vm_uuid, vm.generation, certificate.common_name):
        raise _invalid("certificate and manifest name different VMs or generations", MANIFEST)
    by_path = {entry.path: entry for entry in found.files}
    _check(by_path[CONFIG], disc.config)
    _check(by_path[CA], disc.ca)
    return found


def _vouched_config(disc: Disc, manifest: Manifest) -> Dict[str, Any]:
    try:
        config = parse_config(disc.config)
    except ValueError as exc:
        raise _invalid("{0}: {1}".format(CONFIG, exc), CONFIG) from exc
    for field in ("vm_uuid", "ngt_uuid", "cluster_uuid", "generation"):
        if config[field] != getattr(manifest, field):
            raise _invalid("{0}: {1} is not the manifest's".format(CONFIG, field), CONFIG)
    return config


def _identity(disc: Disc, manifest: Manifest, ca_pem: str) -> Identity:
    try:
        key, leaf, _vouching = split_chain(_chain_pem(disc))
        return make("bootstrap", manifest.cluster_uuid, key + leaf, ca_pem, manifest.ca_sha256)
    except ValueError as exc:
        raise _invalid("{0}: {1}".format(CLIENT, exc), CLIENT) from exc


def _chain_pem(disc: Disc) -> str:
    try:
        return "".join(split_chain(_ascii(disc.client, CLIENT)))
    except ValueError as exc:
        raise _invalid("{0}: {1}".format(CLIENT, exc), CLIENT) from exc


def _ascii(content: bytes, path: str) -> str:
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as exc:
        raise _invalid("{0} is not PEM".format(path), path) from exc


def _fingerprint(pem: str) -> str:
    try:
        return fingerprint(pem)
    except ValueError as exc:
        raise _invalid("{0} holds a damaged certificate".format(CA), CA) from exc


def _read(folder: str, entry: FileEntry, limit: int) -> bytes:
    try:
        return read_capped(folder, entry.path, limit)
    except OSError as exc:
        raise _invalid("{0}: {1}".format(entry.path, exc.strerror), entry.path) from exc


def _check(entry: FileEntry, content: bytes) -> None:
    if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise _invalid("{0} is not what the manifest says".format(entry.path), entry.path)


def _check_stream(folder: str, entry: FileEntry) -> None:
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(open_below(folder, entry.path), "rb") as stream:
            while size <= entry.size:
                piece = stream.read(PIECE)
                if not piece:
                    break
                digest.update(piece)
                size += len(piece)
    except OSError as exc:
        raise _invalid("{0}: {1}".format(entry.path, exc.strerror), entry.path) from exc
    if size != entry.size or digest.hexdigest() != entry.sha256:
        raise _invalid("{0} is not what the manifest says".format(entry.path), entry.path)


def _invalid(message: str, path: str) -> AgentError:
    return AgentError("DISC_INVALID", message, {"path": path})
