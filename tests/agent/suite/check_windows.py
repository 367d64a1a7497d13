# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent on Windows: in a process that has nothing of POSIX left, Windows' functions played (fake_windows.py)."""

import os
import re
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class OnWindows(unittest.TestCase):
    def test_the_agent_lives_on_windows(self):
        environment = dict(
            os.environ, PYTHONPATH=HERE, LC_ALL="C.UTF-8"
        )  # names of files are Unicode on Windows, always
        command = [sys.executable, os.path.join(HERE, "windows_life.py")]
        done = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        said = done.communicate(timeout=180)[0].decode("utf-8", "replace")
        self.assertEqual(done.returncode, 0, said)
        self.assertNotIn("Traceback", said)
        self.assertGreater(int(re.search(r"Ran (\d+) tests", said).group(1)), 10)


if __name__ == "__main__":
    unittest.main()
