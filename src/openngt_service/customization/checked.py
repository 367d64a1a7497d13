# SPDX-License-Identifier: GPL-3.0-or-later
"""A customization judged in a child process with bounds: it may be made to exhaust whoever reads it (T28, T29).

The child is `judge.py`. It is given contents, never a path: what was judged is what is written.
"""

import asyncio
import base64
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from openngt.customization.model import Customization, Finding, MediaVm
from openngt.customization.spec import parse
from openngt.errors import OpenNGTError

from .datastore import read_datastore
from .judge import OUT_OF_BOUNDS

__all__ = ["Checked", "Checker", "ask_child"]

log = structlog.get_logger(__name__)

JUDGE = ("-m", "openngt_service.customization.judge")
AT_ONCE = 4
WAIT_SECONDS = 60.0
"""The child's processor time is bounded far below; on a busy host that may take longer."""
SHOWN_FINDINGS = 5

Json = dict[str, Any]


class Checked(NamedTuple):
    customization: Customization
    findings: list[Finding]
    preview: str
    """What would be written, secrets masked; empty where a finding is an error."""

    def require_valid(self) -> None:
        """CUSTOMIZATION_INVALID with all findings."""
        errors = [finding for finding in self.findings if finding.severity == "error"]
        if errors:
            text = "; ".join(_line(finding) for finding in errors[:SHOWN_FINDINGS])
            more = len(errors) - SHOWN_FINDINGS
            findings = [finding.to_dict() for finding in self.findings]
            raise OpenNGTError(
                "CUSTOMIZATION_INVALID", text + (f"; and {more} more" if more > 0 else ""), {"findings": findings}
            )


class Checker:
    """`datastore` is the folder of `datastore_path`s, if there is one."""

    def __init__(self, datastore: Path | None) -> None:
        self._datastore = datastore
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def check(self, spec: Mapping[str, Any], vm: MediaVm) -> Checked:
        """INVALID_INPUT names the field. What the content is found to have is in the answer's findings."""
        customization = await asyncio.to_thread(parse, spec, lambda path: read_datastore(self._datastore, path))
        asked = {"spec": _spec_of(customization), "vm": vm._asdict()}
        async with self._slots:
            answer = await ask_child(json.dumps(asked).encode())
        if answer["error"] is not None:
            error = answer["error"]
            raise OpenNGTError(error["code"], error["message"], error["details"], error["remedy"])
        return Checked(customization, [Finding(**each) for each in answer["findings"]], answer["preview"])


async def ask_child(question: bytes) -> Json:
    """What `judge.judge` answers. COMMAND_TIMED_OUT, INTERNAL."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENNGT_")}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", *JUDGE),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            answer, complaint = await child.communicate(question)
    except TimeoutError:
        raise OpenNGTError("COMMAND_TIMED_OUT", f"a customization was not judged within {WAIT_SECONDS:g} s") from None
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if child.returncode == OUT_OF_BOUNDS or (child.returncode or 0) < 0:
        return _too_large()
    if child.returncode:
        log.error("judge_broke", status=child.returncode, where=complaint.decode("utf-8", "replace")[-2000:])
        raise OpenNGTError("INTERNAL", f"judging a customization ended with status {child.returncode}")
    found: Json = json.loads(answer)
    return found


def _too_large() -> Json:
    message = "it takes more memory or time to read than a customization may"
    remedy = "take out repetition and nesting, or give what is large as files"
    finding = Finding("error", "TOO_LARGE", "customization", message, remedy)
    return {"findings": [finding.to_dict()], "preview": "", "error": None}


def _line(finding: Finding) -> str:
    place = finding.part + (f" line {finding.line}" if finding.line is not None else "")
    return f"{place}: {finding.message}"


def _spec_of(customization: Customization) -> Json:
    """As `parse` takes it, every content in place."""
    return {
        **{name: getattr(customization, name) for name in ("format", "datasource", "install_type", "instance_id")},
        "options": dict(customization.options),
        "network": None if customization.network is None else dict(customization.network),
        "meta_data": dict(customization.meta_data),
        "scripts": [
            {"content_base64": _base64(each.content), "name": each.name or None} for each in customization.scripts
        ],
        "files": [
            {"path": each.path, "content_base64": _base64(each.content), "mode": each.mode, "owner": each.owner}
            for each in customization.files
        ],
    }


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
