# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find or install a guest's Python before the module `prerequisites` is sent to it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.install.prerequisites import Finding, demand, is_met, missing_program, parse_version
from ..module_utils.openngt.install.support import FAMILIES, Verdict, install_command, judge, parse

display = Display()

Json = dict[str, Any]
DEFAULT_MINIMUM = "3.6"
# Plain sh, since nothing else can be relied on: lines `python=<path>` and `tar=<path>`, then the os-release file.
PROBE = """\
for python in {candidates}; do
  if "$python" -c 'import sys; sys.exit(sys.version_info < {minimum})' >/dev/null 2>&1; then
    echo "python=$(command -v "$python")"; break
  fi
done
echo "tar=$(command -v tar)"
cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release 2>/dev/null || :"""


class Guest(NamedTuple):
    python: str | None
    tar: str | None
    distribution: Verdict

    def missing(self) -> list[str]:
        return [need for need, path in (("python", self.python), ("tar", self.tar)) if path is None]


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)
        try:
            result.update(self._prepare_and_check(task_vars or {}))
        except OpenNGTError as error:
            result.update(
                failed=True, msg=error.message, **{k: v for k, v in error.to_dict().items() if k != "message"}
            )
        except AnsibleConnectionFailure as exc:
            error = OpenNGTError("GUEST_UNREACHABLE", f"the guest cannot be reached: {exc}")
            result.update(unreachable=True, msg=error.message, code=error.code, remedy=error.remedy, details={})
        return result

    def _prepare_and_check(self, task_vars: Json) -> Json:
        install = boolean(self._task.args.get("install", False))
        guest = self._probe(task_vars)
        missing = guest.missing()
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

    def _probe(self, task_vars: Json) -> Guest:
        minimum = parse_version(str(self._task.args.get("minimum_python", DEFAULT_MINIMUM)))
        candidates = " ".join(shlex.quote(path) for path in self._interpreters(task_vars))
        done = self._low_level_execute_command(PROBE.format(candidates=candidates, minimum=minimum), sudoable=True)
        if done["rc"] != 0:
            said = (done["stderr"] or done["stdout"]).strip()
            raise OpenNGTError("COMMAND_FAILED", f"the guest's shell does not work: {said}", {"rc": done["rc"]})
        lines = parse(done["stdout"])
        return Guest(lines.pop("python", None), lines.pop("tar", "") or None, judge(lines))

    def _interpreters(self, task_vars: Json) -> Sequence[str]:
        """The one that the inventory names, else those that Ansible itself would try."""
        named = self._templar.template(task_vars.get("ansible_python_interpreter", "auto"))
        if not str(named).startswith("auto"):
            return [str(named)]
        fallback = constants.config.get_config_value("INTERPRETER_PYTHON_FALLBACK", variables=task_vars)
        return ["/usr/bin/python3", "python3", *(path for path in fallback if path != "/usr/bin/python")]

    def _install(self, distribution: Verdict, missing: Sequence[str], task_vars: Json) -> None:
        family = known_family(distribution, missing)
        host = task_vars.get("inventory_hostname", "localhost")
        display.display(f"{host}: installing {', '.join(missing)} with {family.manager}")
        done = self._low_level_execute_command(install_command(family.name, list(missing)), sudoable=True)
        if done["rc"] != 0:
            output = (done["stdout"] + done["stderr"]).strip().splitlines()[-20:]
            message = f"{family.manager} could not install {', '.join(missing)}: {output[-1] if output else ''}"
            raise OpenNGTError("COMMAND_FAILED", message, {"rc": done["rc"], "output": output})
        if family.restart:
            message = f"{family.manager} has installed {', '.join(missing)} for the next boot"
            raise OpenNGTError("PREREQUISITES_NOT_MET", message, remedy="restart the guest, then run again")

    def _foretell(self, guest: Guest, missing: Sequence[str], task_vars: Json) -> Json:
        """Check mode where something would be installed: what the module would find then, as far as it can run."""
        family = known_family(guest.distribution, missing)
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

    def _without_python(self, guest: Guest) -> Json:
        """No module can run here, so what the shell told is judged."""
        minimum = self._task.args.get("minimum_python", DEFAULT_MINIMUM)
        found = [missing_program("python", f"{minimum} or newer")]
        if guest.tar is None:
            found.append(missing_program("tar", "on PATH"))
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


def known_family(distribution: Verdict, missing: Sequence[str]) -> Any:
    if distribution.family is None:
        message = f"{distribution.message}: its package manager is not known, so {', '.join(missing)} must be there"
        raise OpenNGTError("UNSUPPORTED_DISTRIBUTION", message, remedy=f"install {', '.join(missing)} by hand")
    return next(family for family in FAMILIES if family.name == distribution.family)


def result_of(found: Sequence[Finding], *, python: str | None = None, **more: Any) -> Json:
    findings = [dict(each._asdict()) for each in found]
    return {"findings": findings, "met": is_met(found), "python": python, **more}
