# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ends of the format meet: the agent takes what we author, and refuses what we would call wrong."""

import datetime
import hashlib
from pathlib import Path

import pytest

from openngt.agent.errors import AgentError
from openngt.agent.verify import Trust, is_tools_disc, read_agent, read_disc, verify, verify_files
from openngt.iso.layout import AGENT
from openngt.iso.payload import tools_payload
from openngt.iso.template import Template, ensure_template
from openngt.pki.authority import Authority

from .conftest import DAY, NGT_UUID, VM_UUID, MakeIso, tool


def disc_of(iso: Path, folder: Path) -> str:
    """The files of an ISO as a guest sees them, read by a program that is not ours."""
    copied = tool(
        "xorriso", "-osirrox", "on", "-indev", str(iso), "-extract", "/", str(folder), "-chmod_r", "u+rwX", "--"
    )
    assert folder.is_dir(), copied.stderr
    return str(folder)


@pytest.fixture(scope="session")
def real_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return ensure_template(tmp_path_factory.mktemp("templates"), tools_payload())


def test_the_agent_takes_a_tools_iso(
    make_iso: MakeIso, real_template: Template, authority: Authority, tmp_path: Path
) -> None:
    folder = disc_of(make_iso(template=real_template).path, tmp_path / "disc")
    assert is_tools_disc(folder)
    found = verify(read_disc(folder), Trust(VM_UUID, None, authority.ca_sha256))
    assert (found.manifest.generation, found.manifest.ngt_uuid, found.trusted_by) == (3, NGT_UUID, "fingerprint")
    verify_files(folder, found.manifest)
    agent = read_agent(folder, found.manifest)
    [payload] = [file for file in tools_payload() if file.entry.path == AGENT]
    assert hashlib.sha256(agent).hexdigest() == payload.entry.sha256


def test_the_agent_takes_a_config_only_iso(
    make_iso: MakeIso, config_template: Template, authority: Authority, tmp_path: Path
) -> None:
    folder = disc_of(make_iso(template=config_template).path, tmp_path / "disc")
    found = verify(read_disc(folder), Trust(VM_UUID, None, authority.ca_sha256))
    assert found.manifest.kind == "config"
    verify_files(folder, found.manifest)


@pytest.mark.parametrize(
    ("vm_uuid", "ca_sha256", "later", "code"),
    [
        (NGT_UUID, None, datetime.timedelta(0), "DISC_OF_ANOTHER_VM"),
        (VM_UUID, "0" * 64, datetime.timedelta(0), "DISC_UNTRUSTED"),
        (VM_UUID, None, 2 * DAY, "DISC_EXPIRED"),
    ],
)
def test_the_agent_refuses(
    make_iso: MakeIso,
    authority: Authority,
    now: datetime.datetime,
    tmp_path: Path,
    vm_uuid: str,
    ca_sha256: str | None,
    later: datetime.timedelta,
    code: str,
) -> None:
    folder = disc_of(make_iso().path, tmp_path / "disc")
    with pytest.raises(AgentError) as caught:
        verify(
            read_disc(folder),
            Trust(vm_uuid, None, ca_sha256 or authority.ca_sha256),
            now=(now + later).timestamp(),
        )
    assert caught.value.code == code
