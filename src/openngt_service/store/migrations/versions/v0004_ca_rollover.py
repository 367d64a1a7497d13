# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CA signed a certificate, and which other one was handed to its agent to trust."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("certificates", sa.Column("ca_sha256", sa.String(length=64)))
    op.add_column("certificates", sa.Column("next_ca_sha256", sa.String(length=64)))
