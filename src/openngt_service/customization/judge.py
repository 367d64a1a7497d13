# SPDX-License-Identifier: GPL-3.0-or-later
"""The child of `checked`: judges a customization within bounds of memory and time, and shows what would be written.

Its input and its answer are JSON on stdin and stdout: nothing of it stands in an argument or in a file.
"""

import json
import resource
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from openngt.customization.media import build
from openngt.customization.model import MediaVm
from openngt.customization.preview import preview
from openngt.customization.schemas import Schemas
from openngt.customization.spec import parse
from openngt.customization.validation import validate
from openngt.errors import OpenNGTError

from .schema_files import published_schemas

__all__ = ["judge", "main"]

OUT_OF_BOUNDS = 3
"""Exit status of a child that needs more memory than it may have."""
CPU_SECONDS = 10
SPARE_BYTES = 64 * 1024 * 1024
BYTES_FOR_ONE = 16
"""Of memory for one byte of input, which is decoded, put into parts and shown."""
ANYTHING = {"network": {"version": 2}}


def main() -> int:
    sys.excepthook = _without_values
    text = sys.stdin.buffer.read()
    schemas = published_schemas()
    # The libraries are loaded by who judges first, and their memory is no part of the bound.
    validate(parse(ANYTHING, _no_datastore), schemas)
    _bound(SPARE_BYTES + BYTES_FOR_ONE * len(text))
    try:
        answer = judge(json.loads(text), schemas)
        sys.stdout.write(json.dumps(answer))
    except (MemoryError, RecursionError):
        return OUT_OF_BOUNDS
    return 0


def judge(asked: Any, schemas: Schemas) -> dict[str, Any]:
    """`{"findings", "preview", "error"}` for `{"spec", "vm"}`, all contents in place."""
    customization = parse(asked["spec"], _no_datastore)
    findings = validate(customization, schemas)
    shown = ""
    if not any(finding.severity == "error" for finding in findings):
        try:
            shown = preview(build(customization, MediaVm(**asked["vm"]), None))
        except OpenNGTError as exc:
            return {"findings": [finding.to_dict() for finding in findings], "preview": "", "error": exc.to_dict()}
    return {"findings": [finding.to_dict() for finding in findings], "preview": shown, "error": None}


def _bound(more_bytes: int) -> None:
    size = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + more_bytes, size + more_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the passwords
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _no_datastore(path: str) -> bytes:
    raise AssertionError(f"the parent has read {len(path)} characters of a path already")


def _without_values(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """A defect is told by its kind and place: its text could hold what was sent."""
    sys.stderr.write("".join(traceback.format_tb(where)) + kind.__name__)


if __name__ == "__main__":
    sys.exit(main())
