# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity on disk: one private file that holds together, and never goes back."""

import os
import re
import stat
import unittest

from openngt_agent import identity, verify
from openngt_agent.errors import AgentError
from support import FACTS, disc, guest_root, text

HEADER = re.compile(rb"\A# openngt identity 1 (\{.*\})\n-----BEGIN PRIVATE KEY-----\n")


def of_disc(name):
    found = verify.verify(verify.read_disc(disc(name)), verify.Trust(FACTS["vm"], None, FACTS["ca_sha256"]))
    return found.identity, found.config


def link_identity(name="link-4"):
    return identity.make("link", FACTS["cluster"], text(name + ".pem"), text("ca.pem"), FACTS["ca_sha256"], False)


class Stored(unittest.TestCase):
    def setUp(self):
        self.paths = guest_root(self)

    def content(self):
        with open(self.paths.identity, "rb") as stream:
            return stream.read()

    def refused(self, content):
        with self.assertRaises(ValueError) as caught:
            identity.parse(content)
        self.assertNotIn("BEGIN", str(caught.exception))

    def test_what_is_stored_is_loaded(self):
        new, config = of_disc("good")
        identity.store(self.paths, new, config)
        self.assertEqual(identity.load(self.paths), new)
        self.assertTrue(HEADER.match(self.content()))

    def test_nobody_but_root_reads_it(self):
        old = os.umask(0)
        try:
            identity.store(self.paths, *of_disc("good"))
        finally:
            os.umask(old)
        self.assertEqual(stat.S_IMODE(os.stat(self.paths.config).st_mode), 0o700)
        for path in (self.paths.identity, self.paths.ngt_config):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_a_generation_never_goes_back(self):
        identity.store(self.paths, *of_disc("good-newer"))
        before = self.content()
        for name in ("good", "good-newer"):
            with self.assertRaises(AgentError) as caught:
                identity.store(self.paths, *of_disc(name))
            self.assertEqual(caught.exception.code, "DISC_OLDER")
        self.assertEqual(self.content(), before)

    def test_several_cas_are_kept(self):
        identity.store(self.paths, *of_disc("two-cas"))
        self.assertEqual(identity.load(self.paths).ca_pem.count("BEGIN CERTIFICATE"), 2)

    def test_an_expired_identity_is_still_known(self):
        found = identity.parse(identity.render(link_identity("link-expired")))
        self.assertEqual(found.generation, 4)
        with self.assertRaises(ValueError):
            identity.make("link", FACTS["cluster"], text("link-expired.pem"), text("ca.pem"), FACTS["ca_sha256"])

    def test_damage_is_noticed(self):
        content = identity.render(link_identity())
        other = identity.render(link_identity("link-5"))
        key_end = content.index(b"-----BEGIN CERTIFICATE")
        self.refused(b"")
        self.refused(content[:-1])
        self.refused(content[: len(content) // 2])
        self.refused(content + b"-----BEGIN")
        self.refused(b"\0" * len(content))
        self.refused(content.replace(b'"generation":4', b'"generation":5'))
        self.refused(content.replace(b'"kind":"link"', b'"kind":"root"'))
        self.refused(content.replace(FACTS["vm"].encode(), FACTS["other_vm"].encode()))
        self.refused(content.replace(FACTS["ca_sha256"].encode(), FACTS["other_ca_sha256"].encode()))
        self.refused(content[:key_end] + other[other.index(b"-----BEGIN CERTIFICATE") :])
        for at in range(200, len(content), 97):
            if content[at : at + 1] not in b"\n-":
                try:
                    found = identity.parse(content[:at] + b"!" + content[at + 1 :])
                except ValueError:
                    continue
                self.fail("byte {0} was altered and {1} came out".format(at, found.generation))

    def test_missing_or_damaged_has_a_code(self):
        for content in (None, b"x"):
            if content is not None:
                os.makedirs(self.paths.config)
                with open(self.paths.identity, "wb") as stream:
                    stream.write(content)
            with self.assertRaises(AgentError) as caught:
                identity.load(self.paths)
            self.assertEqual(caught.exception.code, "IDENTITY_INVALID")
            self.assertIsNone(identity.load_or_none(self.paths))

    def test_a_link_in_its_place_is_not_followed(self):
        identity.store(self.paths, *of_disc("good"))
        os.rename(self.paths.identity, self.paths.at("elsewhere"))
        os.symlink(self.paths.at("elsewhere"), self.paths.identity)
        with self.assertRaises(AgentError):
            identity.load(self.paths)


if __name__ == "__main__":
    unittest.main()
