# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""How an error of the library becomes a failed task: one shape for every module and action."""

from typing import Any, Dict

from .openngt.errors import OpenNGTError

__all__ = ["fail", "told"]


def fail(module: Any, error: OpenNGTError, **result: Any) -> None:
    """End the module as failed with `msg`, `code`, `remedy` and `details`; does not return.

    `result` adds values that are of use after a failure, too (a diff, the findings so far).
    """
    module.fail_json(**told(error), **result)


def told(error: OpenNGTError) -> Dict[str, Any]:
    """The error's part of a result."""
    return {"msg": error.message, "code": error.code, "remedy": error.remedy, "details": error.details}
