# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what a guest lacks, and have its package manager bring the Python without which no program of ours runs."""

from __future__ import annotations

import collections
import shlex
from collections.abc import Callable
from typing import Any

from ...errors import OpenNGTError
from ..bare_guest import demand_brought, family_to_bring, read_probe, without_python
from ..prerequisites import Finding, demand
from ..support import install_command
from ..transports.base import Transport
from .guest_program import MINIMUM_PYTHON
from .report import Options
from .target import Target

__all__ = ["demand_met", "patience", "python_for", "still_without"]

BRING_SECONDS = 900.0
KEPT_LINES = 40


def patience(options: Options, seconds: float) -> float:
    """How long the first answer may take, if a package manager may have to work before it."""
    return seconds + (BRING_SECONDS if options.install_prerequisites else 0.0)


def python_for(
    target: Target, printed: str, options: Options, transport: Transport, left: Callable[[], float]
) -> str | None:
    """Have a Linux guest without Python get one. In check mode: what would be done, in words.

    `printed` is what the guest's shell told of itself. Raises PREREQUISITES_NOT_MET where nobody asked for it.
    """
    if target.platform != "linux":
        line = printed.splitlines()[0] if printed else ""
        raise OpenNGTError("PROTOCOL_ERROR", f"the guest's program said what it should not: {line[:200]!r}")
    bare = read_probe(printed)
    if not options.install_prerequisites:
        demand(without_python(bare, MINIMUM_PYTHON))
    missing = ["python"] if bare.tar else ["python", "tar"]
    family = family_to_bring(bare.distribution, missing)
    if options.check:
        return (
            f"would install {', '.join(missing)} with {family.manager}; nothing further can be foretold without Python"
        )
    script = f"exec </dev/null 2>&1; {install_command(family.name, missing)}"
    program = transport.start(f"exec sh -c {shlex.quote(script)}")
    output: collections.deque[bytes] = collections.deque(maxlen=KEPT_LINES)
    while (said := program.hear(min(BRING_SECONDS, left()))) is not None:
        output.append(said)
    ended = program.end(left())
    demand_brought(family, missing, ended.exit_status, b"\n".join(output).decode("utf-8", "replace"))
    return None


def still_without(printed: str) -> OpenNGTError:
    """The package manager said that it has done it, and there is none."""
    try:
        demand(without_python(read_probe(printed), MINIMUM_PYTHON))
    except OpenNGTError as error:
        return error
    raise AssertionError("a guest without Python lacks one")


def demand_met(answer: dict[str, Any], options: Options) -> None:
    """Raise as the module `prerequisites` does, by the findings that the guest's program told.

    In check mode the tar that the real run would bring is not demanded.
    """
    told = answer.get("findings")
    if not isinstance(told, list):
        raise OpenNGTError("PROTOCOL_ERROR", "the guest's program told no findings")
    found = [Finding(*(str(each.get(field, "")) for field in Finding._fields)) for each in told]
    coming = {"tar"} if options.check and options.install_prerequisites else set()
    demand([finding for finding in found if finding.name not in coming])
