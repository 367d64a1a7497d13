# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the small commands in a folder of PATH, and take them out again."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from openngt import effects
from openngt.errors import OpenNGTError

__all__ = ["install", "remove"]

MARK = "# A command of openngt compat."


def script(tool: str, state_dir: Path | None) -> str:
    """The state folder, when one is given, is that of a caller who has not set OPENNGT_ENDPOINT."""
    lines = ["#!/bin/sh", MARK]
    if state_dir is not None:
        lines.append(f'[ -n "${{OPENNGT_ENDPOINT:-}}" ] || export OPENNGT_STATE_DIR={shlex.quote(str(state_dir))}')
    return "\n".join([*lines, f'exec {shlex.quote(sys.executable)} -m openngt_service.compat {tool} "$@"', ""])


def install(directory: Path, tools: Sequence[str], state_dir: Path | None) -> list[Path]:
    """Write the commands. FILE_UNUSABLE, before any is written, when another program has one of their names."""
    foreign = [path for path in paths(directory, tools) if path.exists() and not is_ours(path)]
    if foreign:
        raise OpenNGTError(
            "FILE_UNUSABLE",
            f"{foreign[0]} is another program",
            {"path": str(foreign[0])},
            remedy="give another folder, and put it before that one in PATH",
        )
    with effects.file_errors(str(directory)):
        directory.mkdir(parents=True, exist_ok=True)
        for tool in tools:
            effects.replace_file(str(directory / tool), script(tool, state_dir).encode(), mode=0o755)
    return paths(directory, tools)


def remove(directory: Path, tools: Sequence[str]) -> list[Path]:
    """Delete those of the commands that are ours."""
    ours = [path for path in paths(directory, tools) if path.exists() and is_ours(path)]
    with effects.file_errors(str(directory)):
        for path in ours:
            path.unlink()
    return ours


def paths(directory: Path, tools: Sequence[str]) -> list[Path]:
    return [directory / tool for tool in tools]


def is_ours(path: Path) -> bool:
    with effects.file_errors(str(path)):
        return MARK.encode() in path.read_bytes()[:200]
