# SPDX-License-Identifier: GPL-3.0-or-later
"""Group commit, migration and identity of the database, on real files."""

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event, select, update
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt.errors import OpenNGTError
from openngt_service.store import certificate_rows, migrate, schema
from openngt_service.store.database import Database, open_database
from openngt_service.store.health_rows import HealthRows

EPOCH = select(schema.service.c.epoch)


def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'openngt.db'}"


def raise_epoch(connection: Connection) -> int:
    connection.execute(update(schema.service).values(epoch=schema.service.c.epoch + 1))
    return int(connection.execute(EPOCH).scalar_one())


def test_one_failing_write_of_a_group_does_not_fail_the_others(tmp_path: Path) -> None:
    def fails(connection: Connection) -> int:
        raise_epoch(connection)
        raise ValueError("this one only")

    async def main(database: Database) -> None:
        writes = [database.write(raise_epoch), database.write(fails), database.write(raise_epoch)]
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(result) for result in results] == [int, ValueError, int]
        assert await database.read(lambda connection: connection.execute(EPOCH).scalar_one()) == 3

    database = open_database(url(tmp_path))
    asyncio.run(main(database))
    database.close()


def test_writes_that_wait_together_share_a_commit(tmp_path: Path) -> None:
    commits = []

    async def main(database: Database) -> None:
        event.listen(database.engine, "commit", commits.append)
        await asyncio.gather(*(database.write(raise_epoch) for _ in range(200)))

    database = open_database(url(tmp_path))
    asyncio.run(main(database))
    database.close()
    assert open_epoch(tmp_path) == 201
    assert len(commits) < 100


def open_epoch(tmp_path: Path) -> int:
    with sqlite3.connect(tmp_path / "openngt.db") as connection:
        return int(connection.execute("SELECT epoch FROM service").fetchone()[0])


def test_the_mirror_learns_of_a_commit_whose_caller_was_cancelled(tmp_path: Path) -> None:
    learnt: list[int] = []

    async def main(database: Database) -> None:
        caller = asyncio.create_task(database.write(raise_epoch, committed=learnt.append))
        await asyncio.sleep(0)
        caller.cancel()
        await database.write(raise_epoch)

    database = open_database(url(tmp_path))
    asyncio.run(main(database))
    database.close()
    assert learnt == [2]
    assert open_epoch(tmp_path) == 3


def test_a_write_survives_without_a_close(tmp_path: Path) -> None:
    database = open_database(url(tmp_path))
    asyncio.run(database.write(raise_epoch))
    shutil.copytree(tmp_path, tmp_path / "crashed", ignore=shutil.ignore_patterns("crashed"))
    database.close()
    assert open_epoch(tmp_path / "crashed") == 2


def test_a_full_disk_is_told_by_name_and_leaves_nothing_behind(tmp_path: Path) -> None:
    def fill(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE filler (content BLOB)")
        connection.exec_driver_sql("INSERT INTO filler VALUES (zeroblob(10000000))")

    async def main(database: Database) -> None:
        with pytest.raises(OpenNGTError) as failure:
            await database.write(fill)
        assert failure.value.code == "NO_SPACE"
        assert await database.write(raise_epoch) == 2, "goes on as soon as there is space"

    database = open_database(url(tmp_path))
    event.listen(database.engine, "checkout", limit_pages)
    asyncio.run(main(database))
    database.close()


def limit_pages(connection: sqlite3.Connection, *_: object) -> None:
    """SQLite then answers as on a full file system: SQLITE_FULL."""
    connection.execute("PRAGMA max_page_count = 200")


def test_upgrading_an_empty_database_gives_the_tables_of_the_schema() -> None:
    with create_engine("sqlite://").connect() as connection:
        migrate.upgrade(connection)
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_every_check_and_index_of_the_schema_is_in_the_migrations(tmp_path: Path) -> None:
    """Alembic compares neither checks nor the condition of an index: SQLite's own text does."""
    created = create_engine(f"sqlite:///{tmp_path / 'created.db'}")
    with created.begin() as connection:
        schema.metadata.create_all(connection)
    open_database(url(tmp_path)).close()
    assert constraints(tmp_path / "openngt.db") == constraints(tmp_path / "created.db")


def constraints(path: Path) -> dict[str, list[str]]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    return {
        name: sorted(
            part.strip().rstrip(",").replace('"', "")  # a table that was copied has its name in quotes
            for part in sql.split("\n")
            if part.startswith(("CREATE", "\tCONSTRAINT"))
        )
        for name, sql in rows
        if not name.startswith("alembic")
    }


FIRST_RELEASE = Path(__file__).with_name("revision_0001.sql")


def test_a_database_of_the_first_release_is_upgraded_with_its_rows(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "openngt.db") as connection:
        connection.executescript(FIRST_RELEASE.read_text())
    database = open_database(url(tmp_path))
    with database.engine.connect() as reader:
        assert reader.execute(select(schema.vms.c.vm_name)).scalars().all() == ["first"]
        assert compare_metadata(MigrationContext.configure(reader), schema.metadata) == []
    database.close()
    assert database.identity.cluster_uuid == "0f5e7a54-5a55-4f6a-9a0e-2b2f7f0b7c11"


CERTIFICATE_OF_THE_FIRST_RELEASE = """INSERT INTO certificates VALUES('1f', '6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21',
'7a0cbb55-8f0b-4a0c-9d0b-0d6a44cf3a10', 1, 'bootstrap', 'current', '2026-11-21 07:00:00', '2026-11-22 07:00:00', 'ab',
'2026-11-21 07:00:00')"""


def test_health_starts_empty_in_a_database_of_the_first_release(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "openngt.db") as connection:
        connection.executescript(FIRST_RELEASE.read_text())
        connection.execute(CERTIFICATE_OF_THE_FIRST_RELEASE)
    database = open_database(url(tmp_path))
    rows = HealthRows(database)
    asyncio.run(rows.load())
    assert (rows.policies, rows.spans, rows.alerts) == ({}, {}, {})
    with database.engine.connect() as reader:
        [entry] = [certificate_rows.entry_of(row) for row in reader.execute(select(schema.certificates))]
    database.close()
    assert (entry.kind, entry.state, entry.first_used_at) == ("bootstrap", "current", None)


NEXT_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade() -> None:
    op.add_column("vms", sa.Column("colour", sa.String(8), nullable=False, server_default="grey"))
"""


def test_a_later_revision_keeps_the_rows_and_an_earlier_release_then_refuses(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "openngt.db") as connection:
        connection.executescript(FIRST_RELEASE.read_text())
    revisions = shutil.copytree(migrate.REVISIONS, tmp_path / "migrations")
    head = max(path.stem for path in revisions.glob("versions/v*.py"))[1:5]
    (revisions / "versions/v9999_colour.py").write_text(NEXT_REVISION.format(head=head))
    with create_engine(url(tmp_path)).begin() as connection:
        migrate.upgrade(connection, revisions)
        assert connection.exec_driver_sql("SELECT vm_name, colour FROM vms").all() == [("first", "grey")]
    with pytest.raises(OpenNGTError) as failure:
        open_database(url(tmp_path))
    assert failure.value.code == "SERVICE_CONFLICT"
    assert "9999" in failure.value.message


def test_the_cluster_is_made_up_once_and_another_one_is_refused(tmp_path: Path) -> None:
    first = open_database(url(tmp_path))
    first.close()
    again = open_database(url(tmp_path))
    again.close()
    assert again.identity == first.identity
    assert first.identity.service_name == f"guest-tools.{first.identity.cluster_uuid}"
    with pytest.raises(OpenNGTError) as failure:
        open_database(url(tmp_path), cluster_uuid="11111111-2222-3333-4444-555555555555")
    assert failure.value.code == "CONFIG_INVALID"
    assert failure.value.details["problems"][0]["key"] == "cluster_uuid"


def test_a_given_cluster_is_taken_at_the_first_start(tmp_path: Path) -> None:
    database = open_database(url(tmp_path), cluster_uuid="11111111-2222-3333-4444-555555555555")
    database.close()
    assert database.identity.cluster_uuid == "11111111-2222-3333-4444-555555555555"


def test_the_database_file_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OpenNGTError) as failure:
        open_database(f"sqlite:///{tmp_path / 'missing' / 'openngt.db'}")
    assert failure.value.code == "SERVICE_CONFLICT"


def test_a_damaged_database_is_told_by_name(tmp_path: Path) -> None:
    """F9: a page that was overwritten on the disk is an error with a name, and never read as data."""

    async def main(database: Database) -> None:
        with pytest.raises(OpenNGTError) as failure:
            await database.read(lambda connection: connection.execute(select(schema.tokens)).all())
        assert failure.value.code == "STORE_FAILED"

    open_database(url(tmp_path)).close()
    with sqlite3.connect(tmp_path / "openngt.db") as connection:
        [page] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tokens'").fetchone()
        [size] = connection.execute("PRAGMA page_size").fetchone()
    with (tmp_path / "openngt.db").open("r+b") as stream:
        stream.seek((page - 1) * size)
        stream.write(b"\xff" * size)
    database = open_database(url(tmp_path))
    asyncio.run(main(database))
    database.close()


def test_a_mirror_that_breaks_does_not_leave_the_other_callers_waiting(tmp_path: Path) -> None:
    def breaks(epoch: int) -> None:
        raise AssertionError("a defect in a mirror")

    async def main(database: Database) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        async with asyncio.timeout(PATIENCE_SECONDS):
            writes = [database.write(raise_epoch, committed=breaks), database.write(raise_epoch)]
            assert await asyncio.gather(*writes) == [2, 3]

    database = open_database(url(tmp_path))
    asyncio.run(main(database))
    database.close()
