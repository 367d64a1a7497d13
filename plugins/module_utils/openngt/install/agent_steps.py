# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""Observe an installed agent, and have an agent's zipapp install or uninstall."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

from ..effects import run, write_private
from ..errors import OpenNGTError
from .agent_plan import Observed, Wanted, only_the_link_is_missing
from .facts import UNIT, UNIT_FOLDERS, read_text

__all__ = ["call_zipapp", "install_arguments", "last_object", "observe", "private_zipapp"]

NGTCLI = "/usr/local/bin/ngtcli"
ROOT = "/usr/local/openngt"
RECONNECT_SECONDS = 16  # an agent that lost its link tries again after 15 s at the latest
INSTALL_SECONDS = 300


def observe(wanted: Wanted, settle: bool = True, pause: Callable[[float], None] = time.sleep) -> Observed:
    """The agent as it stands; with `settle`, one whose link alone is missing gets the time of a reconnect."""
    observed = _look()
    for _second in range(RECONNECT_SECONDS if settle else 0):
        if not wanted.present or not only_the_link_is_missing(observed, wanted):
            break
        pause(1.0)
        observed = _look()
    return observed


def install_arguments(
    source: str, ca_sha256: Optional[str], wait_seconds: float, allow_unsupported_distribution: bool
) -> List[str]:
    """Arguments of the zipapp for an installation from a mounted disc."""
    arguments = ["install", "--source", source, "--wait", "{0:g}".format(wait_seconds)]
    if ca_sha256:
        arguments += ["--ca-sha256", ca_sha256]
    if allow_unsupported_distribution:
        arguments.append("--allow-unsupported-distribution")
    return arguments


@contextlib.contextmanager
def private_zipapp(content: bytes) -> Iterator[str]:
    """Path of a file with this content that only its owner can reach."""
    folder = tempfile.mkdtemp(prefix="openngt-")
    try:
        path = os.path.join(folder, "ngt_agent.pyz")
        write_private(path, content)
        yield path
    finally:
        shutil.rmtree(folder)


def call_zipapp(path: str, arguments: List[str], seconds: float = 0.0) -> Dict[str, Any]:
    """Run the zipapp with this interpreter; its answer.

    A failure is raised with the code, message and remedy that it gave. `seconds` come on top of INSTALL_SECONDS.
    """
    command = [sys.executable, path] + arguments + ["--output", "json"]
    done = run(command, timeout=INSTALL_SECONDS + seconds)
    answer = last_object(done.stdout)
    if answer is None:
        progress = done.stderr.strip().splitlines()[-20:]
        details: Dict[str, Any] = {"exit_status": done.returncode, "progress": progress}
        raise OpenNGTError("COMMAND_FAILED", "the agent's {0} gave no answer".format(arguments[0]), details)
    if not answer.get("ok"):
        raise OpenNGTError(
            str(answer.get("code")), str(answer.get("message")), answer.get("details"), str(answer.get("remedy"))
        )
    return answer


def last_object(text: str) -> Optional[Dict[str, Any]]:
    """The JSON object on the last line, or None."""
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _look() -> Observed:
    return Observed(_status(), _leftovers())


def _status() -> Optional[Dict[str, Any]]:
    if not os.path.exists(NGTCLI):
        return None
    try:
        answer = last_object(run([NGTCLI, "status", "--output", "json"]).stdout)
    except (OSError, OpenNGTError):  # a broken agent: not executable, no interpreter, hangs
        return None
    return answer if answer is not None and "agent_version" in answer else None


def _leftovers() -> List[str]:
    paths = [ROOT, NGTCLI] + [os.path.join(folder, UNIT) for folder in UNIT_FOLDERS if _is_our_unit(folder)]
    return [path for path in paths if os.path.lexists(path)]


def _is_our_unit(folder: str) -> bool:
    return "/openngt/" in (read_text(os.path.join(folder, UNIT)) or "")
