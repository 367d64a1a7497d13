# SPDX-License-Identifier: GPL-3.0-or-later
"""The agents that this service can hand out, and the offer by which one agent takes one of them."""

import asyncio
import base64
import datetime
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openngt.agent_bundle import build_zipapp
from openngt.errors import OpenNGTError
from openngt.iso.manifest import Upgrade, canonical_json, format_time
from openngt.pki.authority import Authority
from openngt.pki.issue import issue_voucher
from openngt.version import __version__

__all__ = ["PIECE", "Package", "Packages", "make_offer", "pieces"]

FORMAT = "openngt-upgrade-1"
VERSION = re.compile(r"[0-9][0-9A-Za-z.+_-]{0,63}")
PIECE = 32 * 1024
"""Of the package, before it is packed: what becomes of it stays below the 64 KiB of a message on a serial port."""
MOST_BYTES = 16 * 1024 * 1024
GOOD_FOR = datetime.timedelta(hours=1)
"""Longer than a transfer over the slowest port takes."""


@dataclass(frozen=True)
class Package:
    version: str
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class Packages:
    """This service's own agent, and those that an administrator has put into `folder` as `ngt_agent-<version>.pyz`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: Package | None = None

    async def get(self, version: str | None) -> Package:
        """None: this service's own. NOT_FOUND names what there is."""
        return await asyncio.to_thread(self._get, version)

    def _get(self, version: str | None) -> Package:
        if version is None or version == __version__:
            self._own = self._own or Package(__version__, build_zipapp())
            return self._own
        if VERSION.fullmatch(version) is None:
            raise OpenNGTError("INVALID_INPUT", "version: give one like 0.1.0", {"field": "version"})
        path = self._folder / f"ngt_agent-{version}.pyz"
        try:
            content = path.read_bytes()
        except FileNotFoundError as exc:
            message = f"there is no agent {version}; there are: {', '.join(self._versions())}"
            raise OpenNGTError("NOT_FOUND", message, {"versions": self._versions()}) from exc
        except OSError as exc:
            raise OpenNGTError("FILE_UNUSABLE", f"{path}: {exc.strerror}", {"path": str(path)}) from exc
        if not 0 < len(content) <= MOST_BYTES:
            raise OpenNGTError("FILE_UNUSABLE", f"{path} has {len(content)} bytes", {"path": str(path)})
        return Package(version, content)

    def _versions(self) -> list[str]:
        names = (path.name for path in self._folder.glob("ngt_agent-*.pyz"))
        return [__version__, *sorted(name.removeprefix("ngt_agent-").removesuffix(".pyz") for name in names)]


def make_offer(
    authority: Authority,
    package: Package,
    wish: Upgrade,
    *,
    vm_uuid: str,
    cluster_uuid: str,
    now: datetime.datetime,
) -> dict[str, Any]:
    """Parameters of `agent.upgrade.offer`: for this VM, for an hour, vouched for by the CA."""
    offer = canonical_json(
        {
            **vars(wish),
            "format": FORMAT,
            "vm_uuid": vm_uuid,
            "cluster_uuid": cluster_uuid,
            "version": package.version,
            "size": len(package.content),
            "sha256": package.sha256,
            "expires": format_time(now + GOOD_FOR),
        }
    )
    voucher = issue_voucher(
        authority,
        offer_sha256=hashlib.sha256(offer).hexdigest(),
        validity=min(GOOD_FOR, authority.not_after - now),
        now=now,
    )
    return {"offer": offer.decode(), "voucher_pem": voucher.client_pem.decode()}


def pieces(package: Package, start: int) -> Iterator[tuple[int, str]]:
    """Offset and packed text of each piece from `start` on, which is a multiple of PIECE or the end."""
    for offset in range(start, len(package.content), PIECE):
        yield offset, base64.b64encode(zlib.compress(package.content[offset : offset + PIECE])).decode()
