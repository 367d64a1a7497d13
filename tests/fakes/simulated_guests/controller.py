# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet's installation as a process of its own, which can be killed and measured.

python -m tests.fakes.simulated_guests.controller PLAN   the plan as JSON: `targets`, `options`

The service is that of OPENNGT_ENDPOINT, OPENNGT_TOKEN and OPENNGT_CA_FILE. A line of JSON for each event, the report
last.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openngt.client import Client
from openngt.install.fleet.report import Event, Options
from openngt.install.fleet.runner import install
from openngt.install.fleet.target import Become, HostKeys, Secret, SshLogin, Target

__all__ = ["main", "target_of"]


def target_of(told: Mapping[str, Any]) -> Target:
    """A guest as SimulatedFleet.targets has it."""
    password = None if told["password"] is None else Secret(told["password"])
    login = SshLogin(
        told["host"],
        told["port"],
        told["user"],
        password,
        told["key"],
        use_agent=False,
        host_keys=HostKeys((told["known_hosts"],)),
        become=Become(password=password),
    )
    return Target(told["name"], told["vm"], login)


def client() -> Client:
    return Client(os.environ["OPENNGT_ENDPOINT"], os.environ["OPENNGT_TOKEN"], os.environ["OPENNGT_CA_FILE"])


def tell(event: Event) -> None:
    row = None if event.row is None else event.row.to_dict()
    sys.stdout.write(json.dumps({"name": event.name, "phase": event.phase, "row": row}) + "\n")
    sys.stdout.flush()


def main(plan: Path) -> None:
    told = json.loads(plan.read_text())
    options = told["options"]
    if "journal" in options:
        options["journal"] = Path(options["journal"])
    report = install([target_of(each) for each in told["targets"]], Options(**options), client, tell)
    rows = [row.to_dict() for row in report.rows]
    sys.stdout.write(json.dumps({"report": rows, "summary": report.summary, "limit_file": report.limit_file}) + "\n")
    sys.exit(0 if report.error is None else 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
