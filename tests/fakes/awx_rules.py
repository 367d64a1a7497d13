# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX knows of each kind of object, and what it refuses; for awx_controller.py."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from .awx_controller import AwxController

__all__ = ["ENCRYPTED", "KINDS", "UNIFIED", "Refused", "check", "check_survey"]

Json = dict[str, Any]
ENCRYPTED = "$encrypted$"


class Refused(Exception):
    def __init__(self, status: int, body: Json) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Kind:
    type: str
    fields: Mapping[str, Any]
    """What a request may set -> what it is without; whatever else a request names is passed over, as AWX does."""
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Field -> kinds of which it names one; that one's end is its own."""
    refers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The same, where that one's end is none of its own."""
    key: tuple[str, ...] = ("name", "organization")
    required: tuple[str, ...] = ("name",)
    associations: Mapping[str, str] = field(default_factory=dict)


UNIFIED = ("projects", "inventory_sources", "job_templates", "workflow_job_templates")
PROMPTS = (
    "limit",
    "job_type",
    "job_tags",
    "skip_tags",
    "diff_mode",
    "verbosity",
    "forks",
    "job_slice_count",
    "inventory",
)
TOLD = {f"notification_templates_{when}": "notification_templates" for when in ("started", "success", "error")}
COMMON: Mapping[str, Any] = {"name": None, "description": ""}
OWNED: Mapping[str, Any] = {**COMMON, "organization": None}
ASKED = {
    f"ask_{what}_on_launch": False
    for what in (
        "credential", "diff_mode", "execution_environment", "forks", "instance_groups", "inventory", "job_slice_count",
        "job_type", "labels", "limit", "scm_branch", "skip_tags", "tags", "timeout", "variables", "verbosity",
    )
}  # fmt: skip
PROMPTED = dict.fromkeys(PROMPTS)

KINDS: Mapping[str, Kind] = {
    "organizations": Kind("organization", COMMON, key=("name",)),
    "labels": Kind("label", {"name": None, "organization": None}, refers={"organization": ("organizations",)}),
    "credential_types": Kind(
        "credential_type",
        {**COMMON, "kind": None, "inputs": {}, "injectors": {}, "managed": False},
        key=("name", "kind"),
        required=("name", "kind"),
    ),
    "credentials": Kind(
        "credential",
        {**OWNED, "credential_type": None, "inputs": {}},
        refers={"organization": ("organizations",), "credential_type": ("credential_types",)},
        key=("name", "organization", "credential_type"),
        required=("name", "credential_type"),
    ),
    "execution_environments": Kind(
        "execution_environment",
        {**OWNED, "image": None, "pull": "", "credential": None},
        refers={"organization": ("organizations",)},
        key=("name",),
        required=("name", "image"),
    ),
    "projects": Kind(
        "project",
        {
            **OWNED, "scm_type": "", "scm_url": "", "scm_branch": "", "scm_clean": False, "credential": None,
            "default_environment": None, "scm_update_on_launch": False, "allow_override": False, "scm_revision": "1",
        },
        refers={"organization": ("organizations",), "default_environment": ("execution_environments",)},
        associations=TOLD,
    ),
    "inventories": Kind(
        "inventory",
        {**OWNED, "kind": "", "host_filter": None, "variables": ""},
        refers={"organization": ("organizations",)},
        required=("name", "organization"),
    ),
    "inventory_sources": Kind(
        "inventory_source",
        {
            **COMMON, "inventory": None, "source": "", "source_project": None, "source_path": "", "credential": None,
            "execution_environment": None, "overwrite": False, "overwrite_vars": False, "update_on_launch": False,
            "update_cache_timeout": 0,
        },
        parents={"inventory": ("inventories",)},
        refers={"source_project": ("projects",), "credential": ("credentials",)},
        key=("name", "inventory"),
        required=("name", "inventory", "source"),
        associations=TOLD,
    ),
    "notification_templates": Kind(
        "notification_template",
        {**OWNED, "notification_type": None, "notification_configuration": {}, "messages": None},
        refers={"organization": ("organizations",)},
        required=("name", "organization", "notification_type"),
    ),
    "job_templates": Kind(
        "job_template",
        {
            **COMMON, **ASKED, "job_type": "run", "inventory": None, "project": None, "playbook": "", "limit": "",
            "execution_environment": None, "verbosity": 0, "diff_mode": False, "job_slice_count": 1, "forks": 0,
            "survey_enabled": False, "extra_vars": "", "become_enabled": False, "allow_simultaneous": False,
        },
        refers={
            "inventory": ("inventories",), "project": ("projects",),
            "execution_environment": ("execution_environments",),
        },
        required=("name", "project", "playbook"),
        associations={**TOLD, "credentials": "credentials", "labels": "labels"},
    ),
    "workflow_job_templates": Kind(
        "workflow_job_template",
        {**OWNED, **ASKED, "inventory": None, "limit": None, "survey_enabled": False, "extra_vars": ""},
        refers={"organization": ("organizations",)},
        associations={**TOLD, "labels": "labels"},
    ),
    "workflow_job_template_nodes": Kind(
        "workflow_job_template_node",
        {
            **PROMPTED, "identifier": None, "workflow_job_template": None, "unified_job_template": None,
            "extra_data": {}, "all_parents_must_converge": False,
        },
        parents={"workflow_job_template": ("workflow_job_templates",)},
        refers={"unified_job_template": UNIFIED},
        key=("identifier", "workflow_job_template"),
        required=("workflow_job_template",),
        associations=dict.fromkeys(("always_nodes", "success_nodes", "failure_nodes"), "workflow_job_template_nodes"),
    ),
    "schedules": Kind(
        "schedule",
        {**COMMON, **PROMPTED, "rrule": "", "enabled": True, "unified_job_template": None, "extra_data": {}},
        parents={"unified_job_template": UNIFIED},
        key=("name", "unified_job_template"),
        required=("name", "rrule", "unified_job_template"),
    ),
}  # fmt: skip


def check(controller: "AwxController", kind: str, one: Json, given: Json) -> None:
    """An object as it would be, after a request that gave so much; raises Refused."""
    rules = KINDS[kind]
    for name in rules.required:
        if one[name] in (None, ""):
            raise Refused(400, {name: ["This field is required."]})
    for name, targets in {**rules.parents, **rules.refers}.items():
        if one[name] is not None and not any(one[name] in controller.objects[target] for target in targets):
            raise Refused(400, {name: [f'Invalid pk "{one[name]}" - object does not exist.']})
    for other in controller.objects[kind].values():
        if other["id"] != one["id"] and all(other.get(name) == one.get(name) for name in rules.key):
            raise Refused(400, {"__all__": [f"{rules.type} with this {' and '.join(rules.key)} already exists."]})
    if kind in CHECKS:
        CHECKS[kind](controller, one, given)


def check_type(controller: "AwxController", one: Json, given: Json) -> None:
    if one["kind"] not in ("cloud", "net"):
        raise Refused(400, {"kind": [f"Must be 'cloud' or 'net', not {one['kind']}"]})
    known: Json = {entry["id"]: "EXAMPLE" for entry in one["inputs"]["fields"]}
    known["tower"] = {"filename": "EXAMPLE"} if "template" in one["injectors"].get("file", {}) else {}
    sandbox = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    for part, injector in one["injectors"].items():
        if part == "env" and any(name.startswith("ANSIBLE_") for name in injector):
            raise Refused(400, {"injectors": ["may affect Ansible configuration"]})
        for name, template in injector.items():
            try:
                sandbox.from_string(template).render(known)
            except UndefinedError as error:
                raise Refused(400, {"injectors": [f"{name} uses an undefined field ({error})"]}) from error


def check_credential(controller: "AwxController", one: Json, given: Json) -> None:
    inputs = controller.objects["credential_types"][one["credential_type"]]["inputs"]
    known = {entry["id"] for entry in inputs["fields"]}
    for name, value in one["inputs"].items():
        if name not in known or not isinstance(value, str):
            raise Refused(400, {"inputs": [f"{name}: {'not a string' if name in known else 'unknown field'}"]})


def check_source(controller: "AwxController", one: Json, given: Json) -> None:
    if one["source"] == "scm" and one["source_project"] is None:
        raise Refused(400, {"source_project": ["Project required for scm type sources."]})
    if not (controller.project_files / one["source_path"]).is_file():
        raise Refused(400, {"source_path": ["no such file in the project"]})


def check_template(controller: "AwxController", one: Json, given: Json) -> None:
    if not (controller.project_files / one["playbook"]).is_file():
        raise Refused(400, {"playbook": ["Playbook not found for project."]})
    if one["inventory"] is None and not one["ask_inventory_on_launch"]:
        raise Refused(400, {"inventory": ["You must either set a default value or ask to prompt on launch."]})


def check_prompts(controller: "AwxController", one: Json, given: Json) -> None:
    """A node or a schedule gives a template only what it asks for."""
    found = [controller.objects[kind].get(one["unified_job_template"] or 0) for kind in UNIFIED]
    template = next((each for each in found if each), {})
    for name in PROMPTS:
        asked = {"job_tags": "tags"}.get(name, name)
        if one[name] not in (None, "") and not template.get(f"ask_{asked}_on_launch"):
            raise Refused(400, {name: ["Field is not configured to prompt on launch."]})
    survey = (
        controller.surveys.get(template.get("id", 0), {"spec": []}) if template.get("survey_enabled") else {"spec": []}
    )
    answers = {entry["variable"]: entry for entry in survey["spec"]}
    for name, value in one["extra_data"].items():
        if name not in answers and not template.get("ask_variables_on_launch"):
            raise Refused(400, {"extra_data": [f"Variables {name} are not allowed on launch."]})
        if answers.get(name, {}).get("type") == "integer" and type(value) is not int:
            raise Refused(
                400, {"variables_needed_to_start": [f"Value {value} for '{name}' expected to be an integer."]}
            )


def check_schedule(controller: "AwxController", one: Json, given: Json) -> None:
    rule = one["rrule"]
    if not re.search(r"DTSTART(;[^:]+)?:[0-9]+T[0-9]+Z?", rule) or "RRULE:" not in rule:
        raise Refused(400, {"rrule": ["Valid DTSTART required in rrule."]})
    if "INTERVAL" not in rule:
        raise Refused(400, {"rrule": ["INTERVAL required in rrule"]})
    check_prompts(controller, one, given)


CHECKS = {
    "credential_types": check_type,
    "credentials": check_credential,
    "inventory_sources": check_source,
    "job_templates": check_template,
    "workflow_job_template_nodes": check_prompts,
    "schedules": check_schedule,
}

ANSWERS: Mapping[str, type | tuple[type, ...]] = {
    "text": str, "textarea": str, "password": str, "multiplechoice": str, "multiselect": str, "integer": int,
    "float": (float, int),
}  # fmt: skip


def check_survey(spec: Json) -> Json:
    """As AWX takes it, and as it shows it afterwards: a password's default is not told."""
    for name, kind in (("name", str), ("description", str), ("spec", list)):
        if not isinstance(spec.get(name), kind):
            raise refused_survey(f"Field '{name}' is missing from survey spec.")
    if not spec["spec"]:
        raise refused_survey("'spec' doesn't contain any items.")
    if len({entry.get("variable") for entry in spec["spec"]}) < len(spec["spec"]):
        raise refused_survey("'variable' duplicated")
    return {**spec, "spec": [check_question(number, entry) for number, entry in enumerate(spec["spec"])]}


def check_question(number: int, entry: Json) -> Json:
    for name in ("type", "question_name", "variable", "required"):
        if not isinstance(entry.get(name), bool if name == "required" else str):
            raise refused_survey(f"'{name}' missing from survey question {number}")
    kind = entry["type"]
    if kind not in ANSWERS:
        raise refused_survey(f"'{kind}' in survey question {number} is not allowed")
    default = entry.get("default", "")
    if default != "" and not isinstance(default, ANSWERS[kind]):
        raise refused_survey(f"Default value {default} in survey question {number} expected to be {kind}.")
    if any(entry.get(limit) is not None and not isinstance(entry[limit], int) for limit in ("min", "max")):
        raise refused_survey(f"The limit in survey question {number} expected to be integer.")
    if kind in ("multiplechoice", "multiselect"):
        if "choices" not in entry:
            raise refused_survey(f"Survey question {number} of type {kind} must specify choices.")
        if any(line not in entry["choices"] for line in str(default).splitlines()):
            raise refused_survey("Default choice must be answered from the choices listed.")
    return {**entry, "default": ENCRYPTED} if kind == "password" and "default" in entry else entry


def refused_survey(error: str) -> Refused:
    return Refused(400, {"error": error})
