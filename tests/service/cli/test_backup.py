# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup of a living service and restore: nothing of the backup is lost, nothing of after it is handed out again."""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_client import AgentClient, client_context
from tests.fakes.agents import client_pem_on
from tests.fakes.service import ServiceProcess
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt_service.backup.archive import DATABASE, REQUIRED
from openngt_service.backup.restore import GENERATIONS_SKIPPED

from .conftest import VM, prepared

ROOT = Path(__file__).resolve().parents[3]
STEPS = {
    "backup.restore.staged",
    "backup.restore.marked",
    "backup.restore.set_aside",
    "backup.restore.placed",
}


@dataclass(frozen=True)
class Taken:
    """A backup with one enrolled VM, and the folder of the service whose life went on after it and has ended."""

    file: Path
    folder: Path
    before: dict[str, Any]
    """The VM's record when the backup was taken."""
    late: dict[str, Any]
    """A certificate that the backup does not know."""


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taken]:
    folder = tmp_path_factory.mktemp("taken")
    service, file = prepared(folder), folder / "service.backup"
    service.start()
    try:
        client = service.client()
        client.enable(VM)
        client.issue_batch([{"vm_uuid": VM}])
        before = client.vm(VM)
        done = service.cli("backup", "create", str(file), "--output", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["vms_enrolled"] == 1
        busy = service.cli("restore", str(file), "--replace")
        assert (busy.returncode, "[SERVICE_CONFLICT]" in busy.stderr) == (1, True), "the service runs"
        late = client.issue_batch([{"vm_uuid": VM}])[0]
        client.disable(VM)
    finally:
        assert service.stop() == 0
    yield Taken(file, folder, before, late)


@pytest.fixture
def former(taken: Taken, tmp_path: Path) -> ServiceProcess:
    """The service that the backup was taken of, stopped, with its own copy of the state."""
    shutil.copytree(taken.folder, tmp_path / "former")
    return ServiceProcess(tmp_path / "former")


def enrolled(service: ServiceProcess) -> int:
    """How many VMs the database holds as enabled."""
    with contextlib.closing(sqlite3.connect(service.state_dir / DATABASE)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM vms WHERE enabled").fetchone()
    return int(count)


def elsewhere(tmp_path: Path) -> ServiceProcess:
    """Another host: no state yet."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return prepared(folder)


def test_a_restored_service_goes_on_where_the_backup_was_taken(taken: Taken, tmp_path: Path) -> None:
    other = elsewhere(tmp_path)
    restored = other.cli("restore", str(taken.file), "--output", "json")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["epoch"] == 2
    other.start()
    try:
        client = other.client()
        vm = client.vm(VM)
        assert (vm["ngt_uuid"], vm["certificate"]) == (taken.before["ngt_uuid"], taken.before["certificate"])
        assert client.ca()["ca_sha256"] == json.loads(restored.stdout)["ca_sha256"]
        former_token = (taken.folder / "state/admin.token").read_text(encoding="ascii").strip()
        assert other.token == former_token, "the administrator's token is the one that people have"
        again = client.issue_batch([{"vm_uuid": VM}])[0]
        assert again["generation"] > taken.late["generation"], "no agent is handed what it calls older"
        assert again["generation"] == taken.before["generation"] + GENERATIONS_SKIPPED + 1
        [row] = [row for row in client.audit() if row["verb"] == "service.restore"]
        assert row["details"]["epoch"] == 2
        assert other.cli("audit", "verify").returncode == 0
    finally:
        assert other.stop() == 0


async def comes_back(service: ServiceProcess, late: dict[str, Any], folder: Path) -> int:
    """An agent with a certificate that the backup does not know: refused, and given a disc; generation of that."""
    context, name = service.state_dir / "ca/ca.pem", service.client().ca()["service_name"]
    pem = folder / "agent.pem"
    pem.write_text(late["private_key_pem"] + late["certificate_pem"])
    iso = service.state_dir / "iso" / f"{VM}.iso"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while str(iso) not in service.hypervisor.media():
            agent = await AgentClient.connect(service.gateway_port, client_context(context, pem), name)
            assert await agent.read() is None, "refused, each time"
            await asyncio.sleep(0.5)
    pem.write_bytes(client_pem_on(iso))
    agent = await AgentClient.connect(service.gateway_port, client_context(context, pem), name)
    await agent.start()
    agent.close()
    return int(agent.welcome["generation"])


def test_an_agent_of_a_later_day_is_recovered_by_itself(taken: Taken, tmp_path: Path) -> None:
    """T21 and T2: its certificate stays refused; its VM, and nobody else, gets an identity that is newer than that."""
    other = elsewhere(tmp_path)
    assert other.cli("restore", str(taken.file)).returncode == 0
    other.start()
    try:
        assert asyncio.run(comes_back(other, taken.late, tmp_path)) > taken.late["generation"]
        client = other.client()
        assert client.vm(VM)["link"]["last_refusal"]["reason"] == "unknown_serial"
        assert [task["kind"] for task in client.tasks(VM) if task["kind"] == "recover"] == ["recover"]
    finally:
        assert other.stop() == 0


def test_a_backup_is_one_private_file_and_leaves_nothing_beside_it(taken: Taken) -> None:
    assert stat.S_IMODE(taken.file.stat().st_mode) == 0o600
    beside = [path.name for folder in (taken.folder, taken.folder / "state") for path in folder.iterdir()]
    assert [name for name in beside if "partial" in name or name.startswith(".backup")] == []
    shown = ServiceProcess(taken.folder).cli("backup", "inspect", str(taken.file))
    assert shown.returncode == 0, shown.stderr
    assert "VMs Enrolled : 1" in shown.stdout


def test_what_a_killed_backup_has_left_goes_with_the_next(former: ServiceProcess, tmp_path: Path) -> None:
    left = former.state_dir / ".backup-killed"
    left.mkdir(mode=0o700)
    (left / "openngt.db").write_bytes(b"half of it")
    done = former.cli("backup", "create", str(tmp_path / "next.backup"))
    assert done.returncode == 0, done.stderr
    assert not left.exists()


def test_a_state_that_is_there_is_kept_unless_it_may_be_set_aside(former: ServiceProcess, taken: Taken) -> None:
    refused = former.cli("restore", str(taken.file))
    assert refused.returncode == 1
    assert "openngt.db" in refused.stderr
    assert "--replace" in refused.stderr
    assert enrolled(former) == 0
    done = former.cli("restore", str(taken.file), "--replace")
    assert done.returncode == 0, done.stderr
    [aside] = former.state_dir.glob("replaced-*")
    assert str(aside) in done.stderr
    assert {"openngt.db", "ca", "admin.token", "api.pem"} <= {path.name for path in aside.iterdir()}
    assert enrolled(former) == 1


@pytest.mark.parametrize("step", sorted(STEPS))
def test_a_restore_that_is_killed_is_whole_or_refused_and_runs_again(
    former: ServiceProcess, taken: Taken, step: str
) -> None:
    former.settings["failpoint"] = step
    assert former.command("restore", str(taken.file), "--replace").returncode == -signal.SIGKILL
    del former.settings["failpoint"]
    if step == "backup.restore.staged":
        assert enrolled(former) == 0, "nothing has been touched"
    else:
        assert former.launch().wait(60) == 1
        assert "interrupted" in former.stderr
        assert "openngt restore" in former.stderr
    again = former.cli("restore", str(taken.file), "--replace")
    assert again.returncode == 0, again.stderr
    assert enrolled(former) == 1
    assert not (former.state_dir / "restore.unfinished").exists()
    assert not (former.state_dir / ".restore").exists()


def test_every_step_in_the_code_has_its_case(failpoints: Callable[[Path], set[str]]) -> None:
    assert failpoints(ROOT / "src/openngt_service/backup") == STEPS


def rewritten(backup: Path, target: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    """The backup with each member as `change` makes it; None leaves it out."""
    with tarfile.open(backup) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            stream = old.extractfile(member)
            assert stream is not None
            changed = change(member.name, stream.read())
            if changed is not None:
                info = tarfile.TarInfo(changed[0])
                info.size = len(changed[1])
                new.addfile(info, io.BytesIO(changed[1]))
    return target


@pytest.mark.parametrize("member", REQUIRED)
def test_a_damaged_backup_changes_nothing(taken: Taken, tmp_path: Path, member: str) -> None:
    cases = {
        "altered": lambda name, content: (name, content[:-1] + b"x") if name == member else (name, content),
        "missing": lambda name, content: None if name == member else (name, content),
        "belongs to no backup": lambda name, content: ("../../" + name, content) if name == member else (name, content),
    }
    other = elsewhere(tmp_path)
    for word, change in cases.items():
        bad = rewritten(taken.file, tmp_path / "bad", change)
        for command in (("backup", "inspect"), ("restore",)):
            done = other.cli(*command, str(bad))
            assert (done.returncode, "[BACKUP_DAMAGED]" in done.stderr) == (1, True), done.stderr
            assert word in done.stderr
    assert not (other.state_dir / DATABASE).exists()


@pytest.mark.parametrize("part", [0, 0.001, 0.5, 0.9])
def test_a_backup_that_is_cut_short_is_named(taken: Taken, tmp_path: Path, part: float) -> None:
    cut, whole = tmp_path / "cut", taken.file.read_bytes()
    cut.write_bytes(whole[: int(len(whole) * part)])
    done = elsewhere(tmp_path).cli("restore", str(cut))
    assert (done.returncode, "[BACKUP_DAMAGED]" in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


def forged(content: bytes, folder: Path) -> bytes:
    """The database with one altered row of its audit log."""
    file = folder / "forged.db"
    file.write_bytes(content)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE audit SET actor = 'nobody' WHERE sequence = 1")
    return file.read_bytes()


def test_an_audit_log_that_was_altered_is_not_restored(taken: Taken, tmp_path: Path) -> None:
    with tarfile.open(taken.file) as archive:
        stream = archive.extractfile(DATABASE)
        assert stream is not None
        database = forged(stream.read(), tmp_path)

    def change(name: str, content: bytes) -> tuple[str, bytes]:
        if name == DATABASE:
            return name, database
        if name == "backup.json":
            values = json.loads(content)
            values["files"][DATABASE] = {"size": len(database), "sha256": hashlib.sha256(database).hexdigest()}
            return name, json.dumps(values).encode()
        return name, content

    bad = rewritten(taken.file, tmp_path / "bad", change)
    done = elsewhere(tmp_path).cli("restore", str(bad))
    assert (done.returncode, "audit log: row 1 was altered" in done.stderr) == (1, True), done.stderr


def test_a_backup_goes_through_pipes(former: ServiceProcess, tmp_path: Path) -> None:
    other = elsewhere(tmp_path)
    openngt = str(Path(sys.executable).parent / "openngt")
    with subprocess.Popen([openngt, "backup", "create", "-"], env=former.environment, stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            [openngt, "restore", "-"], env=other.environment, stdin=source.stdout, capture_output=True, check=False
        )
    assert (source.returncode, done.returncode) == (0, 0), done.stderr
    assert (other.state_dir / DATABASE).exists()


def test_where_there_is_no_service_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    done = elsewhere(tmp_path).cli("backup", "create", str(tmp_path / "x"))
    assert (done.returncode, "[INVALID_INPUT]" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a folder of somebody else's")
def test_only_the_owner_of_the_state_touches_it(former: ServiceProcess, taken: Taken, tmp_path: Path) -> None:
    os.chown(former.state_dir, 65534, 65534)
    for command in (("backup", "create", str(tmp_path / "x")), ("restore", str(taken.file))):
        done = former.cli(*command)
        assert (done.returncode, "[PERMISSION_DENIED]" in done.stderr) == (1, True)
        assert "sudo -u nobody" in done.stderr
