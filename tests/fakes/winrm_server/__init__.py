# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulator of a Windows guest's WinRM listener: WS-Management over HTTPS for tests, with no Windows behind it.

What "runs" in the guest is a Python callable of the test's own. So a test with it proves transport, login, TLS, the
logic of roles and of errors; it proves nothing about PowerShell, and nothing about a real Windows.

    with WinrmServer(play, users={"Administrator": "secret"}, certificate=make_certificate(folder)) as server:
        ...  # server.port on 127.0.0.1

`play(run)` stands for the program: see `Run`. For faults see `faults.py`, for what Ansible's modules send `ansible.py`.
"""

from .certificates import Certificate, make_certificate
from .faults import AccessDenied, Drip, Drop, Fault, HttpStatus, Quota, ShellGone, Slow, Unauthorized
from .programs import Run, echo, through_bootstrap
from .server import Seen, WinrmServer

__all__ = [
    "AccessDenied",
    "Certificate",
    "Drip",
    "Drop",
    "Fault",
    "HttpStatus",
    "Quota",
    "Run",
    "Seen",
    "ShellGone",
    "Slow",
    "Unauthorized",
    "WinrmServer",
    "echo",
    "make_certificate",
    "through_bootstrap",
]
