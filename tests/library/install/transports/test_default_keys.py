# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys that `ssh` tries by itself: a fleet whose inventory names no key gets in as it does with Ansible."""

from pathlib import Path

import pytest
from tests.fakes.sshd import Sshd, generate_key
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt.errors import OpenNGTError
from openngt.install.transports.ssh import connect


@pytest.fixture
def ssh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """~/.ssh of a person without an ssh-agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    return folder


def test_a_default_key_is_tried_when_none_is_named(server: Sshd, ssh_folder: Path) -> None:
    generate_key(ssh_folder / "id_rsa", "rsa", "one that nobody gives")
    generate_key(ssh_folder / "id_ed25519")
    server.authorize("trusted", ssh_folder / "id_ed25519.pub")
    with connect(server.login("trusted", password=None, default_keys=True)) as transport:
        assert transport.start("id -un", elevated=False).hear(PATIENCE_SECONDS) == b"trusted"
    with pytest.raises(OpenNGTError) as caught:
        connect(server.login("trusted", password=None))
    assert caught.value.code == "GUEST_LOGIN_FAILED", "and only when asked for"


def test_a_named_key_is_the_only_one(server: Sshd, ssh_folder: Path) -> None:
    generate_key(ssh_folder / "id_ed25519")
    server.authorize("trusted", ssh_folder / "id_ed25519.pub")
    other = generate_key(ssh_folder / "other")
    with pytest.raises(OpenNGTError) as caught:
        connect(server.login("trusted", password=None, default_keys=True, private_key_file=str(other)))
    assert caught.value.code == "GUEST_LOGIN_FAILED"
