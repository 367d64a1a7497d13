# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""`ngt_agent.pyz` and `ngtcli`: the commands of ARCHITECTURE.md, section 5."""

import argparse
import json
import os
import sys
from typing import Any, Callable, Dict, List, Optional, TextIO

from . import identity as identities
from . import package, runtime_status, service, upgrade_record, verify
from .errors import AgentError
from .guest import Guest, this_guest
from .identity import check_newer
from .install import Options, install
from .machine import vm_uuid
from .paths import UNIT, Paths
from .systemd import properties
from .times import text_of
from .uninstall import uninstall
from .upgrade import upgrade
from .version import __version__

__all__ = ["main"]

WAIT_SECONDS = 60.0

Answer = Dict[str, Any]


def main(arguments: Optional[List[str]] = None) -> int:
    """Exit status 0 or 1; 2 for arguments that make no sense. With `--output json` the last line is the answer."""
    options = _parser().parse_args(arguments)
    if options.command == "run":
        return service.serve(Paths())
    as_json = options.output == "json"

    def say(line: str) -> None:
        _write(sys.stderr if as_json else sys.stdout, line)

    try:
        answer = COMMANDS[options.command](this_guest(say), options)
    except AgentError as exc:
        if as_json:
            _write(sys.stdout, json.dumps(dict(exc.to_dict(), ok=False), sort_keys=True))
        else:
            _write(sys.stderr, "{0}: {1}\n{2}".format(exc.code, exc.message, exc.remedy))
        return 1
    _write(sys.stdout, json.dumps(answer, sort_keys=True) if as_json else IN_WORDS[options.command](answer))
    return 0


def _write(stream: TextIO, line: str) -> None:
    # In the C locale a file's name may not be printable; that must not cost the message.
    encoding = stream.encoding or "ascii"
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    # At once: who installs over SSH wants to see each step when it happens.
    stream.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ngtcli", description="The guest agent of openngt.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.required = True
    commands.add_parser("run", help="serve, as the systemd unit does")
    one = commands.add_parser("install", help="install the agent from a mounted tools disc")
    _add_disc(one)
    one.add_argument(
        "--wait", type=_seconds, default=WAIT_SECONDS, metavar="SECONDS", help="for the link; 0: do not wait"
    )
    one.add_argument("--allow-unsupported-distribution", action="store_true", help="try it on any distribution")
    _add_output(one)
    _add_output(commands.add_parser("uninstall", help="remove the agent and all its files"))
    _add_output(commands.add_parser("upgrade", help="carry out an upgrade that waits, as its systemd unit does"))
    one = commands.add_parser("package", help="for the scripts of the distribution's package")
    one.add_argument("--operation", choices=sorted(package.OPERATIONS), required=True)
    _add_output(one)
    one = commands.add_parser("verify", help="judge a mounted tools disc; change nothing")
    _add_disc(one)
    _add_output(one)
    _add_output(commands.add_parser("status", help="the agent, its identity and its link"))
    return parser


def _add_disc(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True, metavar="DIR", help="where the tools disc is mounted")
    parser.add_argument("--ca-sha256", metavar="HEX", help="fingerprint of the CA that may vouch for the disc")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", choices=("text", "json"), default="text")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError("from 0 to 86400")
    return value


def _install(guest: Guest, options: argparse.Namespace) -> Answer:
    return install(
        guest, Options(options.source, options.ca_sha256, options.wait, options.allow_unsupported_distribution)
    )


def _uninstall(guest: Guest, _options: argparse.Namespace) -> Answer:
    return uninstall(guest)


def _upgrade(guest: Guest, _options: argparse.Namespace) -> Answer:
    return upgrade(guest)


def _package(guest: Guest, options: argparse.Namespace) -> Answer:
    return package.OPERATIONS[options.operation](guest)


def _verify(guest: Guest, options: argparse.Namespace) -> Answer:
    """The disc's words if the agent of this guest would take it now; DISC_OLDER when it was used up."""
    if not guest.is_root:  # who this VM is, and whom it trusts, is for root to read
        raise AgentError("PERMISSION_DENIED", "verify must run as root")
    stored = identities.load_or_none(guest.paths)
    disc = verify.read_disc(options.source)
    found = verify.verify(disc, verify.Trust(vm_uuid(guest.paths), stored, options.ca_sha256))
    verify.verify_files(options.source, found.manifest)
    check_newer(stored, found.identity)
    return {
        "ok": True,
        "changed": False,
        "steps": [],
        "vm_uuid": found.manifest.vm_uuid,
        "generation": found.manifest.generation,
        "kind": found.manifest.kind,
        "version": found.manifest.ngt_version,
        "expires": text_of(found.manifest.expires.timestamp()),
        "ca_sha256": found.identity.ca_sha256,
        "trusted_by": found.trusted_by,
        "files": len(found.manifest.files),
    }


def _status(guest: Guest, _options: argparse.Namespace) -> Answer:
    """What the agent says of itself, as far as it runs. AGENT_NOT_INSTALLED where there is none."""
    if not os.path.lexists(guest.paths.current):
        raise AgentError("AGENT_NOT_INSTALLED", "no agent is installed in this guest")
    unit = properties(guest.run)
    said = runtime_status.read(guest.paths) or {}
    link = said.get("link") or runtime_status.no_link()
    if unit.get("ActiveState") != "active":
        link = runtime_status.no_link(*_last_error(link))
    return {
        "ok": True,
        "agent_version": said.get("agent_version", __version__),
        "service": {"unit": UNIT, "active": unit.get("ActiveState"), "sub": unit.get("SubState")},
        "identity": said.get("identity") or _stored(guest.paths),
        "link": link,
        "serial_port": said.get("serial_port"),
        "capabilities": said.get("capabilities") or {},
        "upgrade": upgrade_record.shown(guest.paths),
    }


def _last_error(link: Dict[str, Any]) -> List[Any]:
    error = link.get("last_error") or {}
    return [error.get("code"), error.get("message", "")]


def _stored(paths: Paths) -> Optional[Dict[str, Any]]:
    """The identity on disk, for root."""
    try:
        return runtime_status.identity_shown(identities.load(paths))
    except AgentError:
        return None


def _words_of_change(answer: Answer) -> str:
    return "Done: {0}".format(", ".join(answer["steps"])) if answer["changed"] else "Nothing to do."


def _words_of_upgrade(answer: Answer) -> str:
    return "Nothing to do." if answer["state"] is None else "Agent {version}: {state}.".format(**answer)


def _words_of_disc(answer: Answer) -> str:
    return "The disc is good: VM {vm_uuid}, generation {generation}, agent {version}, {trusted_by}.".format(**answer)


def _words_of_status(answer: Answer) -> str:
    identity, link, service_state = answer["identity"] or {}, answer["link"], answer["service"]
    rows = [
        ("Agent", "{0}, {1} ({2})".format(answer["agent_version"], service_state["active"], service_state["sub"])),
        ("VM", identity.get("vm_uuid") or "unknown"),
        ("Identity", "generation {generation} ({kind}), until {not_after}".format(**identity) if identity else "none"),
        ("Link", _words_of_link(link)),
        ("Serial port", _words_of_port(answer["serial_port"])),
        ("Capabilities", ", ".join(sorted(name for name, on in answer["capabilities"].items() if on)) or "none"),
    ]
    if answer["upgrade"]:
        rows.append(("Upgrade", _words_of_last_upgrade(answer["upgrade"])))
    return "\n".join("{0:<13} {1}".format(name + ":", text) for name, text in rows)


def _words_of_last_upgrade(upgrade: Dict[str, Any]) -> str:
    text = "to {version}: {state}, {at}".format(**upgrade)
    return "{0} ({1}: {2})".format(text, upgrade["code"], upgrade["message"]) if upgrade.get("code") else text


def _words_of_link(link: Dict[str, Any]) -> str:
    if link["active"]:
        return "active over {transport} to {peer} since {since}".format(**link)
    error = link.get("last_error")
    return "not active" + (" ({code}: {message})".format(**error) if error else "")


def _words_of_port(port: Optional[Dict[str, Any]]) -> str:
    if port is None:
        return "not used"
    if port["state"] == "absent":
        return "{message}: needs a full stop and start".format(**port)
    held = port.get("held_until")
    return "{0}{1}{2}".format(
        port["state"],
        " ({0})".format(port["message"]) if port["message"] else "",
        ", not returned to before {0}".format(held) if held else "",
    )


COMMANDS: Dict[str, Callable[[Guest, argparse.Namespace], Answer]] = {
    "install": _install,
    "uninstall": _uninstall,
    "upgrade": _upgrade,
    "package": _package,
    "verify": _verify,
    "status": _status,
}

IN_WORDS: Dict[str, Callable[[Answer], str]] = {
    "install": _words_of_change,
    "uninstall": _words_of_change,
    "upgrade": _words_of_upgrade,
    "package": _words_of_change,
    "verify": _words_of_disc,
    "status": _words_of_status,
}
