# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook awx_setup, whose unmodified modules of awx.awx talk over HTTP to a stand-in for AWX.

That proves the protocol as far as the stand-in plays it, and nothing about a real AWX.
"""

import re
from typing import Any

import pytest

from .conftest import LOGIN, SERVICE_TOKEN, Awx, data_of, read

FEW = [
    {
        "name": "openngt health",
        "organization": "Default",
        "project": "openngt",
        "playbook": "health.yml",
        "inventory": "openngt enrolled VMs",
        "credentials": ["openngt service"],
        "labels": ["openngt"],
        "description": "Check the health of the fleet",
    }
]
"""For what is the same with one template as with all of them."""


SOME = {
    "openngt install",
    "openngt fleet_install",
    "openngt health",
    "openngt refresh",
    "openngt report",
    "openngt nightly",
}
WAYS = {
    "openngt install_fleet": {
        "openngt preflight": ["install"],
        "openngt install": ["prove"],
        "openngt prove": ["report"],
        "openngt report": [],
    },
    "openngt nightly": {"openngt health": ["refresh"], "openngt refresh": ["report"], "openngt report": []},
}
"""What runs after what, by workflow and template."""


def shape_of(awx: Awx) -> dict[str, list[str]]:
    return {kind: sorted(awx.controller.named(kind)) for kind in awx.controller.objects}


def some_of_it(awx: Awx) -> dict[str, Any]:
    """A template of each shape, and one workflow: of each kind what has another way, as each module takes its time."""
    lists = ["controller_templates", "controller_workflows"]
    variables = {name.removeprefix("awx_setup_"): value for name, value in awx.variables().items()}
    data = data_of(awx.collection, awx.folder, lists, **variables, guest_list=True)
    return {name: [one for one in data[name] if one["name"] in SOME] for name in lists}


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.nightly)], ids=["some", "all"])
def test_an_empty_awx_is_set_up_once_and_left_alone_then_and_emptied_again(awx: Awx, whole: bool) -> None:
    before = shape_of(awx)
    guests = {"guest_list": True, "guest_list_file": str(awx.folder / "guests.json")}
    given = {} if whole else some_of_it(awx)
    first = awx.setup(**guests, **given)
    assert first.status == 0, first.output
    assert first.changed > 0
    assert len(awx.controller.named("job_templates")) == (18 if whole else len(SOME) - 1)
    look_at_templates(awx)
    look_at_credentials(awx)
    look_at_workflows(awx, WAYS if whole else {name: WAYS[name] for name in WAYS if name in SOME})
    again = awx.setup(**guests, **given)
    assert again.status == 0, again.output
    assert again.changed == 0
    assert awx.server.writes() == []
    gone = awx.setup(state="absent", **given)
    assert gone.status == 0, gone.output
    # AWX removes labels that nothing has by itself.
    assert shape_of(awx) == {**before, "labels": ["openngt"]}


def look_at_templates(awx: Awx) -> None:
    found = awx.controller.named("job_templates")
    install = found["openngt install"]
    assert install["project"] == awx.controller.named("projects")["openngt"]["id"]
    assert install["inventory"] == awx.controller.named("inventories")["openngt all VMs"]["id"]
    assert awx.controller.names("job_templates", install, "credentials") == ["openngt service"]
    assert awx.controller.names("job_templates", install, "labels") == ["openngt"]
    surveys = {path.stem: survey for path in surveys_of(awx) for survey in read(path).values()}
    for name, template in found.items():
        survey = surveys.get(name.removeprefix("openngt "))
        assert template["survey_enabled"] == (survey is not None)
        assert awx.controller.surveys.get(template["id"]) == survey, name
    fleet = awx.controller.names("job_templates", found["openngt fleet_install"], "credentials")
    assert sorted(fleet) == ["openngt guest credentials", "openngt service"]


def surveys_of(awx: Awx) -> Any:
    return (awx.collection / "ansible_collections/openngt/guest_tools/roles/awx_setup/vars/surveys").glob("*.yml")


def look_at_credentials(awx: Awx) -> None:
    found = awx.controller.named("credentials")
    assert found["openngt service"]["inputs"] == {
        "endpoint": "https://192.0.2.10:2073",
        "token": SERVICE_TOKEN,
        "ca_pem": (awx.folder / "ca.pem").read_text(),
    }
    assert LOGIN in found["openngt guest credentials"]["inputs"]["credentials"]


def look_at_workflows(awx: Awx, wanted: dict[str, dict[str, list[str]]]) -> None:
    """Each node runs a template and leads to the next node."""
    templates = {one["id"]: name for name, one in awx.controller.named("job_templates").items()}
    ways: dict[str, dict[str, list[str]]] = {}
    for name, workflow in awx.controller.named("workflow_job_templates").items():
        nodes = awx.controller.find("workflow_job_template_nodes", {"workflow_job_template": str(workflow["id"])})
        ways[name] = {
            templates[node["unified_job_template"]]: awx.controller.names(
                "workflow_job_template_nodes", node, "always_nodes"
            )
            for node in nodes
        }
    assert ways == wanted
    [schedule] = awx.controller.objects["schedules"].values()
    nightly = awx.controller.named("workflow_job_templates")["openngt nightly"]
    assert schedule["unified_job_template"] == nightly["id"] and schedule["enabled"] is True


def test_check_says_what_an_empty_awx_lacks_and_writes_nothing(awx: Awx) -> None:
    done = awx.setup("--check", controller_templates=FEW, controller_workflows=[], controller_schedules=[])
    assert done.status == 0, done.output
    assert done.changed > 0
    assert awx.server.writes() == []
    assert "changed: [localhost] => (item=openngt health)" in done.output


def test_the_projects_files_are_one_line_for_each_playbook_and_the_inventories(awx: Awx) -> None:
    folder = awx.folder / "project"
    awx.setup(controller_host="http://127.0.0.1:9", controller_templates=FEW)
    [play] = read(folder / "health.yml")
    assert play["ansible.builtin.import_playbook"] == "openngt.guest_tools.health"
    assert read(folder / "enrolled.ngt.yml") == {"plugin": "openngt.guest_tools.vms"}
    assert read(folder / "all.ngt.yml") == {"plugin": "openngt.guest_tools.vms", "include_unenrolled": True}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"controller_host": "http://127.0.0.1:9"}, "Connection refused"),
        ({"controller_token": "another"}, "Invalid authentication credentials"),
        ({"collection": "no.such"}, "no.such"),
    ],
)
def test_where_awx_does_not_answer_it_is_said_what_to_look_at(awx: Awx, given: dict[str, str], said: str) -> None:
    done = awx.setup(project_folder="", **given)
    assert done.status != 0
    assert said in done.output
    assert "remedy: awx_setup_controller_host (or CONTROLLER_HOST) is the address of AWX" in done.output
    assert awx.server.writes() == []


def test_all_that_is_wrong_with_the_variables_is_said_before_awx_is_asked(awx: Awx) -> None:
    done = awx.setup(
        prefix="",
        project_url="",
        image="",
        endpoint="http://192.0.2.10",
        slices=0,
        nightly_rrule="daily",
        notification={"notification_type": "email"},
        unasked=["openngt_threshold_days", "openngt_mispelt"],
        answers={"openngt_mistyped": 1, "openngt_via": "canary-way", "openngt_max_in_flight": "canary-many"},
    )
    assert done.status != 0
    assert awx.server.calls == []
    for name in ("prefix", "project_url", "image", "endpoint", "slices", "nightly_rrule", "notification", "unasked"):
        assert re.search(rf"awx_setup_{name}\b", done.output), name
    assert "openngt_mispelt is asked for by no survey" in done.output
    assert "openngt_mistyped is asked for by no survey" in done.output
    assert re.search(r"awx_setup_answers: openngt_\w+, openngt_\w+ has no answer that its survey takes", done.output)


def test_a_notification_reaches_the_templates_and_its_secret_nothing_else(awx: Awx) -> None:
    told = {"notification_type": "slack", "notification_configuration": {"token": "canary-slack", "channels": ["#ops"]}}
    few = {"controller_templates": [{**FEW[0], "notification_templates_error": ["openngt failures"]}]}
    done = awx.setup(notification=told, controller_workflows=[], controller_schedules=[], **few)
    assert done.status == 0, done.output
    assert "canary-slack" not in done.output
    [template] = awx.controller.objects["job_templates"].values()
    assert awx.controller.names("job_templates", template, "notification_templates_error") == ["openngt failures"]
    [notification] = awx.controller.objects["notification_templates"].values()
    assert notification["notification_configuration"]["token"] == "canary-slack"


def test_a_credential_that_awx_refuses_is_told_without_its_secret(awx: Awx) -> None:
    kind = {"name": "openngt service", "kind": "cloud", "inputs": {"fields": [{"id": "endpoint"}]}, "injectors": {}}
    awx.controller.create("credential_types", kind)
    done = awx.setup(controller_credential_types=[], controller_templates=FEW)
    assert done.status != 0
    assert "unknown field" in done.output
