# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a customization of a Windows guest, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .cloudbase import cloudbase_problems
from .cloudbase_validation import validate_cloudbase_scripts
from .findings import finding
from .model import Customization, Finding, GuestFile
from .sysprep import sysprep_problems
from .unattend_validation import validate_unattend
from .windows_options import holds_password, option_problems
from .windows_paths import path_problem

__all__ = ["validate_windows", "validate_windows_files", "validate_windows_options"]

WAITING = ("first_logon_commands", "winrm_prep")


def validate_windows(customization: Customization) -> list[Finding]:
    """Of the formats `sysprep` and `cloudbase_init`: scripts, options and files. LIBRARY_MISSING."""
    format, install_type = customization.format, customization.install_type
    found = []
    if format == "sysprep":
        for number, script in enumerate(customization.scripts):
            part = f"scripts[{number}]" + (f" ({script.name})" if script.name else "")
            found += validate_unattend(script, part, install_type=install_type)
    else:
        found += validate_cloudbase_scripts(customization.scripts)
    options = customization.options
    given = format == "sysprep" and bool(customization.scripts)
    if options:
        # Beside an answer file they add to it, and install_type is a matter of that file.
        kind = "prepared" if given else install_type
        found += validate_windows_options(options, format=format, install_type=kind)
    found += validate_windows_files(customization.files)
    problems = sysprep_problems(customization) if format == "sysprep" else cloudbase_problems(customization)
    told = {one.part.partition(" ")[0] for one in found if one.severity == "error"}
    for field, what in problems:
        part, _dot, key = field.partition(".")
        # Of meta_data the reserved keys are told for every format.
        if part not in told and part != "meta_data":
            found.append(finding("BAD_OPTION", part, what, key=key))
    return found


def validate_windows_options(
    options: Mapping[str, Any], *, format: str = "sysprep", install_type: str = "prepared"
) -> list[Finding]:
    """The options that do not do, and what their author should know of the rest. It never holds a value."""
    found = [
        finding("BAD_OPTION", "options", problem.message, remedy=problem.remedy, key=problem.key)
        for problem in option_problems(options, format=format, install_type=install_type)
    ]
    if holds_password(options):
        said = (
            "hold a password, which everybody reads who has the disc or a copy of what is on it; base64 hides nothing"
        )
        remedy = "give one that is changed after the first logon"
        found.append(finding("SECRET_IN_CLEAR", "options", said, remedy=remedy, severity="warning"))
    if format == "sysprep" and options.get("autologon") is None:
        for name in WAITING:
            if options.get(name) not in (None, False, []):
                said = "runs at the first logon, and without autologon nobody logs on"
                found.append(finding("LOGON_NEEDED", "options", said, key=name, severity="warning"))
    return found


def validate_windows_files(files: Sequence[GuestFile]) -> list[Finding]:
    found, seen = [], set[str]()
    for number, file in enumerate(files):
        part = f"files[{number}]"
        problem = path_problem(file.path)
        if problem is not None:
            remedy = "give an absolute path, as C:\\Tools\\motd.txt"
            found.append(finding("BAD_FILE_PATH", part, problem, remedy=remedy, key="path"))
        # Letter case does not count on Windows, nor which slash it is.
        same = file.path.replace("/", "\\").lower()
        if same in seen:
            found.append(finding("DUPLICATE_PATH", part, "is that of an earlier file", key="path"))
        seen.add(same)
        for key in ("mode", "owner"):
            if getattr(file, key) != getattr(GuestFile, key):
                found.append(finding("NOT_ON_WINDOWS", part, "means nothing on Windows", key=key, severity="warning"))
    return found
