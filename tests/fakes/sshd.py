# SPDX-License-Identifier: GPL-3.0-or-later
"""A real sshd for one test: its own accounts, passwords, sudoers, keys and port, in namespaces of its own.

Root alone can do this. The host's accounts, sudoers and processes are neither seen nor touched: passwd, shadow and
sudoers are bind mounts, and one kill of the namespace's first process ends the server with everybody who is logged in.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from openngt.install.fleet.target import HostKeys, Secret, SshLogin

from .waiting import until

__all__ = ["ACCOUNTS", "PASSWORD", "Account", "Sshd", "generate_key", "why_not"]

PASSWORD = "correct horse"
FIRST_UID = 58100
# A test run that is killed takes its servers along.
NAMESPACES = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--propagation",
    "private",
)
SETUP = """
set -e
mount -t tmpfs none /run/sudo 2>/dev/null || { mkdir -p /run/sudo && mount -t tmpfs none /run/sudo; }
mkdir -p /run/sshd
for name in passwd shadow group sudoers; do
    [ -e "/etc/$name" ] || : >"/etc/$name"
    mount --bind "$1/$name" "/etc/$name"
done
mount -t tmpfs none /etc/sudoers.d
exec /usr/sbin/sshd -D -e -f "$1/sshd_config"
"""


@dataclass(frozen=True)
class Account:
    """A user of the guest; the password is PASSWORD."""

    name: str
    sudoers: str = ""
    """Lines with {name}; empty: may not use sudo."""
    shell: str = "/bin/sh"
    expired: bool = False


ACCOUNTS = (
    Account("plain"),
    Account("asked", "{name} ALL=(ALL) ALL"),
    Account("trusted", "{name} ALL=(ALL) NOPASSWD: ALL"),
    Account("on_tty", "Defaults:{name} requiretty\n{name} ALL=(ALL) NOPASSWD: ALL"),
    Account("locked_out", shell="/usr/sbin/nologin"),
    Account("stale", expired=True),
)


def why_not() -> str | None:
    """Why such a server cannot run here."""
    if os.geteuid() != 0:
        return "needs root: an sshd with accounts of its own"
    for name in ("sshd", "sudo", "ssh-keygen", "setpriv", "unshare", "openssl"):
        if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            return f"{name} is not installed"
    if subprocess.run([*NAMESPACES, "true"], check=False, capture_output=True).returncode:
        return "namespaces are not allowed here"
    return None


def generate_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A private key, made fast, with its public half in `.pub` beside it."""
    size = ["-b", "2048"] if kind == "rsa" else []
    words = ["ssh-keygen", "-q", "-t", kind, *size, "-a", "1", "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return path


class Sshd:
    """`with Sshd(...) as server:` it listens, until the end."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        accounts: Sequence[Account] = ACCOUNTS,
        options: Mapping[str, str] | None = None,
        host_key_kinds: Sequence[str] = ("ed25519",),
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sshd-"))
        self.folder.chmod(0o755)  # the accounts' homes lie in it
        self.host = host
        self.port = port or _free_port(host)
        self._may_move = port is None
        self.accounts = accounts
        self.host_keys = [generate_key(self.folder / f"host_{kind}", kind) for kind in host_key_kinds]
        self.options = options or {}
        self._write_accounts()
        self._write_config()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._start()
        while self._may_move and self._port_was_taken():
            self.port = _free_port(self.host)
            self._write_config()
            self._start()
        until(self._listens, f"sshd: {self.log()}")
        return self

    def _start(self) -> None:
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*NAMESPACES, "sh", "-c", SETUP, "sh", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _port_was_taken(self) -> bool:
        """By somebody else, between its choice and the server's start."""
        until(lambda: self._has_ended() or self._listens(), "sshd's start")
        return self._has_ended() and "Address already in use" in self.log()

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def __exit__(self, *_: object) -> None:
        self.die()
        shutil.rmtree(self.folder)

    def die(self) -> None:
        """The server and all sessions are gone in one moment, as a guest that is switched off."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def login(self, user: str = "root", **changed: Any) -> SshLogin:
        """With the password, this server's host key and nothing of the person who runs the tests."""
        given: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": user,
            "password": Secret(PASSWORD),
            "use_agent": False,
            "host_keys": self.vouched(changed.get("port", self.port)),
        }
        return SshLogin(**{**given, **changed})

    def authorize(self, user: str, public_key: Path) -> None:
        with (self.folder / "keys" / user).open("a") as stream:
            stream.write(public_key.read_text())

    def vouched(self, port: int) -> HostKeys:
        """A known_hosts file with this server's keys, at its own port or a relay's."""
        path = self.folder / f"known_hosts-{port}"
        if not path.exists():  # somebody may be reading it
            keys = [each.with_suffix(".pub").read_text() for each in self.host_keys]
            path.write_text("".join(f"[{self.host}]:{port} {key}" for key in keys))
        return HostKeys(files=(str(path),))

    @contextlib.contextmanager
    def _probe(self) -> Iterator[socket.socket]:
        with socket.create_connection((self.host, self.port), timeout=5) as connection:
            yield connection

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            with self._probe() as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _write_accounts(self) -> None:
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], input=PASSWORD, capture_output=True, text=True, check=True
        ).stdout.strip()
        nobody = [pwd.getpwnam(name) for name in ("nobody", "sshd")]
        passwd = [":".join(map(str, (e.pw_name, "x", *e[2:]))) for e in nobody]
        shadow = [f"{each.pw_name}:*:19000::::::" for each in nobody]
        sudoers = ["Defaults !lecture", "root ALL=(ALL) ALL"]
        (self.folder / "keys").mkdir()
        for number, account in enumerate((Account("root", shell="/bin/bash"), *self.accounts)):
            uid = FIRST_UID + number if number else 0
            home = self.folder / "home" / account.name
            home.mkdir(parents=True)
            os.chown(home, uid, uid)
            passwd.append(f"{account.name}:x:{uid}:{uid}::{home}:{account.shell}")
            shadow.append(f"{account.name}:{hashed}:{0 if account.expired else 19000}:0:99999:7:::")
            sudoers.append(account.sudoers.format(name=account.name))
        for name, lines, mode in (("passwd", passwd, 0o644), ("shadow", shadow, 0o640), ("sudoers", sudoers, 0o440)):
            (self.folder / name).write_text("\n".join(lines) + "\n")
            (self.folder / name).chmod(mode)
        shutil.copy("/etc/group", self.folder / "group")

    def _write_config(self) -> None:
        settings = {
            "Port": str(self.port),
            "ListenAddress": self.host,
            "PidFile": "none",
            "AuthorizedKeysFile": f"{self.folder}/keys/%u",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "yes",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "PrintMotd": "no",
            "UseDNS": "no",
            "LogLevel": "VERBOSE",
            **self.options,
        }
        lines = [f"{name} {value}" for name, value in settings.items()]
        lines += [f"HostKey {path}" for path in self.host_keys]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
