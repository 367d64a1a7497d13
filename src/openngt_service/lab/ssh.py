# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of the lab and command lines that use them. Host keys are pinned: they are made here, before the first boot."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from openngt.effects import replace_file, run, write_private
from openngt.errors import OpenNGTError

__all__ = ["SshTarget", "make_key", "make_password", "ssh_options"]


@dataclass(frozen=True)
class SshTarget:
    port: int
    key: Path
    known_hosts: Path
    host: str = "127.0.0.1"

    def command(self, user: str, *remote: str) -> list[str]:
        options = ["-i", str(self.key), "-p", str(self.port), *ssh_options(self.known_hosts)]
        return ["ssh", *options, f"{user}@{self.host}", *remote]

    def pin(self, public_host_key: str) -> None:
        line = f"[{self.host}]:{self.port} {public_host_key.strip()}\n"
        replace_file(str(self.known_hosts), line.encode())


def ssh_options(known_hosts: Path) -> list[str]:
    """Options for ssh and for `ansible_ssh_common_args`: this key, this host key, and no question to anybody."""
    options = {
        "UserKnownHostsFile": f'"{known_hosts}"',
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "LogLevel": "ERROR",
    }
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def make_key(path: Path, comment: str) -> str:
    """The public half of the Ed25519 key at `path`, which is made when it is missing."""
    if not path.exists():
        done = run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])
        if done.returncode:
            raise OpenNGTError("COMMAND_FAILED", f"ssh-keygen: {done.stderr.strip()}")
    return path.with_name(path.name + ".pub").read_text(encoding="ascii")


def make_password(path: Path) -> None:
    if not path.exists():
        write_private(str(path), secrets.token_urlsafe(12).encode())
