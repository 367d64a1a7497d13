# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables. SQL that SQLite and PostgreSQL both understand; a change here needs a revision in `migrations/`."""

import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    text,
)
from sqlalchemy.types import TypeDecorator

__all__ = [
    "Utc",
    "audit",
    "certificates",
    "customizations",
    "health_alerts",
    "health_days",
    "health_policies",
    "health_reports",
    "health_spans",
    "idempotency",
    "identity_sightings",
    "links",
    "metadata",
    "mounts",
    "service",
    "tasks",
    "tokens",
    "vms",
]


class Utc(TypeDecorator[datetime.datetime]):
    """An aware UTC time. SQLite keeps no zone, so what comes back is given one; a naive time is a defect."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "times in the database are aware"
        return value.astimezone(datetime.UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime.datetime | None:
        if value is None:
            return None
        time: datetime.datetime = value
        return time.replace(tzinfo=datetime.UTC) if time.tzinfo is None else time.astimezone(datetime.UTC)


# Named constraints, so that a migration can drop them on every database.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

service = Table(
    "service",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single"), primary_key=True, autoincrement=False),
    Column("cluster_uuid", String(36), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("created", Utc, nullable=False),
    # The audit chain's end stands outside the chain, so that cutting off its tail is seen.
    Column("audit_sequence", BigInteger, nullable=False),
    Column("audit_hash", String(64), nullable=False),
)

vms = Table(
    "vms",
    metadata,
    Column("vm_uuid", String(36), primary_key=True),
    Column("vm_name", String(255), nullable=False),
    Column("ngt_uuid", String(36), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("vss_snapshot", Boolean, nullable=False),
    Column("self_service_restore", Boolean, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("enrolled_at", Utc, nullable=False),
    Index("ix_vms_vm_name", "vm_name"),
)

links = Table(
    "links",
    metadata,
    Column("vm_uuid", String(36), primary_key=True),
    Column("agent_version", String(64)),
    Column("status", JSON(none_as_null=True)),
    Column("since", Utc),
    Column("peer", String(255)),
    Column("last_seen", Utc),
    Column("refusal_reason", String(32)),
    Column("refusal_at", Utc),
)

certificates = Table(
    "certificates",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("vm_uuid", String(36), nullable=False),
    Column("ngt_uuid", String(36), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("not_before", Utc, nullable=False),
    Column("not_after", Utc, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("issued_at", Utc, nullable=False),
    Column("first_used_at", Utc),
    # Null: not written down; it is that of the CA which was alone when the next one was prepared.
    Column("ca_sha256", String(64)),
    # The CA that agents are given to trust beside that one, ahead of a rollover.
    Column("next_ca_sha256", String(64)),
    CheckConstraint("state IN ('next', 'current', 'retired', 'revoked')", name="state"),
    Index("ix_certificates_vm_uuid", "vm_uuid"),
    Index("ix_certificates_not_after", "not_after"),
    # The database itself holds the promise: one `next` and one `current` for each VM.
    Index(
        "uq_certificates_next",
        "vm_uuid",
        unique=True,
        sqlite_where=text("state = 'next'"),
        postgresql_where=text("state = 'next'"),
    ),
    Index(
        "uq_certificates_current",
        "vm_uuid",
        unique=True,
        sqlite_where=text("state = 'current'"),
        postgresql_where=text("state = 'current'"),
    ),
)

mounts = Table(
    "mounts",
    metadata,
    Column("vm_uuid", String(36), primary_key=True),
    Column("phase", String(16), nullable=False),
    Column("drive", String(64), nullable=False),
    Column("config_only", Boolean, nullable=False),
    Column("holder", String(255), nullable=False),
    Column("since", Utc, nullable=False),
    Column("lease_ends", Utc, nullable=False),
    # Known once the certificate is issued.
    Column("generation", Integer),
    Column("serial", String(40)),
    Column("expires", Utc),
    # What the certificate shall live that follows the disc's; null: as the settings say.
    Column("validity_days", Integer),
    CheckConstraint("phase IN ('preparing', 'mounted', 'ejecting')", name="phase"),
)

# What VMs are given at their first boot: what became of it, and never what it was.
customizations = Table(
    "customizations",
    metadata,
    Column("vm_uuid", String(36), primary_key=True),
    Column("vm_name", String(255), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("format", String(16), nullable=False),
    Column("instance_id", String(128), nullable=False),
    Column("digest", String(64), nullable=False),
    # Of what the guest's report has to hold to be this disc's.
    Column("nonce_sha256", String(64), nullable=False),
    Column("wait_seconds", Integer, nullable=False),
    Column("requested_at", Utc, nullable=False),
    Column("drive", String(64)),
    # Which life of the VM's process the disc was put into, and which boot the guest was in then.
    Column("run", String(128)),
    Column("boot_id", String(128)),
    Column("started_at", Utc),
    Column("deadline", Utc),
    Column("finished_at", Utc),
    Column("code", String(64)),
    Column("message", String(4096)),
    Column("details", JSON(none_as_null=True)),
    CheckConstraint("phase IN ('preparing', 'inserted', 'ending', 'clean')", name="phase"),
    CheckConstraint("state IN ('pending', 'running', 'done', 'failed', 'timed_out')", name="state"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("task_id", String(32), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("vm_uuid", String(36)),
    Column("actor", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("step", String(255), nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("created", Utc, nullable=False),
    Column("updated", Utc, nullable=False),
    # The task that it is a part of.
    Column("parent", String(32)),
    # What was asked, for a task that goes on after a restart.
    Column("request", JSON(none_as_null=True)),
    # Who has asked that it ends before its time; set while its last parts are still at work.
    Column("cancelled_by", String(128)),
    CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'interrupted', 'cancelled')", name="state"),
    Index("ix_tasks_vm_uuid", "vm_uuid"),
    Index("ix_tasks_created", "created"),
    Index("ix_tasks_parent", "parent"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("actor", String(128), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("request_sha256", String(64), nullable=False),
    Column("task_id", String(32), nullable=False),
    Column("created", Utc, nullable=False),
    Index("ix_idempotency_created", "created"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("secret_sha256", String(64), nullable=False),
    Column("created", Utc, nullable=False),
    CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
)

audit = Table(
    "audit",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Utc, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("verb", String(64), nullable=False),
    Column("vm_uuid", String(36)),
    Column("result", String(64), nullable=False),
    Column("details", JSON, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

# Where somebody came with an identity that another machine uses; one row for each VM and kind of sighting.
identity_sightings = Table(
    "identity_sightings",
    metadata,
    Column("vm_uuid", String(36), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("serial", String(40), nullable=False),
    Column("peer", String(255), nullable=False),
    Column("other_peer", String(255), nullable=False),
    Column("first_seen", Utc, nullable=False),
    Column("last_seen", Utc, nullable=False),
    Column("times", Integer, nullable=False),
)

# What somebody has changed; a check without a row has its defaults.
health_policies = Table(
    "health_policies",
    metadata,
    Column("check_name", String(64), primary_key=True),
    Column("enabled", Boolean, nullable=False),
    Column("alert_from", String(4), nullable=False),
    Column("thresholds", JSON, nullable=False),
    Column("updated", Utc, nullable=False),
    Column("actor", String(128), nullable=False),
)

# History as what was not PASS, from when until when: rows are written for changes alone. A day on which the check ran
# and no span of an entity lies was a PASS for it.
health_spans = Table(
    "health_spans",
    metadata,
    Column("check_name", String(64), primary_key=True),
    Column("entity", String(64), primary_key=True),
    Column("since", Utc, primary_key=True),
    Column("state", String(4), nullable=False),
    Column("until", Utc),
    Index("ix_health_spans_entity", "entity"),
    Index("ix_health_spans_until", "until"),
)

health_days = Table(
    "health_days",
    metadata,
    Column("check_name", String(64), primary_key=True),
    Column("day", Date, primary_key=True),
)

health_alerts = Table(
    "health_alerts",
    metadata,
    Column("alert_id", String(32), primary_key=True),
    Column("check_name", String(64), nullable=False),
    Column("entity", String(64), nullable=False),
    Column("vm_uuid", String(36)),
    Column("vm_name", String(255)),
    Column("severity", String(4), nullable=False),
    Column("message", String(1024), nullable=False),
    Column("state", String(16), nullable=False),
    Column("occurrences", Integer, nullable=False),
    Column("raised_at", Utc, nullable=False),
    Column("changed_at", Utc, nullable=False),
    Column("acknowledged_at", Utc),
    Column("acknowledged_by", String(128)),
    Column("note", String(1024)),
    Column("resolved_at", Utc),
    CheckConstraint("state IN ('raised', 'acknowledged', 'resolved')", name="state"),
    Index("ix_health_alerts_raised_at", "raised_at"),
    # The database itself holds the promise: what is wrong once is alerted once.
    Index(
        "uq_health_alerts_open",
        "check_name",
        "entity",
        unique=True,
        sqlite_where=text("state <> 'resolved'"),
        postgresql_where=text("state <> 'resolved'"),
    ),
)

health_reports = Table(
    "health_reports",
    metadata,
    Column("task_id", String(32), primary_key=True),
    Column("created", Utc, nullable=False),
    Column("report", JSON, nullable=False),
)
