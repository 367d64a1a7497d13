# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""May this agent be changed over to that one? An offer, who vouches for it, and the package that comes in pieces.

The link is trusted, and still not enough: a certificate of the CA, made for this one offer, carries its digest, as that
of a tools disc carries the manifest's. So neither a package that was altered on its way nor an offer that was made for
another VM, or that is over, is taken.
"""

import base64
import binascii
import hashlib
import ssl
import time
import zlib
from typing import Any, Dict, NamedTuple, Optional

from . import strict_json
from .certificate import PREFIX, SHA256, UUID
from .errors import AgentError
from .identity import Identity
from .manifest import VERSION, UpgradeWish, parse_time, upgrade_wish
from .tls import certificates_in, self_handshake, split_client_pem
from .upgrade_record import MOST_PACKAGE, Stage
from .version import version_order

__all__ = ["FORMAT", "Offer", "Receiver", "check_version", "verify_offer"]

FORMAT = "openngt-upgrade-1"
MOST_OFFER = 4096
MOST_PIECE = 64 * 1024
VOUCHER = PREFIX + "upgrade:sha256:"

Offer = NamedTuple(
    "Offer",
    [
        ("wish", UpgradeWish),
        ("version", str),
        ("size", int),
        ("sha256", str),
    ],
)


def verify_offer(text: str, voucher_pem: str, stored: Identity, version: str, now: Optional[float] = None) -> Offer:
    """The offer, if the stored CA vouches for it and it is for this VM, of today, and newer than `version`.

    UPGRADE_INVALID says what is wrong with it; DOWNGRADE_REFUSED for an older agent that nobody asked for.
    """
    content = text.encode("utf-8", "replace")
    digest = hashlib.sha256(content).hexdigest()
    try:
        key, leaf = split_client_pem(voucher_pem)
        voucher = self_handshake(key + leaf, "".join(certificates_in(stored.ca_pem)))
    except (ssl.SSLError, ValueError) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise AgentError("UPGRADE_INVALID", "the stored CA does not vouch for the offer ({0})".format(reason)) from exc
    if [uri for uri in voucher.uris if uri.startswith(PREFIX)] != [VOUCHER + digest]:
        raise AgentError("UPGRADE_INVALID", "the certificate vouches for another offer")
    try:
        found = strict_json.load_object(content, MOST_OFFER)
        offer = _parse(found)
        expires = parse_time(str(found.get("expires"))).timestamp()
    except ValueError as exc:
        raise AgentError("UPGRADE_INVALID", "the offer cannot be used: {0}".format(exc)) from exc
    if (found.get("vm_uuid"), found.get("cluster_uuid")) != (stored.vm_uuid, stored.cluster_uuid):
        raise AgentError("UPGRADE_INVALID", "the offer is for another VM or cluster")
    if expires <= (time.time() if now is None else now):
        raise AgentError("UPGRADE_INVALID", "the offer is over; look at the guest's clock when it was made just now")
    check_version(offer.version, version, offer.wish)
    return offer


def check_version(new: str, running: str, wish: UpgradeWish) -> None:
    """DOWNGRADE_REFUSED for an older one that nobody asked for; UPGRADE_INVALID for the same one."""
    if new == running:
        raise AgentError("UPGRADE_INVALID", "agent {0} runs already".format(new))
    if version_order(new) < version_order(running) and not wish.allow_downgrade:
        text = "agent {0} is older than {1}, which runs; an older one is taken only when asked".format(new, running)
        raise AgentError("DOWNGRADE_REFUSED", text, {"version": new, "running": running})


def _parse(found: Dict[str, Any]) -> Offer:
    if found.get("format") != FORMAT:
        raise ValueError("format must be {0}".format(FORMAT))
    for field in ("vm_uuid", "cluster_uuid"):
        if not UUID.fullmatch(str(found.get(field))):
            raise ValueError("{0} must be a UUID in lower case".format(field))
    version, size, sha256 = found.get("version"), found.get("size"), found.get("sha256")
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        raise ValueError("version is malformed")
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MOST_PACKAGE:
        raise ValueError("size must be a number from 1 to {0}".format(MOST_PACKAGE))
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise ValueError("sha256 must be 64 lower-case hex digits")
    return Offer(upgrade_wish(found), version, size, sha256)


class Receiver:
    """The package of one offer, as far as it has come. It outlives a session: what has come is not sent again."""

    def __init__(self) -> None:
        self._offer: Optional[Offer] = None
        self._content = bytearray()

    def begin(self, offer: Offer) -> int:
        """Bytes that are here already: the same package is gone on with, another one starts anew."""
        if self._offer is None or (self._offer.sha256, self._offer.size) != (offer.sha256, offer.size):
            self._content = bytearray()
        self._offer = offer
        return len(self._content)

    def add(self, params: Dict[str, Any]) -> int:
        """One piece, in its turn; how many bytes are here now. UPGRADE_INVALID starts anew."""
        offer = self._of(params)
        if params["offset"] != len(self._content):
            return len(self._content)  # one that was sent twice, or too early: the sender goes on from here
        try:
            inflater = zlib.decompressobj()
            piece = inflater.decompress(base64.b64decode(params["data"], validate=True), MOST_PIECE)
            complete = inflater.eof and not inflater.unused_data and piece
        except (binascii.Error, zlib.error, ValueError) as exc:
            raise AgentError("UPGRADE_INVALID", "a piece of the package is damaged") from exc
        if not complete or len(self._content) + len(piece) > offer.size:
            raise AgentError("UPGRADE_INVALID", "a piece of the package is larger than was said")
        self._content += piece
        return len(self._content)

    def finish(self, params: Dict[str, Any]) -> Stage:
        """The whole package, as the offer says. UPGRADE_INVALID otherwise, and nothing of it is kept."""
        offer = self._of(params)
        package, self._content, self._offer = bytes(self._content), bytearray(), None
        if len(package) != offer.size or hashlib.sha256(package).hexdigest() != offer.sha256:
            raise AgentError("UPGRADE_INVALID", "the package is not what was offered")
        return Stage(offer.wish.id, offer.version, offer.wish.rollback_seconds, package)

    def _of(self, params: Dict[str, Any]) -> Offer:
        if self._offer is None or self._offer.wish.id != params["id"]:
            raise AgentError("UPGRADE_INVALID", "no such upgrade was offered to this agent since it started")
        return self._offer
