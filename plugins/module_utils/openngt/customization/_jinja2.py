# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file of the library that imports `jinja2`: whether a template can be read. It is never rendered.

Where the package is missing, importing this file still works, so that a caller can answer with LIBRARY_MISSING instead
of a traceback.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import OpenNGTError

try:
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ImportError as exc:
    MISSING: ImportError | None = exc
else:
    MISSING = None

__all__ = ["TemplateProblem", "problem_of"]

QUOTED = re.compile(r"(['\"])[^'\"]{2,}\1")


class TemplateProblem(NamedTuple):
    what: str
    """Jinja's words, without what they quote of the template."""
    line: int
    """From 1."""


def problem_of(template: str) -> TemplateProblem | None:
    """What keeps the template from being read. LIBRARY_MISSING."""
    if MISSING is not None:
        raise OpenNGTError("LIBRARY_MISSING", f"the Python library Jinja2 3 is needed: {MISSING}") from MISSING
    try:
        ImmutableSandboxedEnvironment().parse(template)
    except TemplateSyntaxError as exc:
        return TemplateProblem(QUOTED.sub("…", exc.message or "cannot be read")[:200], exc.lineno)
    except RecursionError:
        return TemplateProblem("nested too deeply", 1)
    return None
