# SPDX-License-Identifier: GPL-3.0-or-later
"""F4, T40: kill -9 after each step of an upgrade. An agent serves at any moment, and the next run comes to the end."""

import os
import signal
import subprocess
import sys
import unittest

from check_upgrade import NEW, PACKAGE, Case
from kill_install import failpoints
from openngt_agent import upgrade as module
from openngt_agent.upgrade import upgrade

RUN = """
import sys
sys.path.insert(0, {suite!r})
from support import make_guest
from check_upgrade import Behaviour
from openngt_agent.paths import Paths
from openngt_agent.upgrade import upgrade
paths = Paths({root!r})
systemd = Behaviour(paths, {new!r})
upgrade(make_guest(paths, systemd, None, systemd.tick))
"""
BEFORE_THE_FLIP = ("agent.upgrade.put", "agent.upgrade.marked")


class Kills(Case):
    def killed(self, failpoint, new):
        code = RUN.format(suite=os.path.dirname(os.path.abspath(__file__)), root=self.paths.root, new=new)
        environment = dict(os.environ, OPENNGT_FAILPOINT=failpoint)
        status = subprocess.Popen([sys.executable, "-c", code], env=environment).wait()
        self.assertEqual(status, -signal.SIGKILL, failpoint)

    def whole(self, failpoint):
        """The agent that `current` names is there, complete."""
        version = os.readlink(self.paths.current)
        with open(self.paths.zipapp(version), "rb") as stream:
            self.assertEqual(len(stream.read()), len(PACKAGE) - (version != NEW), failpoint)
        if failpoint in BEFORE_THE_FLIP:
            self.assertEqual(version, "0.1.0", failpoint)

    def test_after_a_kill_at_any_step_the_next_run_comes_to_the_same_end(self):
        for new, end in (("good", "kept"), ("crashes", "rolled_back")):
            for failpoint in failpoints(module):
                self.setUp(new)
                self.stage(seconds=30)
                self.killed(failpoint, new)
                self.whole(failpoint)
                self.assertIn(os.readlink(self.paths.proven), ("0.1.0", NEW) if end == "kept" else ("0.1.0",))
                self.assertEqual(upgrade(self.guest)["state"], end, failpoint)
                version = NEW if end == "kept" else "0.1.0"
                self.assertEqual(self.serves(), (version, version), failpoint)
                self.assertEqual(self.record()["state"], end, failpoint)
                self.clean()

    def test_a_kill_after_the_end_leaves_nothing_to_do(self):
        self.stage()
        upgrade(self.guest)
        self.clean()


if __name__ == "__main__":
    unittest.main()
