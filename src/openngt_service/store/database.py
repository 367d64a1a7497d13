# SPDX-License-Identifier: GPL-3.0-or-later
"""The database: many readers, one writer thread that commits what has queued up in one transaction.

An fsync costs the same for one row and for a hundred, so under load writes share it; alone, a write waits for nobody.
"""

import asyncio
import datetime
import queue
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from openngt import effects
from openngt.errors import OpenNGTError

from . import schema
from .migrate import upgrade

__all__ = ["GENESIS", "Database", "ServiceIdentity", "open_database"]

T = TypeVar("T")
log = structlog.get_logger(__name__)

READERS = 4
MAXIMUM_GROUP = 512
BUSY_TIMEOUT_MS = 10_000
LEAST_TO_OPEN = 256 * 1024
POSTGRESQL_DISK_FULL = "53100"

GENESIS = "0" * 64
"""What the first row of the audit chain follows."""


@dataclass(frozen=True)
class ServiceIdentity:
    """Who this service is, for its whole life: made up once, at the first start."""

    cluster_uuid: str
    epoch: int

    @property
    def service_name(self) -> str:
        """The DNS name in the gateway's certificate, which agents verify instead of an address."""
        return f"guest-tools.{self.cluster_uuid}"


@dataclass
class _Write:
    function: Callable[[Connection], Any]
    committed: Callable[[Any], None] | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Database:
    """Opened by `open_database`. `write` and `read` are for the event loop; what they are given runs in threads."""

    def __init__(self, engine: Engine, identity: ServiceIdentity) -> None:
        self.engine = engine
        self.identity = identity
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._writer = threading.Thread(target=self._run_writer, name="store-writer", daemon=True)
        self._writer.start()

    async def write(self, function: Callable[[Connection], T], *, committed: Callable[[T], None] | None = None) -> T:
        """Run `function` in its own savepoint and return its result once it is committed and on the disk.

        `committed` runs on the event loop after the commit, in commit order, even when the caller has been cancelled
        meanwhile: what mirrors the database in memory belongs there. A failure of `function` fails this write alone.

        Raises what `function` raised; NO_SPACE when the disk is full, STORE_FAILED when it or the database fails.
        Nothing of this write is kept then.
        """
        loop = asyncio.get_running_loop()
        write = _Write(function, committed, loop, loop.create_future())
        self._queue.put(write)
        result: T = await write.future
        return result

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Run `function` on a reader connection: it sees everything that was committed before the call."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)

    def close(self) -> None:
        """Commit what is queued, then stop. Idempotent."""
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown()
        self.engine.dispose()

    def _read(self, function: Callable[[Connection], T]) -> T:
        try:
            with self.engine.connect() as connection:
                return function(connection)
        except DBAPIError as exc:
            raise _translated(exc) from exc

    def _run_writer(self) -> None:
        stopping = False
        while not stopping:
            group, stopping = self._next_group()
            if group:
                self._commit(group)
                _answer(group)

    def _next_group(self) -> tuple[list[_Write], bool]:
        group: list[_Write] = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            if len(group) == MAXIMUM_GROUP:
                return group, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Write]) -> None:
        try:
            with self.engine.connect().execution_options(openngt_writer=True) as connection, connection.begin():
                for write in group:
                    _run_in_savepoint(connection, write)
        except DBAPIError as exc:
            # The commit itself failed: nothing of the group is kept, whatever its members have returned.
            error = _translated(exc)
            for write in group:
                write.error = write.error or error


def _run_in_savepoint(connection: Connection, write: _Write) -> None:
    try:
        with connection.begin_nested():
            write.result = write.function(connection)
    except DBAPIError as exc:
        if _transaction_is_lost(connection):
            raise
        write.error = _translated(exc)
    except BaseException as exc:  # noqa: BLE001 - not swallowed: the awaiting caller gets it
        write.error = exc


def _transaction_is_lost(connection: Connection) -> bool:
    """SQLite rolls back a whole transaction by itself on some errors, a full disk among them; what followed in the
    group would then be committed one by one.
    """
    return connection.invalidated or not getattr(connection.connection.dbapi_connection, "in_transaction", True)


def _answer(group: list[_Write]) -> None:
    """Wake each loop once for the whole group; commit order is kept."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Write]] = {}
    for write in group:
        by_loop.setdefault(write.loop, []).append(write)
    for loop, writes in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve_each, loop, writes)
        except RuntimeError:  # the loop was closed: its callers are gone, what they wrote is committed
            log.warning("store_caller_gone", writes=len(writes))


def _resolve_each(loop: asyncio.AbstractEventLoop, writes: list[_Write]) -> None:
    """Each in a call of its own, so that a defect in one `committed` does not leave the other callers waiting."""
    for write in writes:
        loop.call_soon(_resolve, write)


def _resolve(write: _Write) -> None:
    try:
        if write.error is None and write.committed is not None:
            write.committed(write.result)
    finally:
        if write.future.done():
            pass  # the caller was cancelled
        elif write.error is None:
            write.future.set_result(write.result)
        else:
            write.future.set_exception(write.error)


def _translated(error: DBAPIError) -> Exception:
    """NO_SPACE or STORE_FAILED; what tells of the caller's data (a row that exists) or of a defect stays as it is."""
    cause: BaseException | None = error
    while cause is not None:  # a full disk may be hidden behind the rollback that failed after it
        code, state = getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None)
        if code == sqlite3.SQLITE_FULL or state == POSTGRESQL_DISK_FULL:
            return OpenNGTError("NO_SPACE", "the database cannot grow: its file system is full; nothing was changed")
        cause = cause.__cause__ or cause.__context__
    if type(error) in (OperationalError, DatabaseError):
        return OpenNGTError("STORE_FAILED", f"the database failed: {error.orig}")
    return error


def _not_opened(engine: Engine, failure: OperationalError) -> OpenNGTError:
    code, path = getattr(failure.orig, "sqlite_errorcode", None), engine.url.database
    # Of a full disk SQLite says so only once it is open; before, its shared memory fails to be made.
    if code is not None and code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR) and path is not None:
        folder = Path(path).parent
        if shutil.disk_usage(folder).free < LEAST_TO_OPEN:
            return OpenNGTError("NO_SPACE", f"the database cannot be opened: {folder} has no space left")
    return OpenNGTError("SERVICE_CONFLICT", f"the database cannot be opened: {failure.orig}")


def open_database(url: str, *, cluster_uuid: str | None = None) -> Database:
    """Open (create, migrate) the database. Blocking: call it before the event loop runs.

    `cluster_uuid` is taken when the database is new. Raises SERVICE_CONFLICT when the database belongs to a newer
    release or another process holds it, CONFIG_INVALID when it belongs to another cluster, NO_SPACE.
    """
    engine = _engine(url)
    try:
        with engine.connect().execution_options(openngt_writer=True) as connection, connection.begin():
            upgrade(connection)
            identity = _identity(connection, cluster_uuid)
    except OperationalError as exc:
        engine.dispose()
        raise _not_opened(engine, exc) from exc
    except OpenNGTError:
        engine.dispose()
        raise
    return Database(engine, identity)


def _engine(url: str) -> Engine:
    engine = create_engine(make_url(url), poolclass=QueuePool, pool_size=READERS + 1, max_overflow=0)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """The driver's own BEGIN comes too late (before the first write) and would break savepoints: do without."""
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("openngt_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _identity(connection: Connection, wanted: str | None) -> ServiceIdentity:
    row = connection.execute(select(schema.service)).one_or_none()
    if row is None:
        row = connection.execute(
            insert(schema.service).returning(schema.service),
            {
                "id": 1,
                "cluster_uuid": wanted or str(uuid.uuid4()),
                "epoch": 1,
                "created": effects.now().astimezone(datetime.UTC),
                "audit_sequence": 0,
                "audit_hash": GENESIS,
            },
        ).one()
    if wanted is not None and row.cluster_uuid != wanted:
        raise OpenNGTError(
            "CONFIG_INVALID",
            f"cluster_uuid: this database belongs to cluster {row.cluster_uuid}, the settings say {wanted}",
            {"problems": [{"key": "cluster_uuid", "message": f"the database says {row.cluster_uuid}"}]},
        )
    return ServiceIdentity(row.cluster_uuid, row.epoch)
