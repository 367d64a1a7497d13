# SPDX-License-Identifier: GPL-3.0-or-later
"""F5: kill -9 at each place where the identity's swap has written something. Old or new is there, and complete."""

import os
import signal
import subprocess
import sys
import unittest

from check_identity import of_disc
from openngt_agent import identity
from openngt_agent.files import TEMPORARY
from support import guest_root

FAILPOINTS = ("agent.identity.config", "agent.identity.written", "agent.identity.renamed")
STORE = """
import sys
sys.path.insert(0, {suite!r})
from check_identity import of_disc
from openngt_agent import identity
from openngt_agent.paths import Paths
new, config = of_disc("good-newer")
identity.store(Paths({root!r}), new, config)
"""


class PowerCuts(unittest.TestCase):
    """SIGKILL at each place where something was written."""

    def killed_at(self, root, failpoint):
        code = STORE.format(suite=os.path.dirname(os.path.abspath(__file__)), root=root)
        environment = dict(os.environ, OPENNGT_FAILPOINT=failpoint)
        return subprocess.Popen([sys.executable, "-c", code], env=environment).wait()

    def test_old_or_new_and_complete_and_the_next_run_ends_with_the_new(self):
        for failpoint in FAILPOINTS:
            paths = guest_root(self)
            identity.store(paths, *of_disc("good"))
            self.assertEqual(self.killed_at(paths.root, failpoint), -signal.SIGKILL, failpoint)
            expected = 7 if failpoint == "agent.identity.renamed" else 3
            self.assertEqual(identity.load(paths).generation, expected)
            identity.sweep_unfinished(paths)
            self.assertEqual([name for name in os.listdir(paths.config) if name.startswith(TEMPORARY)], [])
            if expected == 3:
                self.assertEqual(self.killed_at(paths.root, ""), 0)
            self.assertEqual(identity.load(paths).generation, 7)

    def test_the_first_identity_is_there_or_not_at_all(self):
        for failpoint in FAILPOINTS:
            paths = guest_root(self)
            self.assertEqual(self.killed_at(paths.root, failpoint), -signal.SIGKILL)
            found = identity.load_or_none(paths)
            self.assertEqual(found is not None, failpoint == "agent.identity.renamed")


if __name__ == "__main__":
    unittest.main()
