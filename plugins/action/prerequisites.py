# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find or install a guest's Python before the module `prerequisites` is sent to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.failure import told
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.install.bare_guest import (
    Bare,
    at_least,
    demand_brought,
    family_to_bring,
    probe,
    read_probe,
    without_python,
)
from ..module_utils.openngt.install.prerequisites import Finding, demand, is_met, parse_version
from ..module_utils.openngt.install.support import Verdict, install_command

display = Display()

Json = dict[str, Any]
DEFAULT_MINIMUM = "3.6"


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)
        try:
            result.update(self._prepare_and_check(task_vars or {}))
        except OpenNGTError as error:
            result.update(failed=True, **told(error))
        except AnsibleConnectionFailure as exc:
            error = OpenNGTError("GUEST_UNREACHABLE", f"the guest cannot be reached: {exc}")
            result.update(unreachable=True, **told(error))
        return result

    def _prepare_and_check(self, task_vars: Json) -> Json:
        install = boolean(self._task.args.get("install", False))
        guest = self._probe(task_vars)
        missing = missing_in(guest)
        if missing and install and self._task.check_mode:
            return self._foretell(guest, missing, task_vars)
        if missing and install:
            self._install(guest.distribution, missing, task_vars)
            guest = self._probe(task_vars)
        if guest.python is None:
            return self._without_python(guest)
        answer = self._ask_module(task_vars)
        if missing and install and not answer.get("failed"):
            answer.update(changed=True, installed=missing)
        return answer

    def _probe(self, task_vars: Json) -> Bare:
        minimum = parse_version(str(self._task.args.get("minimum_python", DEFAULT_MINIMUM)))
        done = self._low_level_execute_command(probe(self._interpreters(task_vars), at_least(minimum)), sudoable=True)
        if done["rc"] != 0:
            said = (done["stderr"] or done["stdout"]).strip()
            raise OpenNGTError("COMMAND_FAILED", f"the guest's shell does not work: {said}", {"rc": done["rc"]})
        return read_probe(done["stdout"])

    def _interpreters(self, task_vars: Json) -> Sequence[str]:
        """The one that the inventory names, else those that Ansible itself would try."""
        named = self._templar.template(task_vars.get("ansible_python_interpreter", "auto"))
        if not str(named).startswith("auto"):
            return [str(named)]
        fallback = constants.config.get_config_value("INTERPRETER_PYTHON_FALLBACK", variables=task_vars)
        return ["/usr/bin/python3", "python3", *(path for path in fallback if path != "/usr/bin/python")]

    def _install(self, distribution: Verdict, missing: Sequence[str], task_vars: Json) -> None:
        family = family_to_bring(distribution, missing)
        host = task_vars.get("inventory_hostname", "localhost")
        display.display(f"{host}: installing {', '.join(missing)} with {family.manager}")
        done = self._low_level_execute_command(install_command(family.name, list(missing)), sudoable=True)
        demand_brought(family, missing, done["rc"], done["stdout"] + done["stderr"])

    def _foretell(self, guest: Bare, missing: Sequence[str], task_vars: Json) -> Json:
        """Check mode where something would be installed: what the module would find then, as far as it can run."""
        family = family_to_bring(guest.distribution, missing)
        message = f"would install {', '.join(missing)} with {family.manager}"
        coming = [Finding(need, "warning", "not found", "on PATH", message) for need in missing]
        if guest.python is None:
            return result_of(coming, changed=True, installed=missing, msg=message)
        answer = self._ask_module(task_vars, fail=False)
        if answer.get("failed"):
            return answer
        others = [Finding(**each) for each in answer["findings"] if each["name"] not in missing]
        if boolean(self._task.args.get("fail", True)):
            demand(others)
        return result_of([*coming, *others], changed=True, installed=missing, msg=message, python=guest.python)

    def _without_python(self, guest: Bare) -> Json:
        """No module can run here, so what the shell told is judged."""
        minimum = self._task.args.get("minimum_python", DEFAULT_MINIMUM)
        found = without_python(guest, minimum)
        if self._task.check_mode:
            text = "this guest has no Python, so the rest cannot be foretold; without it the run will fail here"
            return result_of(found, changed=False, installed=[], msg=text, warnings=[text])
        if boolean(self._task.args.get("fail", True)):
            demand(found)
        return result_of(found, changed=False, installed=[], msg="this guest has no Python")

    def _ask_module(self, task_vars: Json, **changed_arguments: Any) -> Json:
        arguments = {**self._task.args, **changed_arguments}
        answer: Json = self._execute_module(module_args=arguments, task_vars=task_vars)
        return answer


def missing_in(guest: Bare) -> list[str]:
    return [need for need, path in (("python", guest.python), ("tar", guest.tar)) if path is None]


def result_of(found: Sequence[Finding], *, python: str | None = None, **more: Any) -> Json:
    findings = [dict(each._asdict()) for each in found]
    return {"findings": findings, "met": is_met(found), "python": python, **more}
