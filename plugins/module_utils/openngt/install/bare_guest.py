# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""A guest that may have no Python yet: what plain sh finds out there, and what a package manager would bring."""

import shlex
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import OpenNGTError
from .prerequisites import Finding, broken_python, missing_program
from .support import FAMILIES, Family, Verdict, judge, parse

__all__ = [
    "Bare",
    "at_least",
    "demand_brought",
    "family_to_bring",
    "probe",
    "read_probe",
    "starts",
    "without_python",
]

# Plain sh, since nothing else can be relied on, and one line without single quotes, so that any shell can hand it on.
# It looks at nothing on its standard input, and prints `tar=<path>`, `broken=<path>: <reason>` and the os-release file.
PROBE = (
    "broken=; for python in {candidates}; do"
    " if {suits}; then {found}; fi; done;"
    ' echo "tar=$(command -v tar)"; echo "broken=$broken";'
    " cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release 2>/dev/null || :"
)
SUITS = '"$python" -I -S -c "import sys; sys.exit(sys.version_info < {minimum})" </dev/null >/dev/null 2>&1'
# The first one that does not start is told, with the last line that it says of that.
STARTS = (
    '{{ "$python" -I -S -B -c "{trial}" </dev/null >/dev/null 2>&1 || {{ broken="${{broken:-$(command -v "$python"):'
    ' $("$python" -I -S -B -c "{trial}" </dev/null 2>&1 | tail -n 1)}}"; false; }}; }}'
)
REPORT = 'echo "python=$(command -v "$python")"; break'

Bare = NamedTuple(
    "Bare", [("python", Optional[str]), ("tar", Optional[str]), ("broken", Optional[str]), ("distribution", Verdict)]
)


def at_least(minimum: Tuple[int, ...]) -> str:
    """Shell text that asks `$python` itself whether it is of at least this version, and so whether it starts at all."""
    return SUITS.format(minimum=tuple(minimum))


def starts(modules: Sequence[str]) -> str:
    """Shell text that asks whether `$python` starts and has these modules; `read_probe` has the first that does not."""
    return STARTS.format(trial="import {0}".format(", ".join(modules)))


def probe(candidates: Sequence[str], suits: str, found: str = REPORT) -> str:
    """Shell text that looks for a Python that `suits` among programs and paths, the first one first.

    `found` is the shell text for it, in which `$python` is the one; after the default `read_probe` reads the output.
    """
    listed = " ".join(shlex.quote(each) for each in candidates)
    return PROBE.format(candidates=listed, suits=suits, found=found)


def read_probe(text: str) -> Bare:
    """What the shell has found."""
    lines = parse(text)
    # As it stands: what a Python says when it ends is no shell assignment.
    broken = [line.partition("=")[2].strip() for line in text.splitlines() if line.startswith("broken=")]
    return Bare(lines.pop("python", None), lines.pop("tar", "") or None, "".join(broken[:1]) or None, judge(lines))


def without_python(bare: Bare, minimum: str) -> List[Finding]:
    """The findings of a guest in which nothing could run that finds out more."""
    wanted = "{0} or newer".format(minimum)
    found = [broken_python(bare.broken, wanted) if bare.broken else missing_program("python", wanted)]
    if bare.tar is None:
        found.append(missing_program("tar", "on PATH"))
    return found


def family_to_bring(distribution: Verdict, missing: Sequence[str]) -> Family:
    """Whose package manager brings what is missing; UNSUPPORTED_DISTRIBUTION where none is known."""
    if distribution.family is None:
        names = ", ".join(missing)
        message = "{0}: its package manager is not known, so {1} must be there".format(distribution.message, names)
        raise OpenNGTError("UNSUPPORTED_DISTRIBUTION", message, remedy="install {0} by hand".format(names))
    return next(family for family in FAMILIES if family.name == distribution.family)


def demand_brought(family: Family, missing: Sequence[str], returncode: int, output: str) -> None:
    """Raise unless the package manager did it, and for now: COMMAND_FAILED, or PREREQUISITES_NOT_MET before a boot."""
    names = ", ".join(missing)
    if returncode != 0:
        lines = output.strip().splitlines()[-20:]
        message = "{0} could not install {1}: {2}".format(family.manager, names, lines[-1] if lines else "")
        details: Dict[str, Any] = {"rc": returncode, "output": lines}
        raise OpenNGTError("COMMAND_FAILED", message, details)
    if family.restart:
        message = "{0} has installed {1} for the next boot".format(family.manager, names)
        raise OpenNGTError("PREREQUISITES_NOT_MET", message, remedy="restart the guest, then run again")
