# SPDX-License-Identifier: GPL-3.0-or-later
"""Health: policies, history, alerts, reports, identities seen twice; and when a certificate was first used."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("certificates", sa.Column("first_used_at", sa.DateTime(timezone=True), nullable=True))
