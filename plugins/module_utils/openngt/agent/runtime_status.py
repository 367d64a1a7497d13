# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""`/run/openngt/status.json`: what the agent says of itself, for everybody in the guest. No secret is in it."""

import os
from typing import Any, Dict, Optional

from . import strict_json
from .errors import AgentError
from .files import file_errors, make_folder, read_capped, replace_file, sweep
from .identity import Identity, trusted
from .paths import Paths
from .times import now_text, text_of
from .version import __version__

__all__ = ["RuntimeStatus", "identity_shown", "no_link", "read"]

MOST = 65536


def no_link(code: Optional[str] = None, message: str = "") -> Dict[str, Any]:
    """The `link` of an agent that is not connected."""
    error = None if code is None else {"code": code, "message": message}
    return {"active": False, "steady": False, "transport": None, "peer": None, "since": None, "last_error": error}


def identity_shown(identity: Identity) -> Dict[str, Any]:
    """The part of an identity that everybody may see."""
    return {
        "ngt_uuid": identity.ngt_uuid,
        "vm_uuid": identity.vm_uuid,
        "generation": identity.generation,
        "kind": identity.kind,
        "serial": identity.certificate.serial,
        "not_after": text_of(identity.certificate.not_after),
        "ca_sha256": identity.ca_sha256,
        "trusted_ca_sha256": trusted(identity),
    }


class RuntimeStatus:
    """The file's content, written whenever it changed."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._failed = False
        self._record: Dict[str, Any] = {
            "agent_version": __version__,
            "identity": None,
            "link": no_link(),
            "serial_port": None,
            "capabilities": {},
        }
        with file_errors(paths.run):
            make_folder(paths.run)
            sweep(paths.run)
        self._write()

    def identity(self, identity: Optional[Identity]) -> None:
        self._change(identity=None if identity is None else identity_shown(identity))

    def connected(self, transport: str, peer: str, capabilities: Dict[str, bool]) -> None:
        link = {
            "active": True,
            "steady": False,
            "transport": transport,
            "peer": peer,
            "since": now_text(),
            "last_error": None,
        }
        self._change(link=link, capabilities=capabilities)

    def steady(self) -> None:
        """The link has held for some heartbeats."""
        self._change(link=dict(self._record["link"], steady=True))

    def serial_port(
        self, device: Optional[str], state: str, message: str = "", held_until: Optional[str] = None
    ) -> None:
        """`state`: `linked`, `answers`, `silent`, `busy`, `absent` or `failed`; `message` is for people.

        `held_until`: the port is not returned to before this moment.
        """
        port = {"device": device, "state": state, "message": message, "held_until": held_until}
        self._change(serial_port=port)

    def no_serial_port(self) -> None:
        """The configuration names none."""
        self._change(serial_port=None)

    def capabilities(self, capabilities: Dict[str, bool]) -> None:
        self._change(capabilities=capabilities)

    def disconnected(self, code: Optional[str], message: str) -> None:
        self._change(link=no_link(code, message))

    def _change(self, **parts: Any) -> None:
        changed = dict(self._record, **parts)
        if changed != self._record:
            self._record = changed
            self._write()

    def _write(self) -> None:
        """A full disk must not cost the link: the file is for looking only."""
        try:
            with file_errors(self._paths.status):
                replace_file(self._paths.status, strict_json.dump(self._record) + b"\n", durable=False)
        except AgentError as exc:
            if not self._failed:
                import logging  # here alone: the installer reads what the agent has written, and has no log

                logging.getLogger("openngt.agent").warning("status is not written: %s", exc.message)
            self._failed = True
        else:
            self._failed = False


def read(paths: Paths) -> Optional[Dict[str, Any]]:
    """What the agent said last, or None when none runs here."""
    folder, name = os.path.split(paths.status)
    try:
        return strict_json.load_object(read_capped(folder, name, MOST), MOST)
    except (OSError, ValueError):
        return None
