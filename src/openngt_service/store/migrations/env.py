# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by Alembic, by path, for each upgrade; `..migrate` hands over the connection and its transaction."""

from alembic import context
from sqlalchemy import Connection

from openngt_service.store.schema import metadata

connection: Connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata)
context.run_migrations()
