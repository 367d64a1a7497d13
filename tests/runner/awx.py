# SPDX-License-Identifier: GPL-3.0-or-later
"""A job as AWX runs it: a directory of its own, a slice of the inventory, credentials as files and environment.

What AWX keeps of a job is what ansible-runner leaves in `artifacts`, but for `command`: there the environment stands
with its secrets, and AWX masks it before it stores it.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ansible_runner
import yaml
from jinja2.sandbox import SandboxedEnvironment

from ..conftest import program

__all__ = ["Controller", "Job"]

MOST_EVENTS = 4000
"""MAX_UI_JOB_EVENTS of AWX."""
MOST_BYTES = 700_000
"""MAX_EVENT_RES_DATA of AWX: a larger result is cut."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Job:
    folder: Path
    status: int

    @cached_property
    def events(self) -> list[Json]:
        """In their order."""
        found = [json.loads(path.read_text()) for path in self.folder.glob("artifacts/job/job_events/*.json")]
        return sorted(({"event_data": {}, **event} for event in found), key=lambda event: int(event["counter"]))

    @property
    def artifacts(self) -> Json:
        [stats] = [event for event in self.events if event["event"] == "playbook_on_stats"]
        found: Json = stats["event_data"]["artifact_data"]
        return found

    @property
    def progress(self) -> list[str]:
        """Lines that action plugins have shown while a task went on."""
        return [event["stdout"] for event in self.events if event["event"] == "verbose" and event["stdout"].strip()]

    @property
    def text(self) -> str:
        return (self.folder / "artifacts/job/stdout").read_text()

    def hosts(self, event: str, task: str | None = None) -> dict[str, Json]:
        """Host -> result of its last such event (`runner_on_ok`, `runner_on_failed`, …) of any task or of one."""
        found = [each["event_data"] for each in self.events if each["event"] == event]
        return {data["host"]: data["res"] for data in found if task in (None, data["task"])}

    def stored(self) -> Path:
        """What is kept: without the private files, which AWX removes with the directory."""
        (self.folder / "artifacts/job/command").unlink(missing_ok=True)
        return self.folder / "artifacts"


@dataclass(frozen=True)
class Controller:
    """`inventory`: groups and variables as `ansible-inventory --list` has them; `credentials`: type -> fields."""

    folder: Path
    collections: Path
    inventory: Json
    credentials: Mapping[str, Mapping[str, str]]
    types: Sequence[Json]

    def launch(
        self,
        *playbooks: str,
        slices: tuple[int, int] = (1, 1),
        credentials: Sequence[str] = ("openngt service",),
        extra: Mapping[str, Any] | None = None,
        arguments: str = "",
    ) -> Job:
        """A job template's playbook, or several in one job, with `slices` (number, count)."""
        folder = Path(tempfile.mkdtemp(prefix="awx_", dir=self.folder))
        self._project(folder / "project", playbooks)
        self._inventory(folder / "inventory", slices)
        environment = {
            "PATH": f"{Path(program('ansible-playbook')).parent}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_FORCE_COLOR": "True",
            "ANSIBLE_RETRY_FILES_ENABLED": "False",
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "XDG_STATE_HOME": str(folder / "home/state"),
            # The shell in the container has it so.
            "PWD": str(folder / "project"),
            **self._injected(folder / "env", credentials),
        }
        # AWX hands extra variables over as a file.
        (folder / "env/extravars").write_text(json.dumps({"awx_job_id": 7, **(extra or {})}))
        done = ansible_runner.run(
            private_data_dir=str(folder),
            playbook="site.yml",
            ident="job",
            envvars=environment,
            cmdline=f"--forks 5 {arguments}",
            settings={"suppress_ansible_output": True, "idle_timeout": 300},
            suppress_env_files=True,
            quiet=True,
        )
        return Job(folder, int(done.rc))

    def _project(self, folder: Path, playbooks: Sequence[str]) -> None:
        """AWX offers the files of a project alone, so each is a line that imports ours."""
        folder.mkdir(mode=0o700)
        plays = [{"ansible.builtin.import_playbook": f"openngt.guest_tools.{name}"} for name in playbooks]
        (folder / "site.yml").write_text(yaml.safe_dump(plays))

    def _inventory(self, folder: Path, slices: tuple[int, int]) -> None:
        number, count = slices
        hosts: Json = self.inventory["all"]["hosts"]
        kept = {name: hosts[name] for name in sorted(hosts)[number - 1 :: count]}
        listed = {
            "all": {"hosts": list(kept), "vars": self.inventory["all"]["vars"]},
            "_meta": {"hostvars": kept},
        }
        folder.mkdir(mode=0o700)
        script = folder / "hosts"
        script.write_text(f"#!/usr/bin/env python3\nprint({json.dumps(listed)!r})\n")
        script.chmod(0o700)

    def _injected(self, folder: Path, credentials: Sequence[str]) -> dict[str, str]:
        """The environment of the credentials, and their files, 0600 below the job's own directory."""
        folder.mkdir(mode=0o700)
        found: dict[str, str] = {}
        for name in credentials:
            [kind] = [each for each in self.types if each["name"] == name]
            found |= dict(injected(kind["injectors"], self.credentials[name], folder))
        return found


def injected(injectors: Json, fields: Mapping[str, str], folder: Path) -> Iterator[tuple[str, str]]:
    template = SandboxedEnvironment(keep_trailing_newline=True).from_string
    values: Json = dict(fields)
    if "file" in injectors:
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(template(injectors["file"]["template"]).render(**fields))
        values["tower"] = {"filename": file.name}
    for name, text in injectors["env"].items():
        yield name, template(text).render(**values)
