# SPDX-License-Identifier: GPL-3.0-or-later
"""Discs that come while the agent runs (T4, T5): a newer identity of this VM is taken, and nothing else."""

import os
import unittest
import unittest.mock

from link_case import Case, store
from openngt_agent import adopt, identity, verify
from openngt_agent.errors import AgentError
from openngt_agent.files import Finished
from support import FACTS, disc, guest_root, write


class HotDiscs(Case):
    """A newer identity of the same VM, taken from a disc while the agent runs."""

    def words(self, name):
        return verify.read_disc(disc(name))

    def test_a_newer_one_is_taken(self):
        store(self.paths, self.gateway.port)
        self.assertEqual(adopt.take(self.paths, self.words("good-newer")).generation, 7)
        self.assertEqual(identity.load(self.paths).generation, 7)

    def test_every_other_is_refused_and_nothing_changes(self):
        store(self.paths, self.gateway.port)
        with open(self.paths.identity, "rb") as stream:
            before = stream.read()
        for name, code in (
            ("good", "DISC_OLDER"),
            ("other-ca", "DISC_UNTRUSTED"),
            ("expired-certificate", "DISC_EXPIRED"),
            ("other-vm", "DISC_OF_ANOTHER_VM"),
            ("tampered-manifest", "DISC_INVALID"),
            ("server-certificate", "DISC_INVALID"),
        ):
            with self.assertRaises(AgentError) as caught:
                adopt.take(self.paths, self.words(name))
            self.assertEqual(caught.exception.code, code)
        with open(self.paths.identity, "rb") as stream:
            self.assertEqual(stream.read(), before)

    def drive(self, name):
        """One drive that holds the disc; what mounts it."""
        write(self.paths.at("sys/block/sr0/size"), "0")

        def run(command):
            if command[0] == "mount":
                os.rmdir(self.paths.disc)
                os.symlink(disc(name), self.paths.disc)
            elif command[0] == "umount":
                os.unlink(self.paths.disc)
                os.mkdir(self.paths.disc)
            return Finished(0, "", "")

        return run

    def test_of_all_discs_only_newer_ones_of_this_vm_and_ca_are_taken_at_start_or_later(self):
        for name in sorted(FACTS["discs"]):
            for moment in ("start", "later"):
                self.paths = guest_root(self)
                store(self.paths, self.gateway.port)
                taken, refused = [], []
                watcher = adopt.DiscWatcher(self.paths, self.drive(name), taken.append)
                with unittest.mock.patch("openngt_agent.adopt.is_loaded", return_value=True):
                    if moment == "later":
                        watcher._run = self.drive("no-manifest")  # somebody's own disc
                        watcher._look()
                        watcher._run = self.drive(name)
                    with unittest.mock.patch("openngt_agent.adopt.log.log", lambda *said: refused.append(said[3])):
                        watcher._look()
                generation = identity.load(self.paths).generation
                if name in ("good-newer", "good-newer-agent", "good-upgrade", "good-upgrade-older", "two-cas"):
                    self.assertEqual((len(taken), refused), (1, []), name)
                    continue
                self.assertEqual((taken, generation), ([], 4), name)
                if verify.is_tools_disc(disc(name)):
                    self.assertEqual(len(refused), 1, "{0}: refused, and said so".format(name))

    def test_without_an_identity_no_disc_is_trusted(self):
        with self.assertRaises(AgentError) as caught:
            adopt.take(self.paths, self.words("good"))
        self.assertEqual(caught.exception.code, "IDENTITY_INVALID")

    def test_a_clone_takes_its_own_disc_from_its_parents_ca(self):
        store(self.paths, self.gateway.port)
        write(self.paths.at("sys/class/dmi/id/product_uuid"), FACTS["other_vm"])
        self.assertEqual(adopt.take(self.paths, self.words("other-vm")).vm_uuid, FACTS["other_vm"])

    def test_a_look_mounts_reads_and_unmounts_each_loaded_drive(self):
        store(self.paths, self.gateway.port)
        for name in ("sr0", "sr1"):
            write(self.paths.at("sys/block", name, "size"), "0")
        commands = []

        def run(command):
            commands.append(command)
            if command[0] == "mount":
                os.rmdir(self.paths.disc)
                os.symlink(disc("other-ca" if command[-2].endswith("sr0") else "good-newer"), self.paths.disc)
            elif command[0] == "umount":
                os.unlink(self.paths.disc)
                os.mkdir(self.paths.disc)
            return Finished(0, "", "")

        refused = {}
        with unittest.mock.patch("openngt_agent.adopt.is_loaded", return_value=True):
            found = adopt.look(self.paths, run, refused)
        self.assertEqual(found.generation, 7)
        self.assertEqual([command[0] for command in commands], ["mount", "umount", "mount", "umount"])
        self.assertEqual(list(refused), [self.paths.at("dev/sr0")])


if __name__ == "__main__":
    unittest.main()
