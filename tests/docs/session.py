# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the examples of one page in its order, as one person at one terminal does; what a page takes for granted."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .examples import MODULES, PAGES, ROOT, Example, examples_of, files_of, tasks_of
from .shape import differences
from .shell import Finished, Shell

__all__ = [
    "NOT_RUN",
    "UNIT",
    "UUIDS",
    "Session",
    "copy_tree",
    "not_run",
    "on_guests",
    "page_name",
    "run_page",
    "take_a_guest",
]

UUIDS = {"web1": "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "db1": "564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11"}
"""The VMs of all pages, where a page says which UUID."""

NOT_RUN = {
    ("README.md", "make demo"): "boots guests of its own; tests/service/lab/test_demo.py runs the command",
    ("README.md", "make test"): "is what runs this",
    ("docs/lab.md", "make demo"): "as on the first page",
    ("docs/molecule.md", "scripts/molecule"): "is the last part of make test",
    ("docs/benchmarks.md", "make bench"): "measures for many minutes, and means something on an idle machine only",
    ("docs/guide.md", "ansible-playbook service.yml"): "sets up a host of yours, from its distribution's packages",
    ("roles/guest_tools_service/README.md", "- name: Guest Tools Service"): "as in the guide",
    ("docs/fleet-install.md", "ansible-playbook openngt.guest_tools.fleet_install"): "tests/e2e/test_fleet_install.py",
    ("plugins/modules/fleet_install.py", "- name: "): "the same in tests/simulated/test_fleet_playbook.py",
    ("docs/upgrade.md", "ansible-playbook openngt.guest_tools.upgrade"): "the same in tests/e2e/test_upgrade.py",
    ("docs/upgrade.md", "openngt upgrade run"): "the same in tests/plugins/test_upgrade.py",
    ("docs/template-to-fleet.md", ""): "all of it in tests/e2e/test_template_to_fleet.py",
    ("docs/air-gapped.md", ""): "all of it in tests/artefacts/test_bundle.py",
    ("docs/releasing.md", ""): "builds for minutes, and writes the changelog; its parts in tests/artefacts",
    ("docs/packages.md", "dpkg -i"): "the same in tests/e2e/test_packages.py",
    ("docs/packages.md", "ngtcli status"): "as the line above",
    ("docs/credentials.md", "openngt fleet install"): "the same in tests/simulated/test_cli.py",
    ("docs/credentials.md", "openngt fleet check --credentials fleet.json --max-in-flight"): "as the line above",
    ("docs/backup.md", "ansible-playbook openngt.guest_tools.backup"): "works on such a host: test_service_role.py",
    ("docs/backup.md", "ansible-playbook openngt.guest_tools.restore"): "as the line above",
    ("roles/guest_customization/README.md", "- name: "): "ends logins: tests/e2e/test_guest_customization.py",
    ("plugins/modules/cloud_init_info.py", "- name: "): "the same in tests/e2e/test_guest_customization.py",
    ("docs/awx.md", "ansible-playbook awx.yml"): "needs an AWX; before a stand-in in tests/awx",
    ("docs/awx.md", "- name: Set AWX up"): "as the line above",
    ("roles/awx_setup/README.md", "- name: Set AWX up"): "as the line above",
    ("docs/sysprep.md", "- name: Read what became"): "needs a Windows guest: tests/plugins/test_panther.py",
    (
        "plugins/modules/windows_agent.py",
        "- name: Say what",
    ): "needs a Windows guest: tests/plugins/test_windows_agent.py",
}
"""Page and beginning of the example -> why no test runs it."""

GUEST_ROLES = {"openngt.guest_tools.guest_agent", "openngt.guest_tools.linux_prerequisites"}
GUEST_MODULES = {f"openngt.guest_tools.{name}" for name in ("agent", "link_info", "power", "prerequisites", "refresh")}
CONTROLLERS_PLAYBOOKS = {f"openngt.guest_tools.{name}" for name in ("customize", "health", "report", "winrm_prep")}
"""Those that neither log in to a guest nor ask its agent."""

UNIT = "openngt.service"
"""The service of a page that stops and starts it is this terminal's."""


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def not_run(example: Example) -> bool:
    begin = (page_name(example.block.page), example.text)
    return any(begin[0] == page and begin[1].startswith(text) for page, text in NOT_RUN)


def on_guests(example: Example) -> bool:
    """Whether it takes a real guest: it is typed in one, starts one, works on one, or asks its agent for something."""
    if example.kind == "yaml":
        return plays_on_guests(example.text)
    for command in example.commands:
        first, *rest = command.words
        if command.in_guest or first == "ansible" or (first == "openngt" and asks_guests(rest)):
            return True
        if first == "ansible-playbook" and "--list-hosts" not in rest:
            files = files_of(example.block.page)
            played = [files[word] for word in rest if word in files and word.endswith(".yml")]
            ours = {word for word in rest if word.startswith("openngt.guest_tools.")}
            if any(map(plays_on_guests, played)) or ours - CONTROLLERS_PLAYBOOKS:
                return True
    return False


def take_a_guest() -> list[Path]:
    """The pages with an example that does."""
    return [
        page for page in [*PAGES, *MODULES] if any(on_guests(one) and not not_run(one) for one in examples_of(page))
    ]


def asks_guests(words: Sequence[str]) -> bool:
    """Of `openngt`'s arguments. Where a page switches VMs, what it shows follows from what their guests did."""
    asking = (["vm", "power"], ["refresh", "run"], ["refresh", "show"], ["task", "cancel"])
    return words[0] == "lab" or words[:2] in asking


def plays_on_guests(text: str) -> bool:
    plays = yaml.safe_load(text)
    if isinstance(plays, dict):  # an inventory
        return False
    roles = {role["role"] for play in plays for role in play.get("roles", [])}
    waits = "openngt.guest_tools.vm_info"
    return bool(roles & GUEST_ROLES) or any(
        GUEST_MODULES & set(task) or (task.get(waits) or {}).get("wait_for_link") for task in tasks_of(text)
    )


@dataclass
class Session:
    """`translated` maps what the pages name to what is so here, `ids` what they call by an id of the service's to the
    command that finds its own; `guest` runs what is typed in a guest.
    """

    shell: Shell
    page: Path
    translated: Mapping[str, str]
    variables: Mapping[str, Any]
    guest: Callable[[str], Finished] | None = None
    ids: Mapping[str, str] = field(default_factory=dict)

    def lay_out(self, inventory: Mapping[str, Any], before: Sequence[str] = ()) -> None:
        """The files that the page shows, an inventory where it shows none, and what the page takes for granted."""
        folder = self.shell.folder
        files = {"group_vars/all.yml": "", **files_of(self.page)}
        files["group_vars/all.yml"] += yaml.safe_dump(dict(self.variables)) if self.variables else ""
        (folder / "group_vars").mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(self.here(text), encoding="utf-8")
        (folder / "inventory").write_text(yaml.safe_dump(dict(inventory)), encoding="utf-8")
        for command in before:
            done = self.start(self.here(command))
            assert done.status == 0, f"{command}\n{done.output}"

    def here(self, text: str) -> str:
        for theirs, ours in self.translated.items():
            text = text.replace(theirs, ours)
        for theirs, command in self.ids.items():
            if theirs in text:
                found = self.shell.run(command)
                assert found.status == 0 and found.output.strip(), f"{theirs}: {command}\n{found.output}"
                text = text.replace(theirs, found.output.strip())
        return text

    def run(self, example: Example) -> None:
        """It succeeds, or fails as the page shows, and prints what the page prints."""
        done = self.done(example)
        fails = any(line.startswith("error:") for line in example.printed)
        assert done.status == (1 if fails else 0), f"{example.where}\n{done.output}"
        if example.printed:
            different = differences(example.printed, done.output.splitlines())
            assert different is None, f"{example.where}\n{different}"

    def done(self, example: Example) -> Finished:
        if example.in_guest:
            assert self.guest is not None, f"{example.where}: needs a guest"
            return self.guest(self.here(example.text))
        if example.kind == "command":
            return self.start(self.here(example.text))
        if example.kind == "python":
            return self.shell.run(f"python3 {self.written('example.py', example.text)}")
        return self.shell.run(f"ansible-playbook -i inventory {self.written('example.yml', as_plays(example))}")

    def start(self, command: str) -> Finished:
        """What does not end by itself is left running, as in a terminal of its own."""
        if command == f"systemctl stop {UNIT}":
            self.shell.stop()
            return Finished(0, "")
        if command == f"systemctl start {UNIT}":
            command = "openngt serve"
        return self.shell.serve(command) if command.startswith("openngt serve") else self.shell.run(command)

    def written(self, name: str, text: str) -> str:
        (self.shell.folder / name).write_text(self.here(text), encoding="utf-8")
        return name


def as_plays(example: Example) -> str:
    """Tasks alone become a play: on the guest if one of them works there, else on the controller in the VM's name."""
    if all("hosts" in entry for entry in yaml.safe_load(example.text)):
        return example.text
    play: dict[str, Any] = {"hosts": "web1", "gather_facts": False}
    if not on_guests(example):
        play |= {"connection": "local", "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}}
    return yaml.safe_dump([{**play, "tasks": yaml.safe_load(example.text)}])


def copy_tree(folder: Path) -> None:
    """The source tree as one who has cloned it has it, its environment already made."""
    for name in ("Makefile", "README.md", "pyproject.toml", "galaxy.yml", "LICENSE"):
        shutil.copy2(ROOT / name, folder)
    for name in ("changelogs", "meta", "playbooks", "plugins", "roles", "scripts", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "build").mkdir()
    (folder / "build/venv").symlink_to(ROOT / "build/venv")


def run_page(session: Session, wanted: Callable[[Example], bool]) -> None:
    """Those of its examples that are wanted, in its order."""
    for example in examples_of(session.page):
        if not not_run(example) and wanted(example):
            session.run(example)
