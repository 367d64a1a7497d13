# SPDX-License-Identifier: GPL-3.0-or-later
"""Which discs are taken, and with which code all others are refused (T4, T5)."""

import unittest

from openngt_agent import identity, verify
from openngt_agent.errors import AgentError
from openngt_agent.files import read_capped
from support import FACTS, disc, guest_root, text


def trust(**changes):
    found = {"vm_uuid": FACTS["vm"], "stored": None, "ca_sha256": FACTS["ca_sha256"]}
    found.update(changes)
    return verify.Trust(**found)


def judge(name, how):
    """Everything that an installation asks of a disc."""
    found = verify.verify(verify.read_disc(disc(name)), how)
    verify.verify_files(disc(name), found.manifest)
    if found.manifest.kind == "tools":
        verify.read_agent(disc(name), found.manifest)
    return found


class Discs(unittest.TestCase):
    def code_of(self, name, how):
        try:
            judge(name, how)
        except AgentError as exc:
            self.assertNotIn("PRIVATE KEY", exc.message)
            return exc.code
        return None

    def test_each_disc_is_judged_as_it_deserves(self):
        found = {name: self.code_of(name, trust()) for name in FACTS["discs"]}
        self.assertEqual(found, FACTS["discs"])
        self.assertGreater(len(found), 40)

    def test_no_bad_disc_is_taken_on_first_use_but_one_of_another_ca(self):
        first_use = trust(ca_sha256=None)
        taken = {name for name in FACTS["discs"] if self.code_of(name, first_use) is None}
        good = {name for name, code in FACTS["discs"].items() if code is None}
        self.assertEqual(taken, good | {"other-ca", "other-ca-beside-ours"})

    def test_a_good_disc_says_whose_word_it_is(self):
        found = judge("good", trust())
        self.assertEqual((found.identity.generation, found.identity.vm_uuid), (3, FACTS["vm"]))
        self.assertEqual((found.identity.kind, found.trusted_by), ("bootstrap", "fingerprint"))
        self.assertEqual(judge("good", trust(ca_sha256=None)).trusted_by, "first use")
        self.assertEqual(found.config["service_name"], FACTS["service_name"])

    def test_the_stored_ca_is_trusted_and_no_other(self):
        stored = judge("good", trust()).identity
        self.assertEqual(judge("good-newer", trust(stored=stored, ca_sha256=None)).trusted_by, "stored identity")
        self.assertEqual(self.code_of("other-ca", trust(stored=stored, ca_sha256=None)), "DISC_UNTRUSTED")
        self.assertEqual(self.code_of("other-ca-beside-ours", trust(stored=stored, ca_sha256=None)), "DISC_UNTRUSTED")

    def test_a_named_fingerprint_outranks_the_stored_ca(self):
        stored = judge("good", trust()).identity
        other = FACTS["other_ca_sha256"]
        self.assertIsNone(self.code_of("other-ca", trust(stored=stored, ca_sha256=other)))
        self.assertEqual(self.code_of("good", trust(stored=stored, ca_sha256=other)), "DISC_UNTRUSTED")

    def test_a_fingerprint_must_be_one(self):
        self.assertEqual(self.code_of("good", trust(ca_sha256="00")), "INVALID_INPUT")
        self.assertIsNone(self.code_of("good", trust(ca_sha256=FACTS["ca_sha256"].upper())))

    def test_a_vm_without_a_uuid_takes_no_disc(self):
        self.assertEqual(self.code_of("good", trust(vm_uuid=None)), "DISC_OF_ANOTHER_VM")

    def test_the_clock_decides_nothing_but_expiry(self):
        words = verify.read_disc(disc("good"))
        for now, code in ((0.0, None), (4102444800.0, "DISC_EXPIRED")):
            try:
                verify.verify(words, trust(), now)
                found = None
            except AgentError as exc:
                found = exc.code
            self.assertEqual(found, code)

    def test_generations_go_up_only(self):
        older, newer = judge("good", trust()).identity, judge("good-newer", trust()).identity
        identity.check_newer(None, older)
        identity.check_newer(older, newer)
        for stored, new in ((newer, older), (older, older)):
            with self.assertRaises(AgentError) as caught:
                identity.check_newer(stored, new)
            self.assertEqual(caught.exception.code, "DISC_OLDER")

    def test_another_ca_or_vm_counts_its_own_generations(self):
        newer = judge("good-newer", trust()).identity
        identity.check_newer(newer, judge("other-ca", trust(ca_sha256=None)).identity)
        clone = judge("other-vm", trust(vm_uuid=FACTS["other_vm"])).identity
        identity.check_newer(newer, clone)

    def test_only_a_tools_disc_looks_like_one(self):
        self.assertTrue(verify.is_tools_disc(disc("good")))
        for name in ("no-manifest", "truncated-manifest", "pipe-for-manifest"):
            self.assertFalse(verify.is_tools_disc(disc(name)))

    def test_what_was_read_is_not_read_again(self):
        """The copy in memory is judged: a medium that changes afterwards changes nothing."""
        words = verify.read_disc(disc("good"))
        swapped = words._replace(config=words.config.replace(b"127.0.0.1", b"127.0.0.2"))
        with self.assertRaises(AgentError) as caught:
            verify.verify(swapped, trust())
        self.assertEqual(caught.exception.code, "DISC_INVALID")

    def test_links_in_any_part_of_a_path_are_not_followed(self):
        paths = guest_root(self)
        import os

        os.makedirs(paths.at("real"))
        with open(paths.at("real/file"), "w") as stream:
            stream.write("here")
        os.symlink("real", paths.at("folder"))
        os.symlink("file", paths.at("real/link"))
        self.assertEqual(read_capped(paths.root, "real/file", 10), b"here")
        for path in ("folder/file", "real/link", "real"):
            with self.assertRaises(OSError):
                read_capped(paths.root, path, 10)
        with self.assertRaises(OSError):
            read_capped(paths.root, "real/file", 3)


class Materials(unittest.TestCase):
    def test_the_material_is_what_it_is_called(self):
        self.assertIn("BEGIN PRIVATE KEY", text("link-4.pem"))


if __name__ == "__main__":
    unittest.main()
