# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled modules beside the zipapp: taken where they fit, passed over where they do not."""

import hashlib
import importlib.util
import marshal
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

from openngt_agent import compiled
from support import material

MAGIC = importlib.util.MAGIC_NUMBER


class Beside(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.zipapp = os.path.join(self.folder, "ngt_agent.pyz")
        shutil.copy(material("agent.pyz"), self.zipapp)
        with open(self.zipapp, "rb") as stream:
            self.bytes = stream.read()
        self.path = compiled.path_beside(self.zipapp)
        self.content = compiled.content_for(self.bytes)

    def write(self, content):
        with open(self.path, "wb") as stream:
            stream.write(content)

    def said(self, *arguments):
        command = [sys.executable, "-I", self.zipapp] + list(arguments)
        done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        return done.communicate()[0]

    def with_another_version(self):
        """The right file, but that one can tell whether it was taken."""
        codes = self.codes()
        version = marshal.dumps(compile("__version__ = 'compiled'\n", "version.py", "exec"))
        return self.content[: self.start()] + marshal.dumps(dict(codes, **{"openngt_agent.version": version}))

    def start(self):
        return self.content.index(MAGIC) + len(MAGIC) + hashlib.sha256().digest_size

    def codes(self):
        return marshal.loads(self.content[self.start() :])

    def test_it_holds_every_module_that_a_linux_guest_imports(self):
        codes = self.codes()
        self.assertIn("openngt_agent", codes)
        self.assertIn("openngt_agent.service", codes)
        self.assertFalse([name for name in codes if "windows" in name])
        self.assertNotIn("__main__", codes)

    def test_a_start_takes_it(self):
        self.write(self.with_another_version())
        self.assertEqual(self.said("--version"), "compiled\n")

    def test_it_does_not_hold_for_other_bytes(self):
        self.write(self.with_another_version())
        self.assertTrue(compiled.fits(self.path, self.bytes))
        self.assertFalse(compiled.fits(self.path, self.bytes + b"#"))
        with zipfile.ZipFile(self.zipapp, "a") as archive:
            archive.writestr("more", "")
        self.assertEqual(self.said("--version"), "0.1.0\n")

    def test_it_does_not_hold_for_another_python(self):
        self.write(self.with_another_version().replace(MAGIC, b"\0" + MAGIC[1:], 1))
        self.assertFalse(compiled.fits(self.path, self.bytes))
        self.assertEqual(self.said("--version"), "0.1.0\n")

    def test_a_missing_or_damaged_one_costs_nothing_but_time(self):
        self.assertFalse(compiled.fits(self.path, self.bytes))
        self.assertEqual(self.said("--version"), "0.1.0\n")
        for length in (0, 10, len(self.content) - 1000):
            self.write(self.content[:length])
            self.assertEqual(self.said("--version"), "0.1.0\n", length)

    def test_what_is_no_zipapp_has_nothing_compiled(self):
        self.content = compiled.content_for(b"no zip")
        self.write(self.content)
        self.assertTrue(compiled.fits(self.path, b"no zip"))
        self.assertEqual(self.codes(), {})

    def test_a_module_that_is_not_for_this_python_is_left_out(self):
        with zipfile.ZipFile(self.zipapp, "a") as archive:
            archive.writestr("openngt_agent/of_tomorrow.py", "a future statement\n")
        with open(self.zipapp, "rb") as stream:
            self.content = compiled.content_for(stream.read())
        self.assertNotIn("openngt_agent.of_tomorrow", self.codes())
        self.assertIn("openngt_agent.cli", self.codes())


if __name__ == "__main__":
    unittest.main()
