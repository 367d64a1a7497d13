# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m openngt_service.compat TOOL WORD…`: what the small commands run that `openngt compat install` writes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from openngt.errors import OpenNGTError

from ..cli.connect import Connection
from ..cli.endings import exit_status
from ..cli.output import printable, say
from .arguments import parse
from .programs import PROGRAMS


def state_dir() -> Path | None:
    """That of the service on this host, where the environment names it."""
    given = os.environ.get("OPENNGT_STATE_DIR")
    return Path(given) if given else None


def tell_failure(error: OpenNGTError) -> None:
    say(f"Error: {error.message} [{error.code}]")
    say(error.remedy)


def run(tool: str, words: Sequence[str]) -> None:
    command, arguments = parse(tool, PROGRAMS[tool], words)
    with Connection(state_dir=state_dir()).open() as client:
        for line in command.act(client, arguments):
            sys.stdout.write(printable(line) + "\n")


def main(tool: str, *words: str) -> int:
    """Exit status 0, or 1 with the failure and its remedy on standard error."""
    return exit_status(lambda: run(tool, words), tell_failure)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
