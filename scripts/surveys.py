#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the survey of each playbook's job template, roles/awx_setup/vars/surveys/NAME.yml, from the variables that the
playbook and its roles take; `--check` fails when one has drifted.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
SURVEYS = ROOT / "roles/awx_setup/vars/surveys"

Json = dict[str, Any]

NO_TEMPLATE = {"awx_setup"}
"""It makes the templates."""

CREDENTIAL = "a credential hands it over; who could answer it could send the service's token to a host of their own"
HOSTS = "the template asks for a limit"
PER_HOST = "belongs to a host, so in the inventory, which an answer would override"
LEFT_OUT: Mapping[str, str] = {
    "openngt_endpoint": CREDENTIAL,
    "openngt_token": CREDENTIAL,
    "openngt_ca_file": CREDENTIAL,
    "openngt_credentials_file": CREDENTIAL,
    "openngt_hosts": HOSTS,
    "openngt_vm": PER_HOST,
    "openngt_os_family": PER_HOST,
    "openngt_winrm_thumbprint": PER_HOST,
    "openngt_customization": PER_HOST,
    "openngt_become": PER_HOST,
    "guest_agent_become": PER_HOST,
    "guest_agent_gateway_host": PER_HOST,
    "guest_agent_gateway_port": PER_HOST,
    "guest_agent_mount_point": PER_HOST,
    "guest_agent_vm": PER_HOST,
    "winrm_prep_names": PER_HOST,
    "openngt_limit_file": "the file ends with the job, and AWX relaunches a job on the hosts that failed",
}
"""Variables that no survey asks for -> why."""

LABELS: Mapping[str, str] = {
    "openngt_fail": "Fail where a link is not active",
    "openngt_fail_on": "Fail from which state on",
    "openngt_host_seconds": "Seconds for one guest",
    "openngt_max_in_flight": "How many at a time",
    "openngt_power": "What to do",
    "openngt_power_fallback": "When a guest does not shut down",
    "openngt_replace": "Replace a state that is there",
    "openngt_serial": "Hosts of one batch",
    "openngt_version": "Version of the agent",
    "openngt_via": "Over the link or by a disc",
    "openngt_wait": "Wait for the guests",
}
"""Questions of variables whose names alone say too little."""

RANGES = (
    (re.compile(r"_port$"), 1, 65535),
    (re.compile(r"_percentage$"), 0, 100),
    (re.compile(r"_max_in_flight$"), 1, None),
    (re.compile(r"_validity_days$"), 1, None),
    (re.compile(r"_failure_days$"), 1, 30),
    (re.compile(r"_(seconds|timeout|days|mb)$"), 0, None),
)
"""Numbers whose names say between what they lie."""

ABBREVIATIONS = {"ca", "mb", "vm"}
MARKUP = re.compile(r"\b(?:[BCEIMOPUV]|RV)\(([^)]*)\)")
HEAD = """\
# SPDX-License-Identifier: GPL-3.0-or-later
---
# Written by scripts/surveys.py from the variables of the playbook and its roles.
"""


class Indented(yaml.SafeDumper):
    """Lists stand deeper than what holds them, as yamllint wants it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def playbooks() -> dict[str, Json]:
    """The declaration of each playbook that gets a template, by the playbook's name."""
    paths = sorted(ROOT.glob("playbooks/vars/*.yml"))
    return {path.stem: read(path)["openngt_playbook"] for path in paths if path.stem not in NO_TEMPLATE}


def options_of(playbook: Json) -> Iterator[tuple[str, Json]]:
    """Its variables with their specifications, then those of its roles."""
    yield from playbook["options"].items()
    for role in playbook["roles"]:
        specs = read(ROOT / f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
        yield from ((name, option) for name, option in specs.items() if name not in playbook["options"])


def survey_of(playbook: Json) -> Json | None:
    """None: there is nothing to ask."""
    spec = [question(name, option) for name, option in options_of(playbook) if name not in LEFT_OUT]
    description = " ".join(map(plain, playbook["description"]))
    return {"name": playbook["short_description"], "description": description, "spec": spec} if spec else None


def question(variable: str, option: Json) -> Json:
    """As AWX takes it. Without a default it hands nothing over where nobody has answered: the playbook's own counts."""
    kind = kind_of(option)
    default = default_of(kind, option)
    # AWX takes no empty answer to a choice.
    choice = kind == "multiplechoice" and default is None
    found: Json = {
        "question_name": label(variable),
        "question_description": description_of(option),
        "required": choice or bool(option.get("required", False)),
        "type": kind,
        "variable": variable,
    }
    if kind in ("multiplechoice", "multiselect"):
        found["choices"] = ["true", "false"] if option["type"] == "bool" else [str(one) for one in option["choices"]]
    if kind in ("integer", "float"):
        found.update(limits(variable))
    return found if default is None else {**found, "default": default}


def kind_of(option: Json) -> str:
    if option.get("no_log"):
        return "password"
    if option.get("choices"):
        return "multiselect" if option["type"] == "list" else "multiplechoice"
    kinds = {"bool": "multiplechoice", "int": "integer", "float": "float", "list": "textarea", "dict": "textarea"}
    return kinds.get(option["type"], "text")


def limits(variable: str) -> Json:
    for name, lowest, highest in RANGES:
        if name.search(variable):
            return {"min": lowest} | ({} if highest is None else {"max": highest})
    return {}


def default_of(kind: str, option: Json) -> Any:
    """What AWX fills in, in the type that it wants for the question; None where the playbook's own is left alone."""
    default = option.get("default")
    if default is None or kind == "password" or "{{" in str(default) or default in ("", [], {}):
        return None
    if kind == "multiselect":
        return "\n".join(map(str, default))
    if kind == "textarea":
        return written(default)
    if option["type"] == "bool":
        return str(default).lower()
    return default if kind == "integer" else float(default) if kind == "float" else str(default)


def written(value: Any) -> str:
    """A list or an object as text that Ansible's argument specifications take; JSON is YAML as well."""
    return ",".join(map(str, value)) if isinstance(value, list) else json.dumps(value)


def description_of(option: Json) -> str:
    given = option["description"]
    text = " ".join(map(plain, [given] if isinstance(given, str) else given))
    hint = {"list": " Several with commas between them.", "dict": ' An object, as {"name": value}.'}
    return text + ("" if option.get("choices") else hint.get(option["type"], ""))


def plain(text: str) -> str:
    """Without the markup of Ansible's documentation."""
    return MARKUP.sub(r"\1", text)


def label(variable: str) -> str:
    """`openngt_ca_save` is "CA save", `guest_agent_label` is "Guest agent: label"."""
    if variable in LABELS:
        return LABELS[variable]
    for role in sorted(path.name for path in (ROOT / "roles").iterdir()):
        if variable.startswith(f"{role}_"):
            return f"{spoken(role).capitalize()}: {spoken(variable.removeprefix(f'{role}_'))}"
    words = spoken(variable.removeprefix("openngt_"))
    return words[:1].upper() + words[1:]


def spoken(name: str) -> str:
    return " ".join(word.upper() if word in ABBREVIATIONS else word for word in name.split("_"))


def surveys() -> dict[str, str]:
    """The text of each file by its name."""
    found = {}
    for name, playbook in playbooks().items():
        survey = survey_of(playbook)
        if survey:
            text = yaml.dump(
                {f"awx_setup_survey_{name}": survey}, Dumper=Indented, sort_keys=False, width=120, allow_unicode=True
            )
            found[f"{name}.yml"] = HEAD + text
    return found


def main() -> None:
    wanted = surveys()
    there = {path.name: path.read_text(encoding="utf-8") for path in SURVEYS.glob("*.yml")}
    if "--check" in sys.argv[1:]:
        drifted = sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))
        if drifted:
            sys.exit(f"{SURVEYS.relative_to(ROOT)}: {', '.join(drifted)} has drifted; run scripts/generated")
        return
    SURVEYS.mkdir(parents=True, exist_ok=True)
    for name in there.keys() - wanted.keys():
        (SURVEYS / name).unlink()
    for name, text in wanted.items():
        (SURVEYS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
