# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The command line of `ngt_agent.pyz` and `ngtcli`."""

import argparse
from typing import Sequence

from .version import __version__

__all__ = ["parser"]

WAIT_SECONDS = 60.0


def parser(package_operations: Sequence[str]) -> argparse.ArgumentParser:
    """Of the commands of ARCHITECTURE.md, section 5; `package` only where there are operations of it."""
    found = argparse.ArgumentParser(prog="ngtcli", description="The guest agent of openngt.")
    found.add_argument("--version", action="version", version=__version__)
    commands = found.add_subparsers(dest="command", metavar="command")
    commands.required = True
    commands.add_parser("run", help="serve, as the service does")
    one = commands.add_parser("install", help="install the agent from a mounted tools disc")
    _add_disc(one)
    one.add_argument(
        "--wait", type=_seconds, default=WAIT_SECONDS, metavar="SECONDS", help="for the link; 0: do not wait"
    )
    one.add_argument("--allow-unsupported-distribution", action="store_true", help="try it on any distribution")
    _add_output(one)
    _add_output(commands.add_parser("uninstall", help="remove the agent and all its files"))
    _add_output(commands.add_parser("upgrade", help="carry out an upgrade that waits, as its systemd unit does"))
    if package_operations:
        one = commands.add_parser("package", help="for the scripts of the distribution's package")
        one.add_argument("--operation", choices=package_operations, required=True)
        _add_output(one)
    one = commands.add_parser("verify", help="judge a mounted tools disc; change nothing")
    _add_disc(one)
    _add_output(one)
    _add_output(commands.add_parser("status", help="the agent, its identity and its link"))
    return found


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
