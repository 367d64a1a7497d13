# SPDX-License-Identifier: GPL-3.0-or-later
"""Agents of other versions, made from this tree's: good ones, and ones that fail once they are started."""

import io
import zipfile

from openngt.agent_bundle import SHEBANG, build_zipapp
from openngt.version import __version__

__all__ = ["CRASHES", "DROPS", "HANGS", "release"]

CRASHES = "raise SystemExit('this agent is broken')\n"
HANGS = "import time\n\ntime.sleep(100000)\n"
DROPS = """\
import sys

from openngt_agent import service
from openngt_agent.cli import main

active = service.Agent._active


def connect_and_drop(agent, wire, event):
    active(agent, wire, event)
    agent._leave = "a defect"


service.Agent._active = connect_and_drop
sys.exit(main())
"""


def release(version: str, main: str | None = None) -> bytes:
    """The agent of this tree as one of another version; `main` replaces what it does when it is started."""
    made = io.BytesIO(SHEBANG)
    made.seek(0, io.SEEK_END)
    with zipfile.ZipFile(io.BytesIO(build_zipapp())) as own, zipfile.ZipFile(made, "w") as other:
        for entry in own.infolist():
            content = own.read(entry)
            if entry.filename == "openngt_agent/version.py":
                assert content.count(f'"{__version__}"'.encode()) == 1
                content = content.replace(f'"{__version__}"'.encode(), f'"{version}"'.encode())
            if entry.filename == "__main__.py" and main is not None:
                content = main.encode()
            other.writestr(entry, content)
    return made.getvalue()
