# SPDX-License-Identifier: GPL-3.0-or-later
"""From options and environment to a client of the service. A token is never an argument: every user reads those."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from openngt.client import Client
from openngt.errors import OpenNGTError

__all__ = ["Connection", "connect"]

DEFAULT_TIMEOUT = 30.0


@dataclass(frozen=True)
class Connection:
    """What was given on the command line, before the subcommand."""

    endpoint: str | None = None
    ca_file: Path | None = None
    token_file: Path | None = None
    state_dir: Path | None = None
    timeout: float = DEFAULT_TIMEOUT

    def open(self, environment: Mapping[str, str] = os.environ) -> Client:
        """Options win over `OPENNGT_*`; the state folder of a service on this host fills in what neither says.

        Raises INVALID_INPUT or AUTHENTICATION_FAILED, naming the option that is missing.
        """
        state = self.state_dir
        endpoint = self.endpoint or environment.get("OPENNGT_ENDPOINT") or in_state(state, "api.endpoint")
        if not endpoint:
            raise OpenNGTError(
                "INVALID_INPUT",
                "endpoint is not set",
                remedy="set OPENNGT_ENDPOINT, or give --state-dir on the host of the service",
            )
        token = read_file(self.token_file) if self.token_file else environment.get("OPENNGT_TOKEN")
        token = token or in_state(state, "admin.token")
        ca_file = str(self.ca_file) if self.ca_file else environment.get("OPENNGT_CA_FILE")
        if not ca_file and state is not None and (state / "ca/ca.pem").exists():
            ca_file = str(state / "ca/ca.pem")
        return Client(endpoint, token or "", ca_file or None, self.timeout)


def read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise OpenNGTError("INVALID_INPUT", f"{path} cannot be read: {exc.strerror}") from exc


def in_state(state_dir: Path | None, name: str) -> str | None:
    """The content of a file that the running service keeps; PERMISSION_DENIED names whose it is."""
    if state_dir is None:
        return None
    path = state_dir / name
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError as exc:
        message = f"{state_dir} has no {name}: no service has been started there"
        raise OpenNGTError("INVALID_INPUT", message, remedy="start it: openngt serve") from exc
    except OSError as exc:
        remedy = "run as the service's user, or set OPENNGT_ENDPOINT and OPENNGT_TOKEN"
        raise OpenNGTError("PERMISSION_DENIED", f"{path}: {exc.strerror}", remedy=remedy) from exc


def connect(context: typer.Context) -> Client:
    connection = context.find_object(Connection)
    assert connection is not None, "the root command has set it"
    return connection.open()
