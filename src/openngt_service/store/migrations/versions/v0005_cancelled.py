# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that were ended before their time, and who asked for it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # SQLite cannot change a check: Alembic copies the table, its rows and its indexes.
    with op.batch_alter_table("tasks") as tasks:
        tasks.add_column(sa.Column("cancelled_by", sa.String(length=128)))
        tasks.drop_constraint(op.f("ck_tasks_state"), type_="check")
        tasks.create_check_constraint(
            op.f("ck_tasks_state"),
            "state IN ('queued', 'running', 'succeeded', 'failed', 'interrupted', 'cancelled')",
        )
