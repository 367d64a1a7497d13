# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on many VMs at once: ask the service what would be done, have it done, and say it in Ansible's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .failure import fail
from .openngt import following
from .openngt.client import Client
from .openngt.following import Outcome

__all__ = ["FleetWork"]

Json = dict[str, Any]


class FleetWork(NamedTuple):
    """A kind of such work, as the module of that kind is told of it."""

    plan: Callable[..., list[Json]]
    """The client's call that foretells it: a row for each VM."""
    begin: Callable[..., Json]
    """The client's call that has it done: the service's task."""
    rows: Callable[[Client, str], list[Json]]
    done: str
    """State of a row that came to a good end: `refreshed`."""
    ask: Sequence[str]
    """The module's parameters that `plan` and `begin` take."""
    shown: Callable[[Json, str], Json]
    """(row, `old` or `new`) -> what a diff shows of its VM."""

    def run(self, client: Client, params: Json, *, check_mode: bool) -> Outcome:
        """Foretell it or have it done, or look at `task_id`; with `wait`, its end."""

        def rows_of(task_id: str) -> list[Json]:
            return self.rows(client, task_id)

        asked = {name: params[name] for name in self.ask}
        if params["task_id"]:
            outcome = following.look(client, params["task_id"], rows_of)
        elif check_mode:
            outcome = Outcome(None, True, self.plan(client, **asked))
        else:
            outcome = self._begin(client, asked)
        return following.wait(client, outcome, rows_of) if params["wait"] and not check_mode else outcome

    def _begin(self, client: Client, asked: Json) -> Outcome:
        """Nothing is begun where no VM is due; VMs that are not due stay in the rows."""
        planned = self.plan(client, **asked)
        unchanged = [row for row in planned if row["state"] == "unchanged"]
        if len(unchanged) == len(planned):
            return Outcome(None, True, planned)
        task = self.begin(client, **asked)
        return Outcome(task["task_id"], False, [*self.rows(client, task["task_id"]), *unchanged])

    def end(self, module: Any, outcome: Outcome) -> None:
        """End the module with the outcome; does not return. Work that is still under way has not failed."""
        result, failure = self.result_of(outcome), following.failure_of(outcome, self.done)
        if failure is not None and outcome.finished:
            fail(module, failure, **result)
        module.exit_json(**result)

    def result_of(self, outcome: Outcome) -> Json:
        """`changed`: something is other than before with a VM, or would be."""
        changed = [row for row in outcome.rows if row["state"] in ("due", self.done)]
        return {
            "changed": bool(changed),
            "finished": outcome.finished,
            "task_id": outcome.task_id,
            "vms": outcome.rows,
            "diff": {
                "before": {row["vm_name"]: self.shown(row, "old") for row in changed},
                "after": {row["vm_name"]: self.shown(row, "new") for row in changed},
            },
        }
