# SPDX-License-Identifier: GPL-3.0-or-later
"""Who vouches for an SSH server; OpenSSH itself reads what we record, and we read what it writes."""

import base64
import multiprocessing
import string
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.small_disk import MAY_MOUNT, SmallDisk
from tests.fakes.sshd import PASSWORD, Sshd

from openngt.errors import OpenNGTError
from openngt.install.fleet.target import HostKeys
from openngt.install.transports import known_hosts
from openngt.install.transports.known_hosts import HostKey
from openngt.install.transports.ssh import connect

KEY = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32)))
OTHER = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32))


def encoded(key: HostKey) -> str:
    return f"{key.kind} {base64.b64encode(key.blob).decode()}"


def verdict(text: str, host: str, port: int = 22, key: HostKey = KEY) -> bool | str:
    try:
        return known_hosts.judge(known_hosts.find(known_hosts.parse(text, "file"), host, port), key, host, port)
    except OpenNGTError as exc:
        return exc.code


def refusal(server: Sshd, keys: HostKeys, **changed: object) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        connect(server.login(host_keys=keys, **changed))
    return caught.value


def ssh(server: Sshd, known: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The real client's verdict about the host; it may not log in, only get as far as the login."""
    own = [
        "-oIdentityFile=none",
        "-oIdentityAgent=none",
        f"-oUserKnownHostsFile={known}",
        "-oGlobalKnownHostsFile=none",
    ]
    how = [*options, "-oStrictHostKeyChecking=yes", "-oBatchMode=yes", *own, "-p", str(server.port)]
    command = ["ssh", "-F", "none", *how, f"root@{server.host}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def found_by_ssh_keygen(name: str, known: Path) -> bool:
    command = ["ssh-keygen", "-F", name, "-f", str(known)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("line", "host", "port", "expected"),
    [
        (f"web1 {encoded(KEY)}", "web1", 22, True),
        (f"web1 {encoded(KEY)} a comment", "WEB1", 22, True),
        (f"WEB1 {encoded(KEY)}", "web1", 22, True),
        (f"web1 {encoded(KEY)}", "web2", 22, False),
        (f"web2,web1,192.0.2.7 {encoded(KEY)}", "192.0.2.7", 22, True),
        (f"web1 {encoded(OTHER)}", "web1", 22, "HOST_KEY_CHANGED"),
        (f"web1 {encoded(OTHER)}\nweb1 {encoded(KEY)}", "web1", 22, True),
        (f"[web1]:2222 {encoded(KEY)}", "web1", 2222, True),
        (f"[web1]:2222 {encoded(OTHER)}", "web1", 2222, "HOST_KEY_CHANGED"),
        (f"[web1]:2222 {encoded(OTHER)}", "web1", 22, False),
        (f"web1 {encoded(KEY)}", "web1", 2222, True),
        (f"web1 {encoded(OTHER)}", "web1", 2222, False),
        (f"*.example.org {encoded(KEY)}", "web1.example.org", 22, True),
        (f"web? {encoded(KEY)}", "web12", 22, False),
        (f"*.example.org,!web1.example.org {encoded(KEY)}", "web1.example.org", 22, False),
        (f"[*]:2222 {encoded(KEY)}", "web1", 2222, True),
        (f"2001:db8::1 {encoded(KEY)}", "2001:DB8::1", 22, True),
        (f"[2001:db8::1]:2222 {encoded(KEY)}", "2001:db8::1", 2222, True),
        (f"@revoked * {encoded(KEY)}\nweb1 {encoded(KEY)}", "web1", 22, "HOST_KEY_CHANGED"),
        (f"@revoked web1 {encoded(OTHER)}\nweb1 {encoded(KEY)}", "web1", 22, True),
        (f"@revoked web1 {encoded(KEY)}", "web1", 2222, "HOST_KEY_CHANGED"),
        (f"@cert-authority web1 {encoded(KEY)}", "web1", 22, False),
        (f"@cert-authority web1 {encoded(OTHER)}", "web1", 22, False),
        (f"@unheard web1 {encoded(KEY)}", "web1", 22, False),
        (f"# web1 {encoded(KEY)}", "web1", 22, False),
        (f"web1 ssh-rsa {base64.b64encode(KEY.blob).decode()}", "web1", 22, False),
        ("web1 ssh-ed25519 AAA", "web1", 22, False),
        ("web1", "web1", 22, False),
    ],
)
def test_a_line_is_read_as_ssh_reads_it(line: str, host: str, port: int, expected: bool | str) -> None:
    assert verdict(line, host, port) == expected


@pytest.mark.parametrize("name", ["web1.example.org", "192.0.2.7", "[web1]:2222", "2001:db8::1"])
def test_names_that_ssh_keygen_has_hashed(tmp_path: Path, name: str) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"{name} {encoded(KEY)}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(known)], check=True, capture_output=True)
    text = known.read_text()
    assert name not in text
    host, port = (name[1:].split("]:")[0], 2222) if name.startswith("[") else (name, 22)
    assert verdict(text, host, port) is True
    assert verdict(text, "another", port) is False


HOSTS = st.text(string.ascii_lowercase + string.digits + "-.:*?!,|[]", min_size=1, max_size=30)


@given(st.text(max_size=300), HOSTS)
def test_no_text_breaks_the_reader(text: str, host: str) -> None:
    assert verdict(text, host) is False


@given(
    st.lists(st.tuples(st.from_regex(r"[a-z0-9][a-z0-9.\-]{0,20}", fullmatch=True), st.integers(1, 65535)), max_size=5)
)
def test_what_stands_in_a_file_is_found_again_and_nothing_else(places: list[tuple[str, int]]) -> None:
    text = "".join(f"{known_hosts.written(host, port)} {encoded(KEY)}\n" for host, port in places)
    for host, port in places:
        assert verdict(text, host, port) is True
        assert verdict(text, host, port, OTHER) == "HOST_KEY_CHANGED"
    assert verdict(text, "_", 22) is False


def test_an_unknown_host_is_refused_with_its_fingerprint(server: Sshd, tmp_path: Path) -> None:
    error = refusal(server, HostKeys(files=(str(tmp_path / "none"),)))
    assert error.code == "HOST_KEY_UNKNOWN"
    shown = subprocess.run(["ssh-keygen", "-l", "-f", f"{server.host_keys[0]}.pub"], capture_output=True, text=True)
    assert error.details["fingerprint"] in shown.stdout.split()
    assert error.details["key_type"] == "ssh-ed25519"
    assert not (tmp_path / "none").exists()


def test_a_changed_key_is_refused_even_where_new_ones_are_trusted(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"[{server.host}]:{server.port} {encoded(KEY)}\n")
    error = refusal(server, HostKeys(files=(str(known),), trust_new=True))
    assert error.code == "HOST_KEY_CHANGED"
    assert f"{known}:1" in error.message and KEY.fingerprint in error.message
    assert known.read_text().count("\n") == 1
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in ssh(server, known).stderr


def test_nothing_is_sent_to_a_host_that_is_not_known(server: Sshd, tmp_path: Path) -> None:
    before = server.log().count("Failed") + server.log().count("Accepted")
    refusal(server, HostKeys(files=()))
    assert server.log().count("Failed") + server.log().count("Accepted") == before
    assert PASSWORD not in server.log()


def test_trust_on_first_use_is_recorded_so_that_ssh_reads_it(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "folder/known_hosts"
    keys = HostKeys(files=(str(known), str(tmp_path / "second")), trust_new=True)
    for _ in range(2):
        connect(server.login(host_keys=keys)).close()
    assert known.stat().st_mode & 0o777 == 0o600 and known.parent.stat().st_mode & 0o777 == 0o700
    assert known.read_text().count("\n") == 1
    assert found_by_ssh_keygen(f"[{server.host}]:{server.port}", known)
    assert "Permission denied" in ssh(server, known).stderr  # the host is verified, the login was not to be had
    connect(server.login(host_keys=HostKeys(files=(str(tmp_path / "none"), str(known))))).close()


def test_a_key_that_ssh_has_recorded_is_known(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    ssh(server, known, "-oStrictHostKeyChecking=accept-new", "-oHashKnownHosts=yes")
    assert known.read_text().startswith("|1|")
    connect(server.login(host_keys=HostKeys(files=(str(known),)))).close()


def test_the_kind_of_key_that_is_known_is_asked_for(needs_sshd: None, tmp_path: Path) -> None:
    """The server would show its Ed25519 key to whoever does not ask, which is a stranger."""
    with Sshd(host_key_kinds=("ed25519", "ecdsa", "rsa")) as server:
        for path in server.host_keys:
            known = tmp_path / path.name
            known.write_text(f"[{server.host}]:{server.port} {path.with_suffix('.pub').read_text()}")
            connect(server.login(host_keys=HostKeys(files=(str(known),)))).close()
        with Sshd(port=None, host_key_kinds=("rsa",)) as other:
            # A server that only shows a kind that is not the known one is another server, whoever asks.
            known = tmp_path / "known"
            ed25519 = server.host_keys[0].with_suffix(".pub").read_text()
            known.write_text(f"[{other.host}]:{other.port} {ed25519}")
            error = refusal(other, HostKeys(files=(str(known),), trust_new=True))
    assert error.code == "HOST_KEY_CHANGED"


def test_a_revoked_key_is_refused(server: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    public = server.host_keys[0].with_suffix(".pub").read_text()
    known.write_text(f"[{server.host}]:{server.port} {public}@revoked * {public}")
    error = refusal(server, HostKeys(files=(str(known),), trust_new=True))
    assert error.code == "HOST_KEY_CHANGED" and "revoked" in error.message
    assert "REVOKED HOST KEY" in ssh(server, known).stderr


def record_some(path: Path, first: int) -> None:
    for number in range(first, first + 10):
        known_hosts.record(str(path), KEY, f"host{number}", 22)


def test_no_line_is_lost_when_many_record_at_once(tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"before {encoded(OTHER)}")  # without its line's end
    processes = [
        multiprocessing.get_context("spawn").Process(target=record_some, args=(known, 1000 * number))
        for number in (1, 2)
    ]
    threads = [threading.Thread(target=record_some, args=(known, 1000 * number)) for number in range(3, 9)]
    # The same hosts from two sides, too: one line each.
    threads.append(threading.Thread(target=record_some, args=(known, 3000)))
    workers = [*processes, *threads]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    entries = known_hosts.read([str(known)])
    assert [entry.hosts for entry in entries[:1]] == ["before"]
    assert len(entries) == 1 + 8 * 10 == len({entry.hosts for entry in entries})
    assert all(found_by_ssh_keygen(f"host{1000 * number + 9}", known) for number in range(1, 9))


def test_ssh_keygen_may_remove_a_host_in_between(tmp_path: Path) -> None:
    """It puts a new file in the place of the old one: who waits for the old one's lock must not write there."""
    known = tmp_path / "known_hosts"
    record_some(known, 0)
    over = threading.Event()

    def remove() -> None:
        while not over.is_set():
            subprocess.run(["ssh-keygen", "-R", "host3", "-f", str(known)], check=False, capture_output=True)

    remover = threading.Thread(target=remove)
    remover.start()
    for number in range(200, 260):
        known_hosts.record(str(known), KEY, f"host{number}", 22)
    over.set()
    remover.join()
    # ssh-keygen itself loses what is written while it copies; what it does not touch must be whole.
    assert all(line.endswith(encoded(KEY)) for line in known.read_text().splitlines())


def test_another_key_that_was_recorded_meanwhile_is_not_overruled(tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known_hosts.record(str(known), OTHER, "web1", 22)
    with pytest.raises(OpenNGTError) as caught:
        known_hosts.record(str(known), KEY, "web1", 22)
    assert caught.value.code == "HOST_KEY_CHANGED"


def test_a_file_that_cannot_be_used_is_named(server: Sshd, tmp_path: Path) -> None:
    assert refusal(server, HostKeys(files=(str(tmp_path),))).code == "FILE_UNUSABLE"
    (tmp_path / "file").touch()
    error = refusal(server, HostKeys(files=(str(tmp_path / "file/known_hosts"),), trust_new=True))
    assert error.code == "FILE_UNUSABLE" and str(tmp_path / "file/known_hosts") in error.message
    error = refusal(server, HostKeys(files=("/dev/zero",)))
    assert error.code == "FILE_UNUSABLE" and "/dev/zero" in error.message
    error = refusal(server, HostKeys(files=("/dev/null",), trust_new=True))
    assert error.code == "FILE_UNUSABLE" and "remembers" in error.message


@pytest.mark.skipif(not MAY_MOUNT, reason="needs root: a disk of its own")
def test_a_full_disk_is_named_and_the_next_line_is_whole(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", 64) as disk:
        known = disk.folder / "known_hosts"
        record_some(known, 0)
        disk.fill()
        with pytest.raises(OpenNGTError) as caught:
            for number in range(1000):
                known_hosts.record(str(known), KEY, f"more{number}", 22)
        assert caught.value.code == "NO_SPACE" and str(known) in caught.value.message
        disk.relieve()
        known_hosts.record(str(known), KEY, "last", 22)
        assert verdict(known.read_text(), "last") is True and verdict(known.read_text(), "host0") is True
