# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows guest as a process, for a test with a real service: installs from a folder, then serves until it goes down.

windows_guest.py LIBRARY VM_UUID DISC CA_SHA256: prints the installer's answer as a line of JSON, then, when the guest
has been told to go down, another one with what was asked of Windows and what the agent had said of itself before.
"""

import io
import json
import sys
import time
import unittest.mock

import fake_windows

library, vm_uuid, disc, ca_sha256 = sys.argv[1:]
windows = fake_windows.become(vm_uuid)
sys.path.insert(0, library)

from openngt_agent import cli, windows_commands  # noqa: E402 - it is for the system that this is now

windows_commands.run_program = windows.run
PATIENCE = 120


def call(*arguments):
    out = io.StringIO()
    with unittest.mock.patch("sys.stdout", out), unittest.mock.patch("sys.stderr", io.StringIO()):
        cli.main(list(arguments) + ["--output", "json"])
    return json.loads(out.getvalue().splitlines()[-1])


def say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def is_told_to_go_down():
    return any(words[0] == "InitiateSystemShutdownExW" for words in windows.said)


windows.insert(disc)
say(call("install", "--source", "D:\\", "--ca-sha256", ca_sha256, "--wait", "60"))
end = time.monotonic() + PATIENCE
while not is_told_to_go_down() and time.monotonic() < end:
    shown = call("status")
    time.sleep(0.2)
windows.control(5)
windows.service_process.join()
say({"down": is_told_to_go_down(), "said": windows.said[-1], "status": shown, "states": windows.states[-2:]})
