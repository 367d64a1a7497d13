# SPDX-License-Identifier: GPL-3.0-or-later
"""F4: kill -9 after each step of an installation or its removal. The next run converges.

The steps are those of the tables in the code, so that a step without its kill case fails here.
"""

import ast
import os
import signal
import subprocess
import sys
import unittest

from check_install import SETTLED, Case, link_status, options, ours
from openngt_agent import identity, install_steps, uninstall
from openngt_agent.install import install
from openngt_agent.paths import UNIT
from support import files_below, write

RUN = """
import sys
sys.path.insert(0, {suite!r})
from support import FakeSystemd, make_guest
from check_install import options
from openngt_agent.install import install
from openngt_agent.paths import Paths
from openngt_agent.uninstall import uninstall
paths = Paths({root!r})
guest = make_guest(paths, FakeSystemd(paths))
{operation}
"""


def failpoints(module):
    """The names in a module's source, in order."""
    with open(module.__file__, encoding="utf-8") as stream:
        tree = ast.parse(stream.read())
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "failpoint"
    ]
    return [ast.literal_eval(call.args[0]) for call in calls]


class Kills(Case):
    def killed(self, operation, failpoint):
        code = RUN.format(suite=os.path.dirname(os.path.abspath(__file__)), root=self.paths.root, operation=operation)
        environment = dict(os.environ, OPENNGT_FAILPOINT=failpoint)
        status = subprocess.Popen([sys.executable, "-c", code], env=environment).wait()
        self.assertEqual(status, -signal.SIGKILL, failpoint)

    def left(self):
        return {name: text for name, text in files_below(self.paths.root).items() if "fake-systemd" not in name}

    def test_each_step_has_its_failpoint(self):
        for module, room in ((install_steps, "install"), (uninstall, "uninstall")):
            steps = ["agent.{0}.{1}".format(room, name) for name in module.STEPS]
            self.assertEqual(sorted(failpoints(module)), sorted(steps))

    def make_needed(self, step):
        """Most steps are needed in a fresh guest; these three are not."""
        if step == "prune":
            write(self.paths.zipapp("0.0.1"), "an older agent")
        elif step == "config":
            install(self.guest, options())
            os.unlink(self.paths.ngt_config)
        elif step == "link":
            link_status(self.paths, generation=3)  # what is waited for is there already

    def test_after_a_kill_at_any_step_the_next_run_converges(self):
        for failpoint in failpoints(install_steps) + failpoints(identity):
            self.setUp()
            step = failpoint[len("agent.install.") :] if failpoint.startswith("agent.install.") else ""
            self.make_needed(step)
            self.killed("install(guest, options(wait={0}))".format(5.0 if step == "link" else 0.0), failpoint)
            install(self.guest, options())
            self.assertEqual(set(ours(self.paths)), SETTLED, failpoint)
            self.assertTrue(self.systemd.is_on("active") and self.systemd.is_on("enabled"), failpoint)
            self.assertFalse(install(self.guest, options())["changed"], failpoint)

    def test_a_kill_between_writing_and_starting_restarts_the_service_next_time(self):
        for failpoint in ("agent.install.unit", "agent.install.reload", "agent.install.enable", "agent.install.start"):
            self.setUp()
            self.systemd(["systemctl", "restart", UNIT])  # an older agent runs
            self.killed("install(guest, options())", failpoint)
            self.systemd.calls.clear()
            install(self.guest, options())
            self.assertIn(["systemctl", "--no-ask-password", "restart", UNIT], self.systemd.calls, failpoint)

    def test_after_a_kill_of_the_removal_the_next_run_leaves_no_file(self):
        for failpoint in failpoints(uninstall):
            self.setUp()
            before = files_below(self.paths.root)
            install(self.guest, options())
            link_status(self.paths)
            self.killed("uninstall(guest)", failpoint)
            uninstall.uninstall(self.guest)
            self.assertEqual(self.left(), before, failpoint)

    def test_removing_what_was_half_installed_leaves_no_file(self):
        for failpoint in (
            "agent.install.begin",
            "agent.install.identity",
            "agent.install.unit",
            "agent.identity.written",
        ):
            self.setUp()
            before = files_below(self.paths.root)
            self.killed("install(guest, options())", failpoint)
            uninstall.uninstall(self.guest)
            self.assertEqual(self.left(), before, failpoint)


if __name__ == "__main__":
    unittest.main()
