# SPDX-License-Identifier: GPL-3.0-or-later
"""The data that feeds AWX holds to the modules that write it, to the playbooks, and to itself."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from tests.fakes.awx_rules import check_survey

from ..conftest import program
from .conftest import ROOT, data_of, environment, read

MODULES = {
    "controller_labels": "label",
    "controller_credential_types": "credential_type",
    "controller_credentials": "credential",
    "controller_execution_environments": "execution_environment",
    "controller_projects": "project",
    "controller_inventories": "inventory",
    "controller_inventory_sources": "inventory_source",
    "controller_notifications": "notification_template",
    "controller_templates": "job_template",
    "controller_workflows": "workflow_job_template",
    "controller_schedules": "schedule",
}
PREFIX = "two of them"
PLAYBOOKS = {path.stem for path in (ROOT / "playbooks").glob("*.yml")} - {"awx_setup"}
# Each asks the service once for all hosts, or is about the service alone.
OF_THE_FLEET = {"backup", "ca_rollover", "health", "power", "refresh", "report", "restore", "upgrade"}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def data(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Json]]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "ca.pem").write_text("PEM")
    (folder / "guests.json").write_text('[{"vmname": "web1"}]')
    return data_of(
        collection,
        folder,
        list(MODULES),
        prefix=PREFIX,
        slices=4,
        token="secret",
        ca_file=str(folder / "ca.pem"),
        guest_list=True,
        guest_list_file=str(folder / "guests.json"),
        notification={"notification_type": "webhook", "notification_configuration": {"url": "https://example"}},
    )


@pytest.fixture(scope="module")
def options(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Json]:
    """What each module of awx.awx says of its options, by the module's name."""
    folder = tmp_path_factory.mktemp("doc")
    names = [f"awx.awx.{name}" for name in MODULES.values()]
    done = subprocess.run(
        [program("ansible-doc"), "--json", *names],
        env=environment(collection, folder),
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.rpartition(".")[2]: page["doc"]["options"] for name, page in json.loads(done.stdout).items()}


def spec_of(option: Json) -> Json:
    kept = {key: option[key] for key in ("type", "elements", "choices", "required", "aliases") if key in option}
    inner = option.get("suboptions")
    return {**kept, "options": {name: spec_of(each) for name, each in inner.items()}} if inner else kept


def templates(data: Mapping[str, list[Json]]) -> dict[str, Json]:
    """By the playbook's name."""
    return {entry["playbook"].removesuffix(".yml"): entry for entry in data["controller_templates"]}


@pytest.mark.parametrize("variable", MODULES)
def test_each_entry_is_what_the_module_of_awx_takes(
    data: Mapping[str, list[Json]], options: Mapping[str, Json], variable: str
) -> None:
    known = options[MODULES[variable]]
    validator = ArgumentSpecValidator({name: spec_of(option) for name, option in known.items()})
    assert data[variable], "there is one"
    for entry in data[variable]:
        assert validator.validate(entry).error_messages == [], entry["name"]


def test_infra_aap_configuration_takes_each_key_of_each_entry(data: Mapping[str, list[Json]]) -> None:
    """Its roles pass over what they do not know, so a key too many would be lost without a word."""
    known = read(ROOT / "tests/awx/aap_configuration.yml")
    assert set(known) == set(MODULES)
    for variable, entries in data.items():
        for entry in entries:
            assert set(entry) <= set(known[variable]), (variable, entry["name"])


def test_an_answer_of_a_node_keeps_its_type_on_every_ansible_core() -> None:
    """Before 2.19 an expression that stands alone in a mapping is text, and AWX refuses text for a number."""
    text = (ROOT / "roles/awx_setup/vars/controller.yml").read_text(encoding="utf-8")
    answers = [line.partition(":")[2].strip() for line in text.splitlines() if line.strip().startswith("extra_data:")]
    assert answers and all(answer.startswith('"{{ {') for answer in answers)


def written_by() -> Iterator[tuple[str, set[str]]]:
    """Each module that the role calls to write something, with the options that it hands over."""
    for path in (ROOT / "roles/awx_setup/tasks").glob("*.yml"):
        if path.stem != "absent":
            for task in [inner for outer in read(path) for inner in outer.get("block", [outer])]:
                if "action" in task:
                    yield task["action"].rpartition(".")[2], set(task["args"])


def test_the_role_hands_over_every_key_of_the_data(data: Mapping[str, list[Json]]) -> None:
    handed = dict(written_by())
    for variable, module in MODULES.items():
        keys = {key for entry in data[variable] for key in entry}
        assert keys <= handed[module], variable


def test_every_name_begins_with_the_prefix_so_that_two_can_live_on_one_awx(data: Mapping[str, list[Json]]) -> None:
    for variable in MODULES:
        names = [entry["name"] for entry in data[variable]]
        assert all(name.startswith(PREFIX) for name in names), variable
        assert len(set(names)) == len(names)


def test_there_is_a_template_for_every_playbook(data: Mapping[str, list[Json]]) -> None:
    assert set(templates(data)) == PLAYBOOKS
    for name, template in templates(data).items():
        assert template["name"] == f"{PREFIX} {name}"


def test_each_survey_asks_for_variables_that_its_playbook_or_its_roles_take(data: Mapping[str, list[Json]]) -> None:
    for name, template in templates(data).items():
        asked = {question["variable"] for question in template["survey_spec"].get("spec", [])}
        assert template["survey_enabled"] == bool(asked)
        assert asked <= set(variables_of(name)), name


def variables_of(playbook: str) -> dict[str, Json]:
    path = ROOT / f"playbooks/vars/{playbook}.yml"
    if not path.exists():
        return {}
    declared = read(path)["openngt_playbook"]
    found: dict[str, Json] = dict(declared["options"])
    for role in declared["roles"]:
        found.update(read(ROOT / f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"])
    return found


def test_what_a_survey_fills_in_is_what_the_variable_means(data: Mapping[str, list[Json]]) -> None:
    """An unchanged survey changes nothing: text and all, it comes to the variable's own default."""
    for name, template in templates(data).items():
        specs = variables_of(name)
        for question in template["survey_spec"].get("spec", []):
            if "default" in question:
                assert coerced(specs, question["variable"], answer(question)) == coerced(
                    specs, question["variable"], specs[question["variable"]]["default"]
                )


def answer(question: Json) -> Any:
    """As AWX hands it over when nobody touches the question."""
    return question["default"].split("\n") if question["type"] == "multiselect" else question["default"]


def coerced(specs: Mapping[str, Json], variable: str, value: Any) -> Any:
    kept = {key: specs[variable][key] for key in ("type", "elements", "choices") if key in specs[variable]}
    checked = ArgumentSpecValidator({variable: kept}).validate({variable: value})
    assert checked.error_messages == []
    return checked.validated_parameters[variable]


def test_nobody_who_may_launch_a_template_can_send_the_token_elsewhere(data: Mapping[str, list[Json]]) -> None:
    for template in data["controller_templates"]:
        assert template["ask_variables_on_launch"] is False
        questions = template["survey_spec"].get("spec", [])
        assert not {question["variable"] for question in questions} & {
            "openngt_endpoint",
            "openngt_token",
            "openngt_ca_file",
            "openngt_credentials_file",
        }
        assert "password" not in {question["type"] for question in questions}


def test_credentials_come_as_environment_and_files_and_never_as_extra_variables(data: Mapping[str, list[Json]]) -> None:
    injected: dict[str, str] = {}
    for kind in data["controller_credential_types"]:
        assert set(kind["injectors"]) == {"env", "file"}
        injected.update(kind["injectors"]["env"])
    assert injected == {
        "OPENNGT_ENDPOINT": "{{ endpoint }}",
        "OPENNGT_TOKEN": "{{ token }}",
        "OPENNGT_CA_FILE": "{{ tower.filename }}",
        "OPENNGT_CREDENTIALS_FILE": "{{ tower.filename }}",
    }


def test_only_what_works_host_by_host_is_divided(data: Mapping[str, list[Json]]) -> None:
    slices = {name: template["job_slice_count"] for name, template in templates(data).items()}
    # With a list of guests each of several jobs would install all of it.
    whole = OF_THE_FLEET | {"fleet_install"}
    assert slices == {name: 1 if name in whole else 4 for name in slices}
    for name, template in templates(data).items():
        assert template["ask_job_slice_count_on_launch"] == (name not in whole)


def test_workflows_lead_from_one_template_to_the_next(data: Mapping[str, list[Json]]) -> None:
    known = {template["name"] for template in data["controller_templates"]}
    ways = {}
    for workflow in data["controller_workflows"]:
        nodes = {node["identifier"]: node for node in workflow["workflow_nodes"]}
        assert {node["unified_job_template"]["name"] for node in nodes.values()} <= known
        after = {
            name: [one["identifier"] for one in node.get("related", {}).get("always_nodes", [])]
            for name, node in nodes.items()
        }
        [step] = nodes.keys() - {one for following in after.values() for one in following}
        way = [step]
        while after[step]:
            [step] = after[step]
            way.append(step)
        ways[workflow["name"].removeprefix(f"{PREFIX} ")] = way
    assert ways == {
        "install_fleet": ["preflight", "install", "prove", "report"],
        "nightly": ["health", "refresh", "report"],
    }
    assert [one["unified_job_template"] for one in data["controller_schedules"]] == [f"{PREFIX} nightly"]


def test_a_variable_that_the_inventory_sets_is_asked_for_by_no_survey(collection: Path, tmp_path: Path) -> None:
    unasked = ["guest_agent_label", "openngt_fail"]
    found = data_of(collection, tmp_path, ["controller_templates"], unasked=unasked)
    for template in found["controller_templates"]:
        asked = {question["variable"] for question in template["survey_spec"].get("spec", [])}
        assert not asked & set(unasked)
    by_name = templates(found)
    assert by_name["install"]["survey_enabled"] and not by_name["diagnose"]["survey_enabled"]


def test_a_survey_fills_in_what_this_installation_wants(collection: Path, tmp_path: Path) -> None:
    answers = {
        "openngt_report_directory": "/srv/openngt",
        "openngt_report_formats": ["html", "csv"],
        "openngt_max_in_flight": "30",
        "openngt_wait_seconds": 20,
        "openngt_ca_force": True,
        "guest_agent_capabilities": {"vss_snapshot": True},
    }
    found = templates(data_of(collection, tmp_path, ["controller_templates"], answers=answers))
    assert (
        defaults(found["report"]).items()
        >= {
            "openngt_report_directory": "/srv/openngt",
            "openngt_report_formats": "html\ncsv",
        }.items()
    )
    assert defaults(found["refresh"])["openngt_max_in_flight"] == 30
    assert (defaults(found["prove"]), defaults(found["customize"])["openngt_wait_seconds"]) == (
        {"openngt_wait_seconds": 20.0},
        20,
    )
    assert defaults(found["ca_rollover"])["openngt_ca_force"] == "true"
    assert defaults(found["install"])["guest_agent_capabilities"] == '{"vss_snapshot": true}'
    for template in found.values():
        if template["survey_enabled"]:
            check_survey(template["survey_spec"])


def defaults(template: Json) -> Json:
    return {question["variable"]: question.get("default") for question in template["survey_spec"]["spec"]}
