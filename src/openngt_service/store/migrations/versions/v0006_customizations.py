# SPDX-License-Identifier: GPL-3.0-or-later
"""What VMs are given at their first boot, and what became of it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "customizations",
        sa.Column("vm_uuid", sa.String(length=36), nullable=False),
        sa.Column("vm_name", sa.String(length=255), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("instance_id", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("nonce_sha256", sa.String(length=64), nullable=False),
        sa.Column("wait_seconds", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("drive", sa.String(length=64), nullable=True),
        sa.Column("run", sa.String(length=128), nullable=True),
        sa.Column("boot_id", sa.String(length=128), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("message", sa.String(length=4096), nullable=True),
        sa.Column("details", sa.JSON(), nullable=True),
        sa.CheckConstraint(
            "phase IN ('preparing', 'inserted', 'ending', 'clean')", name=op.f("ck_customizations_phase")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'running', 'done', 'failed', 'timed_out')", name=op.f("ck_customizations_state")
        ),
        sa.PrimaryKeyConstraint("vm_uuid", name=op.f("pk_customizations")),
    )
