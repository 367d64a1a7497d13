# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is done to the trail in the database file, the verifier names the row (T41)."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from openngt_service.config import Settings
from openngt_service.store.audit import AuditEntry

from .conftest import OpenStore


def write_rows(opened: OpenStore, count: int = 5) -> None:
    async def main() -> None:
        async with opened() as store:
            for number in range(count):
                entry = AuditEntry("admin", "vm.enable", None, details={"number": number, "name": "Zürich"})
                await store.audit.record(entry)

    asyncio.run(main())


def verify(opened: OpenStore) -> tuple[int | None, str | None]:
    async def main() -> tuple[int | None, str | None]:
        async with opened() as store:
            report = await store.audit.verify()
            return report.sequence, report.problem

    return asyncio.run(main())


def test_a_whole_chain_is_verified_after_a_restart(opened: OpenStore) -> None:
    write_rows(opened)
    write_rows(opened)
    assert verify(opened) == (None, None)


SWAP = """
UPDATE audit SET sequence = 99 WHERE sequence = 2;
UPDATE audit SET sequence = 2 WHERE sequence = 3;
UPDATE audit SET sequence = 3 WHERE sequence = 99;
"""


@pytest.mark.parametrize(
    ("tampering", "row", "words"),
    [
        ("UPDATE audit SET actor = 'somebody else' WHERE sequence = 3", 3, "altered"),
        ("UPDATE audit SET result = 'FORBIDDEN' WHERE sequence = 1", 1, "altered"),
        ("UPDATE audit SET details = '{}' WHERE sequence = 5", 5, "altered"),
        ("UPDATE audit SET at = '2020-01-01 00:00:00.000000' WHERE sequence = 2", 2, "altered"),
        ("DELETE FROM audit WHERE sequence = 1", 1, "missing"),
        ("DELETE FROM audit WHERE sequence = 3", 3, "missing"),
        ("DELETE FROM audit WHERE sequence = 5", 5, "missing"),
        ("DELETE FROM audit WHERE sequence >= 2", 2, "missing at the end"),
        (SWAP, 2, "does not follow"),
    ],
)
def test_tampering_is_found_and_the_row_named(
    opened: OpenStore, settings: Settings, tampering: str, row: int, words: str
) -> None:
    write_rows(opened)
    with sqlite3.connect(Path(settings.state_dir) / "openngt.db") as connection:
        connection.executescript(tampering)
    sequence, problem = verify(opened)
    assert sequence == row
    assert problem is not None and words in problem and str(row) in problem


def test_a_new_row_can_not_hide_an_altered_one(opened: OpenStore, settings: Settings) -> None:
    write_rows(opened)
    with sqlite3.connect(Path(settings.state_dir) / "openngt.db") as connection:
        connection.execute("UPDATE audit SET verb = 'nothing' WHERE sequence = 4")
    write_rows(opened)
    assert verify(opened)[0] == 4


def test_the_export_can_be_verified_without_the_database(opened: OpenStore) -> None:
    write_rows(opened, 7)

    async def main() -> None:
        async with opened() as store:
            pages = [await store.audit.page(after=after, limit=3) for after in (0, 3, 6)]
            rows = [row for page in pages for row in page]
            assert [row.sequence for row in rows] == list(range(1, 8))
            assert all(row.hash == row.expected_hash() for row in rows)
            assert [row.previous for row in rows[1:]] == [row.hash for row in rows[:-1]]
            assert rows[-1].to_dict()["hash"] == (await store.audit.head()).hash

    asyncio.run(main())
