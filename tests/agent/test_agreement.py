# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the agent a second time, because it imports nothing of its siblings, says the same as the first."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from openngt import errors, version
from openngt.agent import distributions
from openngt.agent import errors as agent_errors
from openngt.agent import version as agent_version
from openngt.agent.strict_json import load_object
from openngt.agent_bundle import agent_modules
from openngt.install import support

from .conftest import AGENT, ROOT


def raised_codes() -> set[str]:
    """First arguments of every AgentError(...) and Closed(...) in the source."""
    found = set()
    for path in AGENT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "AgentError":
                [code, *_rest] = node.args
                if isinstance(code, ast.Constant):
                    found.add(code.value)
    return found


def test_codes_and_remedies_are_the_librarys() -> None:
    assert {code: errors.REMEDIES.get(code) for code in agent_errors.REMEDIES} == agent_errors.REMEDIES


def test_every_code_that_is_raised_has_its_remedy() -> None:
    codes = raised_codes()
    assert len(codes) > 15
    assert codes <= set(agent_errors.REMEDIES)


def test_the_version_is_the_librarys() -> None:
    assert agent_version.__version__ == version.__version__


def test_the_distributions_are_those_of_the_support_table() -> None:
    table = {identifier: row.versions for row in support.DISTRIBUTIONS for identifier in row.ids}
    assert table == distributions.SUPPORTED


@pytest.mark.parametrize("identifier", [*distributions.SUPPORTED, "gentoo", "arch"])
@pytest.mark.parametrize("version_id", ["", "7", "9", "9.4", "12", "15.6", "22.04", "44"])
def test_both_judge_a_distribution_alike(identifier: str, version_id: str) -> None:
    release = {"ID": identifier, "NAME": identifier.title(), "VERSION_ID": version_id}
    ours, theirs = distributions.judge(release), support.judge(release)
    assert (ours.supported, ours.message) == (theirs.supported, theirs.message)


def test_every_module_goes_into_the_zipapp_but_the_installer() -> None:
    modules = {".".join(path.relative_to(AGENT).with_suffix("").parts) for path in AGENT.rglob("*.py")}
    assert set(agent_modules()) == modules - {"install_ngt"}


@pytest.mark.parametrize("name", [name for name in agent_modules() if name != "__init__"])
def test_every_module_says_what_it_offers(name: str) -> None:
    module = importlib.import_module(f"openngt.agent.{name}")
    assert module.__all__
    assert all(hasattr(module, offered) for offered in module.__all__)


def test_every_golden_file_can_be_read_by_the_agent() -> None:
    files = sorted((ROOT / "tests/fakes/messages").glob("*/*.json"))
    assert len(files) > 20
    for path in files:
        found = load_object(path.read_bytes(), 65536)
        assert set(found) == {"direction", "state", "message"}, path
        assert found["direction"] in ("agent-to-service", "service-to-agent"), path
        assert found["state"] in ("connected", "welcomed", "active"), path


def test_the_installer_on_the_disc_says_in_one_line_what_python_2_lacks(tmp_path: Path) -> None:
    """Python 2 need not be here: its grammar has no f-string, no annotation, no keyword-only argument, no nonlocal."""
    source = (AGENT / "install_ngt.py").read_text(encoding="utf-8")
    source.encode("ascii")
    for node in ast.walk(ast.parse(source)):
        assert not isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.Nonlocal | ast.AsyncFunctionDef | ast.Starred)
        if isinstance(node, ast.FunctionDef):
            assert node.returns is None and not node.args.kwonlyargs
            assert all(argument.annotation is None for argument in node.args.args)
        if isinstance(node, ast.Raise):
            assert node.cause is None
    old = source.replace("sys.version_info < (3, 6)", "sys.version_info < (99,)")
    (tmp_path / "install_ngt.py").write_text(old)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "install_ngt.py")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1 and "needs Python 3.6 or newer" in done.stderr
