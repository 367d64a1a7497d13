# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What became of cloud-init in this boot, for the status record: so the service learns how a customization ended."""

import os
from typing import Any, Dict, Optional

from .paths import Paths

__all__ = ["shown"]

SAID = {"running": "running", "done": "done", "failed": "error"}
MOST_ERRORS = 8
MOST_ERROR = 256


def shown(paths: Paths) -> Optional[Dict[str, Any]]:
    """`instance_id`, `status` (`running`, `done`, `error`), `errors`, `module` and `message`; None where cloud-init was
    not at work in this boot.

    By files alone: this is asked each minute.
    """
    if not os.path.exists(paths.at("run/cloud-init/status.json")):
        return None
    from . import cloud_init  # here alone: most guests have none, and it costs each start of the agent

    found = cloud_init.read(paths.root, ask=False)
    status = SAID.get(found["state"])
    if status is None:
        return None
    return {
        "instance_id": found["instance_id"],
        "status": status,
        "errors": [error[:MOST_ERROR] for error in found["errors"][:MOST_ERRORS]],
        "module": found["module"],
        "message": found["message"],
    }
