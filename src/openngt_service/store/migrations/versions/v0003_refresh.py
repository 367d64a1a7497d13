# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that are parts of others and go on after a restart, and the life of the certificate that follows a disc's."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("parent", sa.String(length=32)))
    op.add_column("tasks", sa.Column("request", sa.JSON()))
    op.create_index("ix_tasks_parent", "tasks", ["parent"])
    op.add_column("mounts", sa.Column("validity_days", sa.Integer()))
