# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a database to this release's tables; the revisions travel in the wheel."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from openngt.errors import OpenNGTError

__all__ = ["REVISIONS", "configuration", "upgrade"]

REVISIONS = Path(__file__).with_name("migrations")


def configuration(connection: Connection, revisions: Path = REVISIONS) -> Config:
    """Alembic's settings for work on an open connection: the caller owns the transaction."""
    settings = Config()
    # Alembic expands % in option values.
    settings.set_main_option("script_location", str(revisions).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings


def upgrade(connection: Connection, revisions: Path = REVISIONS) -> None:
    """Upgrade to the newest revision inside the caller's transaction: after a crash it is the old schema or the new.

    Raises SERVICE_CONFLICT when a newer release has written the database.
    """
    settings = configuration(connection, revisions)
    at = MigrationContext.configure(connection).get_current_revision()
    newest = ScriptDirectory.from_config(settings).get_current_head()
    if at == newest:
        return
    try:
        command.upgrade(settings, "head")
    except CommandError as exc:
        raise OpenNGTError(
            "SERVICE_CONFLICT",
            f"the database is at revision {at}, which this release does not know (it knows up to {newest})",
            remedy="start the release that wrote the database, or a newer one",
        ) from exc
