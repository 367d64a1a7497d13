# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of several tasks take."""

import json
from typing import Any

import pytest

from openngt_service.customization import checked
from openngt_service.customization.judge import judge
from openngt_service.customization.schema_files import published_schemas


@pytest.fixture
def judged_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process for each: what the child does is tried by its own tests."""
    schemas = published_schemas()

    async def ask(question: bytes) -> dict[str, Any]:
        return judge(json.loads(question), schemas)

    monkeypatch.setattr(checked, "ask_child", ask)
