# SPDX-License-Identifier: GPL-3.0-or-later
"""Surveys are written from the variables of playbooks and roles, and the written ones are those."""

import importlib.util
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
from tests.fakes.awx_rules import check_survey

from .conftest import ROOT, read


@pytest.fixture(scope="module")
def surveys() -> ModuleType:
    spec = importlib.util.spec_from_file_location("surveys", ROOT / "scripts/surveys.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_written_surveys_have_not_drifted() -> None:
    command = [sys.executable, str(ROOT / "scripts/surveys.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_survey_that_drifted_is_named(surveys: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "NO_TEMPLATE", {"awx_setup", "health"})
    monkeypatch.setattr(sys, "argv", ["surveys.py", "--check"])
    with pytest.raises(SystemExit, match=r"health\.yml has drifted"):
        surveys.main()


def test_awx_takes_each_written_survey() -> None:
    written = sorted((ROOT / "roles/awx_setup/vars/surveys").glob("*.yml"))
    assert len(written) > 10
    for path in written:
        [(name, survey)] = read(path).items()
        assert name == f"awx_setup_survey_{path.stem}"
        check_survey(survey)


BOOL = {"type": "multiplechoice", "choices": ["true", "false"]}


@pytest.mark.parametrize(
    ("variable", "option", "wanted"),
    [
        ("openngt_x", {"type": "str"}, {"type": "text"}),
        ("openngt_x", {"type": "path", "default": "/mnt"}, {"type": "text", "default": "/mnt"}),
        ("openngt_x", {"type": "str", "required": True}, {"type": "text", "required": True}),
        ("openngt_x", {"type": "str", "no_log": True, "default": "s"}, {"type": "password"}),
        ("openngt_x", {"type": "bool", "default": False}, {**BOOL, "default": "false"}),
        # AWX takes no empty answer to a choice.
        ("openngt_x", {"type": "bool"}, {**BOOL, "required": True}),
        (
            "openngt_x",
            {"type": "str", "choices": ["on", "off"], "default": "on"},
            {"type": "multiplechoice", "choices": ["on", "off"], "default": "on"},
        ),
        (
            "openngt_x",
            {"type": "list", "choices": ["a", "b"], "default": ["a", "b"]},
            {"type": "multiselect", "choices": ["a", "b"], "default": "a\nb"},
        ),
        ("openngt_x", {"type": "list", "default": ["a", "b"]}, {"type": "textarea", "default": "a,b"}),
        ("openngt_x", {"type": "dict", "default": {"a": True}}, {"type": "textarea", "default": '{"a": true}'}),
        ("openngt_x", {"type": "dict", "default": {}}, {"type": "textarea"}),
        ("openngt_x", {"type": "int", "default": 8}, {"type": "integer", "default": 8}),
        ("openngt_x_seconds", {"type": "float", "default": 9}, {"type": "float", "default": 9.0, "min": 0}),
        ("openngt_x_port", {"type": "int"}, {"type": "integer", "min": 1, "max": 65535}),
        ("openngt_x_percentage", {"type": "int"}, {"type": "integer", "min": 0, "max": 100}),
        # Each host has its own.
        ("openngt_x", {"type": "str", "default": "{{ inventory_hostname }}"}, {"type": "text"}),
    ],
)
def test_a_question_is_of_the_kind_of_its_variable(
    surveys: ModuleType, variable: str, option: dict[str, Any], wanted: dict[str, Any]
) -> None:
    found = surveys.question(variable, {"description": "What.", **option})
    about = {"question_name": found["question_name"], "question_description": found["question_description"]}
    assert found == {**about, "variable": variable, "required": False, **wanted}
    assert isinstance(found.get("default"), type(wanted.get("default")))
    check_survey({"name": "", "description": "", "spec": [found]})


def test_a_question_is_read_by_people(surveys: ModuleType) -> None:
    described = {"type": "list", "description": ["V(a) and C(b).", "See O(c)."]}
    found = surveys.question("openngt_ca_force", described)
    assert found["question_name"] == "CA force"
    assert found["question_description"] == "a and b. See c. Several with commas between them."
    assert surveys.label("guest_agent_wait_seconds") == "Guest agent: wait seconds"


def test_what_is_left_out_is_still_a_variable_of_some_playbook(surveys: ModuleType) -> None:
    known = {name for playbook in surveys.playbooks().values() for name, _ in surveys.options_of(playbook)}
    assert set(surveys.LEFT_OUT) <= known
    assert set(surveys.LABELS) <= known


def test_what_belongs_in_the_inventory_is_asked_for_by_no_survey(surveys: ModuleType) -> None:
    """A survey's answer is an extra variable, which overrides what a host or a group has."""
    for playbook in surveys.playbooks().values():
        for name, option in surveys.options_of(playbook):
            if "Belongs in the inventory" in surveys.description_of(option):
                assert name in surveys.LEFT_OUT
