# SPDX-License-Identifier: GPL-3.0-or-later
"""How a command line of ours runs in a guest whose login shell may be anything, and how it becomes root.

The login shell is asked for `/bin/sh` alone, words that sh, csh and fish read alike, and that shell gets its script on
standard input. It says `reached` when it runs and `ready` when the command begins, with marks that were chosen for this
one program; what rc files print before is noise. Nothing else is written before `ready`, as a shell may read ahead.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from ...errors import OpenNGTError
from ..fleet.target import Become

__all__ = ["LOGIN_COMMAND", "Fail", "Marks", "refusal", "script"]

LOGIN_COMMAND = "/bin/sh"

# What sudo 1.8 and 1.9 and sudo-rs say in the C locale; matched in lower case.
PASSWORD_NEEDED = (
    "a password is required",
    "interactive authentication is required",
    "no password was provided",
    "no askpass program",
)
EXPIRED = ("password has expired", "password change required")
TTY_NEEDED = ("you must have a tty",)
NOT_INSTALLED = ("sudo is not installed",)


class Marks(NamedTuple):
    """Words that nobody else says."""

    reached: bytes
    ready: bytes
    prompt: bytes
    """With which sudo asks."""

    @classmethod
    def fresh(cls) -> Marks:
        tag = secrets.token_hex(8)
        return cls(f"openngt-reached-{tag}".encode(), f"openngt-ready-{tag}".encode(), f"[openngt-{tag}] ".encode())


def script(command: str, marks: Marks, become: Become | None) -> bytes:
    """What /bin/sh reads: one compound command, so it is read whole before it begins. No secret is in it.

    It ends with the command's exit status, 128 + n when signal n ended that. `become` None: as the login itself.
    """
    inner = shlex.quote(f"printf '%s\\n' {marks.ready.decode()}\n{command}")
    run = f"/bin/sh -c {inner}"
    if become is not None and become.method == "sudo":
        run = _with_sudo(command, marks, become, run)
    return f"{{ printf '%s\\n' {marks.reached.decode()}\n{run}\nexit $?\n}}\n".encode()


def _with_sudo(command: str, marks: Marks, become: Become, as_it_is: str) -> str:
    # The C locale is for sudo's own words, which are read here; the command gets the guest's LANG back.
    inner = shlex.quote(f"printf '%s\\n' {marks.ready.decode()}\nunset LC_ALL LANGUAGE\n{command}")
    how = "-n" if become.password is None else f"-S -p {shlex.quote(marks.prompt.decode())}"
    sudo = f"LC_ALL=C LANGUAGE= sudo -H {how} -u {shlex.quote(become.user)} -- /bin/sh -c {inner}"
    absent = "printf '%s\\n' 'sudo is not installed' >&2\nexit 127"
    elevated = f"if command -v sudo >/dev/null 2>&1; then\n{sudo}\nelse\n{absent}\nfi"
    if become.user != "root":
        return elevated
    return f'if [ "$(id -u)" = 0 ]; then\n{as_it_is}\nelse\n{elevated}\nfi'


class Fail(Protocol):
    """An error that names the guest."""

    def __call__(
        self, code: str, what: str, details: Mapping[str, object] | None = None, remedy: str | None = None, /
    ) -> OpenNGTError:
        """To be raised by the caller."""


def refusal(
    fail: Fail, user: str, *, reached: bool, elevating: bool, answered: bool, status: int, said: str
) -> OpenNGTError:
    """Why the guest's side ended before the command began, by what it said."""
    details = {"exit_status": status, "said": said}
    words = said.lower()
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), f"exit status {status}")
    if not reached:
        if any(each in words for each in EXPIRED):
            return fail("GUEST_LOGIN_FAILED", f"takes the login, but the password of {user} has expired", details)
        return fail("SHELL_MISSING", f"gives {user} no shell: {last}", details)
    if not elevating:
        return fail("SHELL_MISSING", f"runs no command for {user}: {last}", details)
    if any(each in words for each in TTY_NEEDED):
        remedy = "take requiretty out of the guest's sudoers, or add: Defaults:USER !requiretty"
        return fail("SUDO_REFUSED", f"refuses sudo to {user} without a terminal (requiretty)", details, remedy)
    if any(each in words for each in NOT_INSTALLED):
        return fail("SUDO_REFUSED", "has no sudo", details)
    if not answered and any(each in words for each in PASSWORD_NEEDED):
        return fail("SUDO_PASSWORD_NEEDED", f"wants a password for sudo of {user}", details)
    return fail("SUDO_REFUSED", f"refuses sudo to {user}: {last}", details)
