# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in guests, under every Python from 3.6 on that this machine has."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.interpreters import interpreters

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
from openngt.agent_bundle import build_zipapp
from openngt.install import agent_here, agent_plan, agent_steps, disc, facts, link_facts, prerequisites, support
from openngt import errors
found = prerequisites.findings(
    facts.collect("/mnt/nutanix/ngt", ("127.0.0.1", 9)), prerequisites.Wanted(550, (3, 6), "127.0.0.1:9", False)
)
assert len(found) == 13
assert dict((f.name, f.state) for f in found)["python"] == "ok"
wanted = agent_plan.Wanted(True, "0.1.0", None, True, 0)
assert agent_plan.plan(agent_plan.Observed(None, []), wanted).operation == "install"
with agent_steps.private_zipapp(b"import json; print(json.dumps({'ok': True}))") as path:
    assert agent_steps.call_zipapp(path, ["verify"]) == {"ok": True}
zipapp = build_zipapp()
try:
    agent_here.install(zipapp, "/nonexistent", None, 0.0, True)
except errors.OpenNGTError as error:  # whatever machine this is, and before anything is changed
    assert error.code in ("PERMISSION_DENIED", "PREREQUISITES_NOT_MET", "DISC_INVALID"), error
known = sys.modules["openngt_agent"].__loader__.codes
assert "openngt_agent.install" in known
content = sys.modules["openngt_agent.compiled"].content_for(zipapp)
assert known["openngt_agent.install"] in content and b"openngt_agent.service" in content
seen = link_facts.collect(link_facts.Asked("127.0.0.1", 9, 0.0, "NO_SUCH_DISC"))
assert [attempt["tcp"] for attempt in seen["gateway"]] == ["Connection refused"]
assert seen["disc"] is None and seen["clock_ahead_seconds"] > 0
try:
    disc.choose([], None)
except errors.OpenNGTError as error:
    print(error.code)
"""

# What the installer keeps for the agent's start is the same, whoever has compiled it.
COMPILED = """
import sys
from openngt.agent_bundle import build_zipapp, compiled_modules
from openngt.install import agent_here
from openngt import errors
zipapp = build_zipapp()
try:
    agent_here.install(zipapp, "/nonexistent", None, 0.0, True, {compiled})
except errors.OpenNGTError as error:
    assert error.code in ("PERMISSION_DENIED", "PREREQUISITES_NOT_MET", "DISC_INVALID"), error
import marshal
content = sys.modules["openngt_agent.compiled"].content_for(zipapp)
codes = marshal.loads(content[content.index(b"\\n") + 1 + 4 + 32 :])
print(sorted((name, marshal.loads(code).co_code.hex()) for name, code in codes.items()))
"""


def said_by(python: str, program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "plugins/module_utils"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters())
def test_the_guest_side_runs(python: str) -> None:
    assert said_by(python, PROGRAM) == "DISC_NOT_FOUND\n"


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters())
def test_an_agent_that_was_sent_compiled_is_the_one_that_the_guest_would_have_compiled(python: str) -> None:
    sent = said_by(python, COMPILED.format(compiled="compiled_modules()"))
    assert "openngt_agent.service" in sent
    assert sent == said_by(python, COMPILED.format(compiled=None))
