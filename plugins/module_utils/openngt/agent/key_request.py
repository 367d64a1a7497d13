# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""A key of the agent's own and the request for its certificate (PKCS#10), made by the guest's `openssl`.

The key goes from openssl to the agent through a pipe: it is on no disk and in no command line, and it leaves the guest
never. The service takes nothing but the public key from the request, so the name in it says nothing.
"""

import functools
import os
import re
from typing import NamedTuple

from .errors import AgentError
from .files import Runner, anonymous_file, run
from .tls import keys_in

__all__ = ["KeyRequest", "make_request", "run_briefly"]

SECONDS = 4.0  # less than two heartbeats: a slow guest must not lose its link over it
run_briefly: Runner = functools.partial(run, timeout=SECONDS)

CURVE = "prime256v1"
# The guest's own openssl.cnf may be missing or ask for more.
SETTINGS = b"[req]\nprompt=no\ndistinguished_name=name\n[name]\nCN=openngt agent\n"

_REQUEST = re.compile("-----BEGIN CERTIFICATE REQUEST-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE REQUEST-----\n")

KeyRequest = NamedTuple("KeyRequest", [("key_pem", str), ("csr_pem", str)])  # the first is secret


def make_request(run: Runner = run_briefly) -> KeyRequest:
    """A fresh P-256 key with its request. COMMAND_NOT_FOUND, COMMAND_FAILED or COMMAND_TIMED_OUT of openssl."""
    with anonymous_file(SETTINGS) as path:
        # openssl reads it while we hold it open, so the path has to name this process.
        settings = path.replace("/proc/self/", "/proc/{0}/".format(os.getpid()), 1)
        command = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:" + CURVE]
        command += ["-pkeyopt", "ec_param_enc:named_curve", "-nodes", "-sha256", "-config", settings, "-keyout", "-"]
        done = run(command)
    keys, request = keys_in(done.stdout), _REQUEST.search(done.stdout)
    if done.returncode != 0 or len(keys) != 1 or request is None:
        said = done.stderr.strip().splitlines()[-1:] or ["exit status {0}".format(done.returncode)]
        raise AgentError("COMMAND_FAILED", "openssl req: {0}".format(said[0][:200]))
    return KeyRequest(keys[0], request.group())
