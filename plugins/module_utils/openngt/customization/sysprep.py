# SPDX-License-Identifier: GPL-3.0-or-later
"""The disc with an answer file for Windows, and what else it brings into the guest.

Windows looks for the answer file at the root of every drive, by its name alone: `unattend.xml` in the passes of a
prepared image, `Autounattend.xml` in those of Windows Setup ("Windows Setup Automation Overview"). The rest stands in
`openngt/`, found by the disc's label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import OpenNGTError
from .model import Customization, GuestFile, Media, MediaFile, MediaVm
from .unattend import build_unattend
from .unattend_merge import with_commands
from .windows_options import check_options, network_of
from .windows_paths import path_problem
from .windows_scripts import (
    LABEL,
    SCRUB,
    SCRUB_COMMAND,
    SPECIALIZE,
    SPECIALIZE_COMMAND,
    WINRM_COMMAND,
    winrm_script,
)

__all__ = ["ANSWER_FILES", "LIMIT", "build_sysprep", "host_names", "sysprep_problems"]

ANSWER_FILES = {"prepared": "unattend.xml", "fresh": "Autounattend.xml"}
LIMIT = 32_000
"""Bytes of an answer file, as the original's API has it."""
BESIDE_A_FILE = ("winrm_prep", "scrub")
"""Options that add to an answer file that is given; the others build one."""
CRLF = "\r\n"


def build_sysprep(customization: Customization, vm: MediaVm) -> Media:
    """INVALID_INPUT names what is wrong as `scripts`, `options.computer_name`, `files[0].path`; never a value.

    An answer file that is given is put on the disc byte for byte, unless commands have to be added for `files`,
    `options.winrm_prep` or `options.scrub`.
    """
    options = customization.options
    _check(customization)
    staged = _staged(customization, vm)
    specialize = [SPECIALIZE_COMMAND] if staged else []
    first_logon = _first_logon(options, given=bool(customization.scripts))
    if customization.scripts:
        [script] = customization.scripts
        answer, field = script.content, "scripts[0].content"
        if staged:
            answer = with_commands(answer, specialize, first_logon)
    else:
        field = "options"
        answer = build_unattend(
            options,
            install_type=customization.install_type,
            network=customization.network if customization.network is not None else network_of(options),
            specialize=specialize,
            first_logon=first_logon,
        )
    if len(answer) > LIMIT:
        message = f"{field} makes an answer file of {len(answer)} bytes; at most {LIMIT} are taken"
        remedy = "put commands into a script, give that as one of files, and run it by one command"
        raise OpenNGTError("INVALID_INPUT", message, {"field": field, "most_bytes": LIMIT}, remedy=remedy)
    return Media(LABEL, (MediaFile(ANSWER_FILES[customization.install_type], answer), *staged))


def host_names(vm: MediaVm) -> Sequence[str]:
    """The VM's name, where a certificate could bear it."""
    return [vm.vm_name] if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", vm.vm_name) else []


def sysprep_problems(customization: Customization) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it), but for options and the answer file, each of which is judged by itself."""
    scripts, options = customization.scripts, customization.options
    if len(scripts) > 1:
        yield "scripts", f"holds {len(scripts)} answer files; Windows reads one"
    if not scripts and not options and customization.network is None:
        yield "scripts", "has no answer file, and there are no options to build one from"
    if scripts and any(name not in BESIDE_A_FILE for name in options if options[name] is not None):
        yield "options", f"cannot be put into an answer file that is given, but for {' and '.join(BESIDE_A_FILE)}"
    if customization.network is not None and scripts:
        yield "network", "cannot be put into an answer file that is given: set it there, in Microsoft-Windows-TCPIP"
    if customization.network is not None and options.get("interfaces") is not None:
        yield "options.interfaces", "is given beside network: one of them is enough"
    for number, file in enumerate(customization.files):
        problem = path_problem(file.path)
        if problem is not None:
            yield f"files[{number}].path", problem


def _check(customization: Customization) -> None:
    for field, what in sysprep_problems(customization):
        raise OpenNGTError("INVALID_INPUT", f"{field} {what}", {"field": field})
    install_type = "prepared" if customization.scripts else customization.install_type
    check_options(customization.options, install_type=install_type)


def _staged(customization: Customization, vm: MediaVm) -> list[MediaFile]:
    """What stands in `openngt/`; nothing when the answer file is all there is to it."""
    options, files = customization.options, customization.files
    scripts = {}
    if options.get("winrm_prep") not in (None, False):
        scripts["winrm_prep.ps1"] = winrm_script(options["winrm_prep"], host_names(vm))
    if _scrubs(options, given=bool(customization.scripts)):
        scripts["scrub.ps1"] = SCRUB
    if not scripts and not files:
        return []
    texts = {"specialize.ps1": SPECIALIZE, **scripts, "files.json": _listing(files)}
    staged = [MediaFile(f"openngt/{name}", text.replace("\n", CRLF).encode()) for name, text in texts.items()]
    return staged + [MediaFile(f"openngt/files/{number}", file.content) for number, file in enumerate(files)]


def _listing(files: Sequence[GuestFile]) -> str:
    """Plain ASCII, whatever the paths are: the guest reads it by its own code page."""
    rows = [{"source": f"files\\{n}", "path": file.path.replace("/", "\\")} for n, file in enumerate(files)]
    return json.dumps({"files": rows}, indent=1) + "\n"


def _first_logon(options: Mapping[str, Any], *, given: bool) -> list[str]:
    winrm = [WINRM_COMMAND] if options.get("winrm_prep") not in (None, False) else []
    # The last one: none before it reads the answer file.
    return winrm + ([SCRUB_COMMAND] if _scrubs(options, given=given) else [])


def _scrubs(options: Mapping[str, Any], *, given: bool) -> bool:
    asked = options.get("scrub")
    return (not given) if asked is None else bool(asked)
