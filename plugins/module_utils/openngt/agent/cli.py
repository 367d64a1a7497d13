# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""`ngt_agent.pyz` and `ngtcli`: the commands of ARCHITECTURE.md, section 5."""

import json
import sys
from typing import Any, Callable, Dict, List, Optional, TextIO

from .answers import Answer
from .errors import AgentError
from .system import WINDOWS

if WINDOWS:
    from .windows_commands import COMMANDS, PACKAGE_OPERATIONS, run, this_guest
else:
    from .linux_commands import COMMANDS, PACKAGE_OPERATIONS, run, this_guest

__all__ = ["main"]


def main(arguments: Optional[List[str]] = None) -> int:
    """Exit status 0 or 1; 2 for arguments that make no sense. With `--output json` the last line is the answer."""
    if (sys.argv[1:] if arguments is None else arguments) == ["run"]:
        return run()  # at each start of the guest: nothing is imported that only people need
    from .arguments import parser

    options = parser(PACKAGE_OPERATIONS).parse_args(arguments)
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


IN_WORDS: Dict[str, Callable[[Answer], str]] = {
    "install": _words_of_change,
    "uninstall": _words_of_change,
    "upgrade": _words_of_upgrade,
    "package": _words_of_change,
    "verify": _words_of_disc,
    "status": _words_of_status,
}
