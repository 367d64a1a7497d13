# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is let in over SSH: keys of each kind, certificates, the ssh-agent, passwords asked for in words, jump hosts."""

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.sshd import PASSWORD, Account, Sshd, generate_key

from openngt.errors import OpenNGTError
from openngt.install.fleet.target import Become, HostKeys, Secret, SshLogin
from openngt.install.transports.ssh import connect

SECONDS = 30
KINDS = ("ed25519", "rsa", "ecdsa")


def let_in(login: SshLogin) -> bool:
    with connect(login) as transport:
        program = transport.start("id -un", elevated=False)
        return program.hear(SECONDS) == login.user.encode()


def refusal(login: SshLogin) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        connect(login)
    assert PASSWORD not in str(caught.value.to_dict()) and PASSWORD not in repr(login)
    return caught.value


def with_key(server: Sshd, key: Path, **changed: Any) -> SshLogin:
    return server.login(**{"password": None, "private_key_file": str(key), **changed})


def encrypt(key: Path, *how: str) -> None:
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-a", "1", *how, "-f", str(key)]
    subprocess.run(change, check=True)


@pytest.fixture(scope="module")
def keys(server: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    found = {kind: generate_key(folder / kind, kind) for kind in KINDS}
    found |= {f"{kind}, encrypted": generate_key(folder / f"{kind}_secret", kind, "open sesame") for kind in KINDS}
    found["rsa, as PEM"] = folder / "rsa_pem"
    shutil.copy(found["rsa"], found["rsa, as PEM"])
    shutil.copy(found["rsa"].with_suffix(".pub"), folder / "rsa_pem.pub")
    change = [
        "ssh-keygen",
        "-q",
        "-p",
        "-P",
        "",
        "-N",
        "open sesame",
        "-m",
        "PEM",
        "-a",
        "1",
        "-f",
        str(found["rsa, as PEM"]),
    ]
    subprocess.run(change, check=True)
    for path in found.values():
        server.authorize("root", path.with_suffix(".pub"))
    return found


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real ssh-agent, without keys."""
    path = tmp_path / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(path)],
        env={**os.environ, "SSH_ASKPASS": "/bin/false"},
        stdout=subprocess.DEVNULL,
    )
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    try:
        while not path.exists():
            assert process.poll() is None
        yield path
    finally:
        process.kill()
        process.wait()


def add_to_agent(*keys: Path) -> None:
    subprocess.run(["ssh-add", "-q", *map(str, keys)], check=True)


@pytest.mark.parametrize("kind", [*KINDS, *(f"{kind}, encrypted" for kind in KINDS), "rsa, as PEM"])
def test_a_key_of_each_kind(server: Sshd, keys: Mapping[str, Path], kind: str) -> None:
    passphrase = Secret("open sesame") if kind.endswith(("encrypted", "PEM")) else None
    assert let_in(with_key(server, keys[kind], passphrase=passphrase))


@pytest.mark.parametrize("kind", ["ed25519, encrypted", "rsa, encrypted", "rsa, as PEM"])
def test_a_wrong_or_missing_passphrase_is_named(server: Sshd, keys: Mapping[str, Path], kind: str) -> None:
    error = refusal(with_key(server, keys[kind], passphrase=Secret("open barley")))
    assert (error.code, "passphrase" in error.message) == ("GUEST_LOGIN_FAILED", True)
    assert "barley" not in str(error.to_dict())
    error = refusal(with_key(server, keys[kind]))
    assert error.code == "GUEST_LOGIN_FAILED" and "no passphrase is given" in error.message


def test_a_key_that_the_guest_does_not_know(server: Sshd, tmp_path: Path) -> None:
    error = refusal(with_key(server, generate_key(tmp_path / "stranger")))
    assert error.code == "GUEST_LOGIN_FAILED" and "stranger" in error.message


def test_the_password_follows_a_key_that_is_not_taken(server: Sshd, tmp_path: Path) -> None:
    assert let_in(with_key(server, generate_key(tmp_path / "stranger"), password=Secret(PASSWORD)))


def test_a_key_file_that_cannot_be_used_is_named_before_anything_is_sent(server: Sshd, tmp_path: Path) -> None:
    assert refusal(with_key(server, tmp_path / "none")).code == "FILE_UNUSABLE"
    assert refusal(with_key(server, tmp_path)).code in ("FILE_UNUSABLE", "CREDENTIALS_EXPOSED")
    open_key = generate_key(tmp_path / "open")
    open_key.chmod(0o644)
    assert refusal(with_key(server, open_key)).code == "CREDENTIALS_EXPOSED"
    text = tmp_path / "text"
    text.touch(0o600)
    text.write_text("no key at all\n")
    assert refusal(with_key(server, text)).code == "GUEST_LOGIN_UNSUPPORTED"


def test_a_key_that_was_replaced_is_read_again(server: Sshd, keys: Mapping[str, Path], tmp_path: Path) -> None:
    path = generate_key(tmp_path / "key")
    assert refusal(with_key(server, path)).code == "GUEST_LOGIN_FAILED"
    path.write_bytes(keys["ed25519"].read_bytes() + b"\n")
    assert let_in(with_key(server, path))


def test_a_certificate_beside_the_key(needs_sshd: None, tmp_path: Path) -> None:
    authority = generate_key(tmp_path / "authority")
    key = generate_key(tmp_path / "key")
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", "root", str(key.with_suffix(".pub"))]
    with Sshd(options={"TrustedUserCAKeys": str(authority.with_suffix(".pub"))}) as server:
        assert refusal(with_key(server, key)).code == "GUEST_LOGIN_FAILED"
        subprocess.run(sign, check=True)
        assert let_in(with_key(server, key))


def test_a_certificate_that_is_not_taken_does_not_hide_its_key(server: Sshd, tmp_path: Path) -> None:
    authority = generate_key(tmp_path / "authority")
    key = generate_key(tmp_path / "key")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", "root", str(key.with_suffix(".pub"))], check=True
    )
    server.authorize("root", key.with_suffix(".pub"))
    assert let_in(with_key(server, key))


@pytest.mark.parametrize("kind", KINDS)
def test_the_agents_keys_are_used(server: Sshd, keys: Mapping[str, Path], agent: Path, kind: str) -> None:
    login = server.login(password=None, use_agent=True)
    assert refusal(login).code == "GUEST_LOGIN_FAILED"
    add_to_agent(keys[kind])
    assert let_in(login)
    assert refusal(dataclasses.replace(login, use_agent=False)).code == "GUEST_LOGIN_FAILED"


def test_an_encrypted_key_file_points_at_the_agents_key(
    server: Sshd, keys: Mapping[str, Path], agent: Path, tmp_path: Path
) -> None:
    """With more keys before it than the server lets anybody try."""
    add_to_agent(*(generate_key(tmp_path / f"key{number}") for number in range(8)), keys["ed25519"])
    encrypted = tmp_path / "id"
    shutil.copy(keys["ed25519"], encrypted)
    shutil.copy(keys["ed25519"].with_suffix(".pub"), tmp_path / "id.pub")
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-a", "1", "-f", str(encrypted)], check=True
    )
    assert let_in(with_key(server, encrypted, use_agent=True))


def test_an_agent_with_many_keys_leaves_room_for_the_password(server: Sshd, agent: Path, tmp_path: Path) -> None:
    add_to_agent(*(generate_key(tmp_path / f"key{number}") for number in range(8)))
    assert let_in(server.login(use_agent=True))


def test_an_agent_that_is_gone_is_no_agent(server: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nobody"))
    assert let_in(server.login(use_agent=True))


def test_an_agent_that_does_not_sign_is_named(server: Sshd, keys: Mapping[str, Path], agent: Path) -> None:
    """`-c`: the agent would ask a person, and no person is there."""
    subprocess.run(["ssh-add", "-q", "-c", str(keys["ed25519"])], check=True)
    error = refusal(server.login(password=None, use_agent=True))
    assert error.code == "GUEST_LOGIN_FAILED" and "ssh-agent" in error.message


def test_a_password_that_is_asked_for_in_words(needs_sshd: None) -> None:
    """PAM asks, as many distributions are set up."""
    pam = {"UsePAM": "yes", "PasswordAuthentication": "no", "KbdInteractiveAuthentication": "yes"}
    with Sshd(options=pam) as server:
        assert let_in(server.login("plain"))
        error = refusal(server.login("plain", password=Secret("battery staple")))
        assert error.code == "GUEST_LOGIN_FAILED" and "keyboard-interactive" in error.message
        # PAM would take a new password from whoever answers all that it asks.
        before = (server.folder / "shadow").read_text()
        assert refusal(server.login("stale")).code == "GUEST_LOGIN_FAILED"
        assert (server.folder / "shadow").read_text() == before


def test_a_key_and_a_password_where_both_are_wanted(needs_sshd: None, tmp_path: Path) -> None:
    key = generate_key(tmp_path / "key")
    with Sshd(options={"AuthenticationMethods": "publickey,password"}) as server:
        server.authorize("root", key.with_suffix(".pub"))
        assert let_in(with_key(server, key, password=Secret(PASSWORD)))
        error = refusal(with_key(server, key))
        assert error.code == "GUEST_LOGIN_FAILED" and error.details["offered"] == ["password"]


def test_a_server_that_has_enough_says_so(needs_sshd: None, tmp_path: Path) -> None:
    with Sshd(options={"MaxAuthTries": "1"}) as server:
        error = refusal(with_key(server, generate_key(tmp_path / "key"), password=Secret("battery staple")))
    assert error.code == "GUEST_LOGIN_FAILED"
    assert "Too many authentication failures" in error.message


def test_a_password_that_is_not_taken_at_all(needs_sshd: None) -> None:
    with Sshd(options={"PasswordAuthentication": "no"}) as server:
        error = refusal(server.login())
    assert error.code == "GUEST_LOGIN_FAILED"
    assert "not the password, which it does not take; it takes publickey" in error.message


@pytest.mark.parametrize("bad", ["line\nend", "nul\0", "half \ud800"])
@pytest.mark.parametrize("field", ["user", "host", "password", "passphrase", "become"])
def test_what_can_be_in_no_login_is_named_and_not_shown(field: str, bad: str) -> None:
    """T30."""
    values: dict[str, Any] = {field: Secret(bad), "become": Become(password=Secret(bad)), "user": bad, "host": bad}
    login = dataclasses.replace(SshLogin("192.0.2.7"), **{field: values[field]})
    with pytest.raises(OpenNGTError) as caught:
        connect(login)
    assert caught.value.code == "INVALID_INPUT" and field in caught.value.message
    assert field in ("user", "host") or bad not in str(caught.value.to_dict())


def test_a_user_that_is_not_there_or_has_a_missing_shell(needs_sshd: None) -> None:
    with Sshd(accounts=(Account("broken", shell="/bin/none"),)) as server:
        assert refusal(server.login("nobody-at-all")).code == "GUEST_LOGIN_FAILED"
        assert refusal(server.login("broken")).code == "GUEST_LOGIN_FAILED"


def test_jump_hosts_are_gone_through_one_after_the_other(server: Sshd) -> None:
    first = server.login("plain")
    second = server.login("trusted", jump=first)
    assert let_in(server.login("asked", jump=second))


def test_each_jump_host_is_verified(server: Sshd, tmp_path: Path) -> None:
    stranger = server.login("plain", host_keys=HostKeys(files=(str(tmp_path / "empty"),)))
    error = refusal(server.login(jump=stranger))
    assert error.code == "HOST_KEY_UNKNOWN"
    error = refusal(server.login(jump=server.login("plain"), host_keys=stranger.host_keys))
    assert error.code == "HOST_KEY_UNKNOWN" and "through" in error.message


def test_what_a_jump_host_cannot_do_is_told(server: Sshd) -> None:
    jump = server.login("plain")
    error = refusal(server.login(jump=jump, port=1))
    assert error.code == "GUEST_UNREACHABLE" and "jump host" in error.message
    with Sshd(options={"AllowTcpForwarding": "no"}) as closed:
        error = refusal(server.login(jump=closed.login()))
    assert error.code == "GUEST_LOGIN_UNSUPPORTED" and "AllowTcpForwarding" in error.message
