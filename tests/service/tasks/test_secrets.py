# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys pass through the service and stay nowhere but on the VM's own ISO (T6)."""

import asyncio
import base64
import json
import logging
from pathlib import Path

import pytest
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import VM, Workshop, open_workshop

MARK = "PRIVATE KEY"


def forms(pem: str) -> list[bytes]:
    """A key as it may lie around: its Base64 lines, its DER, and both once more encoded."""
    body = "".join(line for line in pem.splitlines() if "-----" not in line)
    der = base64.b64decode(body)
    line = pem.splitlines()[1]
    plain = [line.encode(), der[20:60], base64.b64encode(line.encode())[:40], der.hex()[40:120].encode()]
    return [*plain, line.encode("utf-16-le"), json.dumps(pem)[1:60].encode()]


def hits(files: dict[str, bytes], keys: list[str]) -> list[str]:
    return [name for name, content in files.items() for pem in keys for form in forms(pem) if form in content]


def key_in(content: bytes) -> str:
    begin, end = content.index(b"-----BEGIN " + MARK.encode()), b"-----END " + MARK.encode() + b"-----"
    return content[begin : content.index(end, begin) + len(end)].decode()


async def work(workshop: Workshop) -> list[str]:
    """Everything that makes a key; returns the keys."""
    workshop.hypervisor.add(VM, "web1", {"ide1": None})
    await workshop.operations.enable("web1", {}, actor="test")
    batch = await workshop.operations.issue_batch([{"vm_uuid": VM}] * 3, actor="test")
    await workshop.mount()
    disc = workshop.parts.media.path(VM).read_bytes()
    begin, end = disc.index(b"-----BEGIN " + MARK.encode()), b"-----END CERTIFICATE-----"
    await workshop.gateway.connect(disc[begin : disc.index(end, begin) + len(end)])
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not workshop.gateway.calls:
            await asyncio.sleep(0.005)
    identity = workshop.gateway.calls[0][2]["client_pem"]
    return [*(key_in(item["private_key_pem"].encode()) for item in batch), key_in(disc), key_in(identity.encode())]


def test_no_key_reaches_database_log_tasks_or_other_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    everything: dict[str, bytes] = {}

    async def main() -> list[str]:
        async with open_workshop(tmp_path) as workshop:
            keys = await work(workshop)
            shown = [await workshop.operations.tasks(), await workshop.operations.vms(), workshop.parts.settings]
            everything["answers"] = repr(shown).encode()
            everything["audit"] = repr(await workshop.store.audit.page()).encode()
            # Before the close, which folds the write-ahead log into the database.
            everything.update({str(path): path.read_bytes() for path in tmp_path.glob("openngt.db*")})
            return keys

    keys = asyncio.run(main())
    out = capfd.readouterr()
    everything["output"] = (out.out + out.err + caplog.text).encode()
    allowed = {tmp_path / "iso" / f"{VM}.iso", tmp_path / "ca" / "ca.key"}
    everything.update(
        {
            f"{path} at the end": path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file() and path not in allowed
        }
    )
    assert len(set(keys)) == 5 and any(name.endswith("-wal") for name in everything)
    assert hits(everything, keys) == []
    planted = {name: content + forms(keys[0])[number % 6] for number, (name, content) in enumerate(everything.items())}
    assert set(hits(planted, keys)) == set(everything), "the scanner finds one that was put there"
