#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/playbooks.md, every playbook with its variables, from their data files; `--check` fails when it has
drifted.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/playbooks.md"
HEAD = """# Playbooks

Each is run as `ansible-playbook openngt.guest_tools.NAME -i inventory`, with `--check --diff` to see what it would
do. Its first task compares what it was given, by `-e`, by the inventory or by a survey of AWX, with its table here: a
wrong value is named by the variable, what it is like and what is wanted, and never quoted. An extra variable that
begins with `openngt_` or with the name of a role of the collection, and that nothing here takes, is refused with the
nearest right name. Empty text counts as not given.

Each leaves its numbers by `set_stats`, which AWX keeps as the artifacts of the job and hands to the jobs after it in
a workflow: `counts`, how many hosts (of `health`: checks) there are in each state, and `failures`, how many by [error
code](error-codes.md); also when it fails, and when it fails early. Before anybody was asked all hosts are
`not_begun`; these numbers stay where no host can be reached at all.

<!-- Written by scripts/playbook_pages.py from playbooks/vars/; do not edit by hand. -->
"""


def page() -> str:
    names = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
    return HEAD + "".join(text for name in names for text in section(name))


def section(name: str) -> Iterator[str]:
    playbook = read(ROOT / "playbooks/vars" / f"{name}.yml")["openngt_playbook"]
    yield f"\n## {name}\n\n{playbook['short_description']}. {' '.join(playbook['description'])}\n"
    yield f"Its numbers: `{playbook['artifact']}`.\n\n"
    yield "| variable | form | default | what it is |\n| --- | --- | --- | --- |\n"
    options = playbook["options"]
    for role in playbook["roles"]:
        path = ROOT / "roles" / role / "meta/argument_specs.yml"
        options = {**options, **read(path)["argument_specs"]["main"]["options"]}
    yield from (row(variable, option) for variable, option in options.items())


def row(name: str, option: Mapping[str, Any]) -> str:
    form = f"list of {option['elements']}" if "elements" in option else option["type"]
    if "choices" in option:
        form = "one of " + ", ".join(f"`{choice}`" for choice in option["choices"])
    default = "required" if option.get("required") else shown(option.get("default"))
    return f"| `{name}` | {form} | {default} | {as_markdown(option['description'])} |\n"


def shown(default: Any) -> str:
    return "" if default in (None, "", {}, []) else f"`{default if isinstance(default, str) else json.dumps(default)}`"


def as_markdown(description: str | list[str]) -> str:
    """Ansible's C(), V() and O() are this page's `code`."""
    text = description if isinstance(description, str) else " ".join(description)
    return re.sub(r"\b[CVOE]\(([^)]*)\)", r"`\1`", text).replace("|", "\\|")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def main() -> None:
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") == page():
            return
        sys.exit(f"{PAGE.relative_to(ROOT)} has drifted from the data files; run scripts/generated")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
