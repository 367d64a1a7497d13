# SPDX-License-Identifier: GPL-3.0-or-later
"""Health: policies, history, alerts, reports, identities seen twice; and when a certificate was first used."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("certificates", sa.Column("first_used_at", sa.DateTime(timezone=True), nullable=True))
    sightings()
    policies()
    history()
    alerts()
    reports()


def sightings() -> None:
    op.create_table(
        "identity_sightings",
        sa.Column("vm_uuid", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("peer", sa.String(length=255), nullable=False),
        sa.Column("other_peer", sa.String(length=255), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("vm_uuid", "kind", name=op.f("pk_identity_sightings")),
    )


def policies() -> None:
    op.create_table(
        "health_policies",
        sa.Column("check_name", sa.String(length=64), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("alert_from", sa.String(length=4), nullable=False),
        sa.Column("thresholds", sa.JSON(), nullable=False),
        sa.Column("updated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("check_name", name=op.f("pk_health_policies")),
    )


def history() -> None:
    op.create_table(
        "health_spans",
        sa.Column("check_name", sa.String(length=64), nullable=False),
        sa.Column("entity", sa.String(length=64), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=4), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("check_name", "entity", "since", name=op.f("pk_health_spans")),
    )
    op.create_index("ix_health_spans_entity", "health_spans", ["entity"], unique=False)
    op.create_index("ix_health_spans_until", "health_spans", ["until"], unique=False)
    op.create_table(
        "health_days",
        sa.Column("check_name", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("check_name", "day", name=op.f("pk_health_days")),
    )


def alerts() -> None:
    op.create_table(
        "health_alerts",
        sa.Column("alert_id", sa.String(length=32), nullable=False),
        sa.Column("check_name", sa.String(length=64), nullable=False),
        sa.Column("entity", sa.String(length=64), nullable=False),
        sa.Column("vm_uuid", sa.String(length=36), nullable=True),
        sa.Column("vm_name", sa.String(length=255), nullable=True),
        sa.Column("severity", sa.String(length=4), nullable=False),
        sa.Column("message", sa.String(length=1024), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("occurrences", sa.Integer(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=128), nullable=True),
        sa.Column("note", sa.String(length=1024), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('raised', 'acknowledged', 'resolved')", name=op.f("ck_health_alerts_state")),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_health_alerts")),
    )
    op.create_index("ix_health_alerts_raised_at", "health_alerts", ["raised_at"], unique=False)
    op.create_index(
        "uq_health_alerts_open",
        "health_alerts",
        ["check_name", "entity"],
        unique=True,
        sqlite_where=sa.text("state <> 'resolved'"),
        postgresql_where=sa.text("state <> 'resolved'"),
    )


def reports() -> None:
    op.create_table(
        "health_reports",
        sa.Column("task_id", sa.String(length=32), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_health_reports")),
    )
