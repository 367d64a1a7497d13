-- What the first release wrote, with one VM. Never changed: it stands for every database out there.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE audit (
	sequence BIGINT NOT NULL, 
	at DATETIME NOT NULL, 
	actor VARCHAR(128) NOT NULL, 
	verb VARCHAR(64) NOT NULL, 
	vm_uuid VARCHAR(36), 
	result VARCHAR(64) NOT NULL, 
	details JSON NOT NULL, 
	previous VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (sequence)
);
CREATE TABLE certificates (
	serial VARCHAR(40) NOT NULL, 
	vm_uuid VARCHAR(36) NOT NULL, 
	ngt_uuid VARCHAR(36) NOT NULL, 
	generation INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	not_before DATETIME NOT NULL, 
	not_after DATETIME NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	issued_at DATETIME NOT NULL, 
	CONSTRAINT pk_certificates PRIMARY KEY (serial), 
	CONSTRAINT ck_certificates_state CHECK (state IN ('next', 'current', 'retired', 'revoked'))
);
CREATE TABLE idempotency (
	actor VARCHAR(128) NOT NULL, 
	"key" VARCHAR(128) NOT NULL, 
	request_sha256 VARCHAR(64) NOT NULL, 
	task_id VARCHAR(32) NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_idempotency PRIMARY KEY (actor, "key")
);
CREATE TABLE links (
	vm_uuid VARCHAR(36) NOT NULL, 
	agent_version VARCHAR(64), 
	status JSON, 
	since DATETIME, 
	peer VARCHAR(255), 
	last_seen DATETIME, 
	refusal_reason VARCHAR(32), 
	refusal_at DATETIME, 
	CONSTRAINT pk_links PRIMARY KEY (vm_uuid)
);
CREATE TABLE mounts (
	vm_uuid VARCHAR(36) NOT NULL, 
	phase VARCHAR(16) NOT NULL, 
	drive VARCHAR(64) NOT NULL, 
	config_only BOOLEAN NOT NULL, 
	holder VARCHAR(255) NOT NULL, 
	since DATETIME NOT NULL, 
	lease_ends DATETIME NOT NULL, 
	generation INTEGER, 
	serial VARCHAR(40), 
	expires DATETIME, 
	CONSTRAINT pk_mounts PRIMARY KEY (vm_uuid), 
	CONSTRAINT ck_mounts_phase CHECK (phase IN ('preparing', 'mounted', 'ejecting'))
);
CREATE TABLE service (
	id INTEGER NOT NULL CONSTRAINT ck_service_single CHECK (id = 1), 
	cluster_uuid VARCHAR(36) NOT NULL, 
	epoch INTEGER NOT NULL, 
	created DATETIME NOT NULL, 
	audit_sequence BIGINT NOT NULL, 
	audit_hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_service PRIMARY KEY (id)
);
INSERT INTO "service" VALUES(1,'0f5e7a54-5a55-4f6a-9a0e-2b2f7f0b7c11',1,'2026-11-21 07:00:00.000000',0,'0000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE tasks (
	task_id VARCHAR(32) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	vm_uuid VARCHAR(36), 
	actor VARCHAR(128) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	progress INTEGER NOT NULL, 
	step VARCHAR(255) NOT NULL, 
	result JSON, 
	error JSON, 
	created DATETIME NOT NULL, 
	updated DATETIME NOT NULL, 
	CONSTRAINT pk_tasks PRIMARY KEY (task_id), 
	CONSTRAINT ck_tasks_state CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'interrupted'))
);
CREATE TABLE tokens (
	name VARCHAR(128) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	secret_sha256 VARCHAR(64) NOT NULL, 
	created DATETIME NOT NULL, 
	CONSTRAINT pk_tokens PRIMARY KEY (name), 
	CONSTRAINT ck_tokens_role CHECK (role IN ('viewer', 'operator', 'admin'))
);
CREATE TABLE vms (
	vm_uuid VARCHAR(36) NOT NULL, 
	vm_name VARCHAR(255) NOT NULL, 
	ngt_uuid VARCHAR(36) NOT NULL, 
	enabled BOOLEAN NOT NULL, 
	vss_snapshot BOOLEAN NOT NULL, 
	self_service_restore BOOLEAN NOT NULL, 
	generation INTEGER NOT NULL, 
	enrolled_at DATETIME NOT NULL, 
	CONSTRAINT pk_vms PRIMARY KEY (vm_uuid)
);
INSERT INTO "vms" VALUES('6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21','first','7a0cbb55-8f0b-4a0c-9d0b-0d6a44cf3a10',1,1,0,1,'2026-11-21 07:00:00.000000');
CREATE INDEX ix_vms_vm_name ON vms (vm_name);
CREATE INDEX ix_certificates_not_after ON certificates (not_after);
CREATE INDEX ix_certificates_vm_uuid ON certificates (vm_uuid);
CREATE UNIQUE INDEX uq_certificates_current ON certificates (vm_uuid) WHERE state = 'current';
CREATE UNIQUE INDEX uq_certificates_next ON certificates (vm_uuid) WHERE state = 'next';
CREATE INDEX ix_tasks_created ON tasks (created);
CREATE INDEX ix_tasks_vm_uuid ON tasks (vm_uuid);
CREATE INDEX ix_idempotency_created ON idempotency (created);
COMMIT;
