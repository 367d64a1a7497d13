# SPDX-License-Identifier: GPL-3.0-or-later
"""T5: another CA than the stored one is followed when that one vouches for it, and never otherwise."""

import json
import os
import unittest

from openngt_agent import adopt, identity, verify
from openngt_agent.errors import AgentError
from support import FACTS, guest_root, material, text

FOUND = json.loads(text("successions.json"))


def stored_of(name):
    """What a guest has stored: its certificate has run out by now, as it slept for long."""
    client_pem, ca_pem = text(name + ".pem"), text(name + "-ca.pem")
    from openngt_agent.tls import fingerprint

    return identity.make("link", FACTS["cluster"], client_pem, ca_pem, fingerprint(ca_pem), check_time=False)


def code_of(name, stored):
    try:
        verify.verify(disc_of(name), verify.Trust(FACTS["vm"], stored, None))
    except AgentError as exc:
        return exc.code
    return None


def disc_of(name):
    return verify.read_disc(material("discs-of-successors", name))


class Successions(unittest.TestCase):
    def test_each_disc_is_judged_as_it_deserves(self):
        found = {name: [stored, code_of(name, stored_of(stored))] for name, (stored, _code) in FOUND["discs"].items()}
        self.assertEqual(found, FOUND["discs"])
        self.assertGreater(len([code for _stored, code in found.values() if code is not None]), 8)

    def taken(self, name, stored):
        """The guest's identity file before and after it has met the disc."""
        paths = guest_root(self)
        identity.store(paths, stored, {})
        with open(paths.identity, "rb") as stream:
            before = stream.read()
        try:
            adopt.take(paths, disc_of(name))
        except AgentError as exc:
            self.assertEqual(exc.code, FOUND["discs"][name][1])
        with open(paths.identity, "rb") as stream:
            return before, stream.read(), paths

    def test_a_disc_that_is_vouched_for_brings_the_new_ca_and_ends_the_old(self):
        for name in ("vouched", "vouched-by-one-that-is-over"):
            before, after, paths = self.taken(name, stored_of(FOUND["discs"][name][0]))
            self.assertNotEqual(before, after)
            new = identity.load(paths)
            self.assertEqual((new.generation, new.kind, new.ca_sha256), (9, "bootstrap", FOUND["second"]))
            self.assertEqual(identity.trusted(new), [FOUND["second"]])
            self.assertEqual(new.client_pem.count("BEGIN CERTIFICATE"), 1, "what vouched has done its work")

    def test_a_rogue_disc_changes_nothing(self):
        """Also where no CA is stored any more: then nobody can vouch, and only an installation helps."""
        for name, (stored, code) in FOUND["discs"].items():
            if code is not None:
                before, after, _paths = self.taken(name, stored_of(stored))
                self.assertEqual(before, after, name)
        paths = guest_root(self)
        with self.assertRaises(AgentError) as caught:
            adopt.take(paths, disc_of("vouched"))
        self.assertEqual(caught.exception.code, "IDENTITY_INVALID")
        self.assertFalse(os.path.lexists(paths.identity))

    def test_generations_go_on_counting_under_the_next_ca(self):
        """A guest that trusts both takes no older disc of either."""
        first, second = (
            stored_of("first"),
            verify.verify(disc_of("vouched"), verify.Trust(FACTS["vm"], stored_of("first"), None)),
        )
        both = first._replace(generation=9, ca_pem=first.ca_pem + second.identity.ca_pem)
        with self.assertRaises(AgentError) as caught:
            identity.check_newer(both, second.identity)
        self.assertEqual(caught.exception.code, "DISC_OLDER")
        identity.check_newer(both._replace(generation=8), second.identity)


if __name__ == "__main__":
    unittest.main()
