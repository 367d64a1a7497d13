# SPDX-License-Identifier: GPL-3.0-or-later
"""F5: whatever moment a kill or a power cut chooses, the old identity is there or the new one, whole and usable."""

import os
import unittest

import cuts
from check_identity import of_disc
from openngt_agent import identity
from openngt_agent.files import TEMPORARY
from support import guest_root


class Cuts(unittest.TestCase):
    def test_a_thousand_cuts_of_a_refresh_leave_no_agent_unusable(self):
        """By disc, over the link, and with the agent's own key."""
        result = cuts.cut(1000, stride=20)
        self.assertEqual(result["unusable"], 0)
        self.assertGreaterEqual(result["kills"] + result["power_cuts"], 1000)
        self.assertGreater(min(result["kills"], result["power_cuts"]), 300)

    def test_the_power_cuts_would_find_a_swap_that_is_not_safe(self):
        found, unusable = cuts.compared()
        self.assertGreater(unusable, found // 10)

    def test_the_next_refresh_after_a_cut_ends_with_the_new_one(self):
        guest = cuts.Guest(guest_root(self).root)
        for way in cuts.WAYS:
            refresh = way(guest)
            guest.put(guest.before)
            for line, function in enumerate(cuts.lines_of(refresh), 1):
                if function != "replace_file":
                    continue
                guest.put(guest.before)
                self.assertTrue(cuts.killed_at(refresh, line))
                identity.sweep_unfinished(guest.paths)
                if identity.load(guest.paths).generation == 4:
                    refresh()
                self.assertGreater(identity.load(guest.paths).generation, 4)


class FirstIdentities(unittest.TestCase):
    def test_the_first_identity_is_there_or_not_at_all(self):
        paths = guest_root(self)

        def install():
            identity.store(paths, *of_disc("good"))

        for line in range(1, len(cuts.lines_of(install)) + 1, 7):
            for name in os.listdir(paths.config):
                os.unlink(os.path.join(paths.config, name))
            self.assertTrue(cuts.killed_at(install, line))
            identity.sweep_unfinished(paths)
            self.assertEqual([name for name in os.listdir(paths.config) if name.startswith(TEMPORARY)], [])
            if os.path.lexists(paths.identity):
                self.assertEqual(identity.load(paths).generation, 3)


if __name__ == "__main__":
    unittest.main()
