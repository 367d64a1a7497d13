# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent out of a package: what its scripts do in a guest and in an image, and its first identity from a disc."""

import os
import shutil
import stat
import sys
import unittest

from link_case import Case as LinkCase
from openngt_agent import adopt, identity, package, uninstall
from openngt_agent.errors import AgentError
from openngt_agent.install import Options
from openngt_agent.install import install as install_from_disc
from openngt_agent.verify import read_disc
from openngt_agent.version import __version__
from support import FACTS, FakeSystemd, disc, files_below, guest_root, make_guest, material, write

IN_PLACE = {
    "usr/local/openngt/agent/0.1.0/ngt_agent." + sys.implementation.cache_tag,
    "usr/local/openngt/agent/0.1.0/ngt_agent.pyz",
    "usr/local/openngt/agent/current",
    "usr/local/openngt/agent/proven",
    "usr/local/bin/ngtcli",
    "etc/systemd/system/ngt_agent_upgrade.service",
    "etc/systemd/system/ngt_guest_agent.service",
}
OF_THE_PACKAGE = {"usr/lib/openngt/ngt_agent.pyz", "etc/openngt/agent_first_disc"}


def lay_package(paths, word="any"):
    with open(material("discs", "good", "agent", "ngt_agent.pyz"), "rb") as stream:
        write(paths.at("usr/lib/openngt/ngt_agent.pyz"), stream.read())
    write(paths.first_disc, "# a comment\n\n{0}\n".format(word))


def ours(paths):
    guests_own = ("etc/os-release", "sys/", "fake-systemd", "run/openngt")
    return {name: data for name, data in files_below(paths.root).items() if not name.startswith(guests_own)}


class Packaged(unittest.TestCase):
    def setUp(self):
        self.paths = guest_root(self)
        self.systemd = FakeSystemd(self.paths)
        self.said = []
        self.guest = make_guest(self.paths, self.systemd, self.said)
        lay_package(self.paths)

    def do(self, operation):
        return package.OPERATIONS[operation](self.guest)

    def asked(self, verb):
        return [call for call in self.systemd.calls if verb in call]

    def put_newer(self, version="9.0.0"):
        write(self.paths.zipapp(version), b"newer")
        for link in (self.paths.current, self.paths.proven):
            os.unlink(link)
            os.symlink(version, link)


class Installing(Packaged):
    def test_it_lies_as_the_installer_lays_it_and_serves_without_an_identity(self):
        answer = self.do("install")
        self.assertEqual(
            answer["steps"],
            ["begin", "agent", "compiled", "current", "command", "unit", "enable", "reload", "start", "finish"],
        )
        self.assertEqual(set(ours(self.paths)), IN_PLACE | OF_THE_PACKAGE)
        self.assertEqual(stat.S_IMODE(os.stat(self.paths.config).st_mode), 0o700, "the unit's only place to write")
        self.assertTrue(self.systemd.is_on("active") and self.systemd.is_on("enabled"))

    def test_again_changes_nothing_and_restarts_nothing(self):
        self.do("install")
        before = ours(self.paths)
        self.systemd.calls.clear()
        self.assertEqual(self.do("install")["steps"], [])
        self.assertEqual(ours(self.paths), before)
        self.assertEqual(self.asked("restart"), [])

    def test_in_an_image_nothing_is_started(self):
        os.rmdir(self.paths.at("run/systemd/system"))
        self.do("install")
        self.assertEqual(set(ours(self.paths)), IN_PLACE | OF_THE_PACKAGE)
        self.assertTrue(self.systemd.is_on("enabled"))
        for verb in ("restart", "daemon-reload"):
            self.assertEqual(self.asked(verb), [])
        self.do("purge")
        self.assertEqual(set(ours(self.paths)), OF_THE_PACKAGE)
        for verb in ("disable", "daemon-reload", "stop"):
            self.assertEqual(self.asked(verb), [])

    def test_a_newer_agent_stays_and_is_named(self):
        self.do("install")
        self.put_newer()
        before = ours(self.paths)
        self.assertEqual(self.do("install")["steps"], [])
        self.assertEqual(ours(self.paths), before)
        self.assertIn(
            "agent 9.0.0, which is newer, stays; the package's {0} is left aside".format(__version__), self.said
        )

    def test_an_older_agent_gives_way(self):
        self.do("install")
        self.put_newer("0.0.9")
        answer = self.do("install")
        self.assertIn("current", answer["steps"])
        self.assertEqual(os.readlink(self.paths.current), __version__)
        self.assertEqual(os.listdir(self.paths.agent).count("0.0.9"), 0)

    def test_an_upgrade_that_is_under_way_is_not_disturbed(self):
        self.do("install")
        for path in (self.paths.trial, self.paths.staged_upgrade):
            write(path, "x")
            before = ours(self.paths)
            self.assertEqual(self.do("install")["steps"], [])
            self.assertEqual(ours(self.paths), before)
            os.unlink(path)

    def test_what_a_disc_has_installed_keeps_its_identity(self):
        install_from_disc(self.guest, Options(disc("good"), FACTS["ca_sha256"], 0.0, False))
        before = ours(self.paths)
        self.assertEqual(self.do("install")["steps"], [])
        self.assertEqual(ours(self.paths), before)

    def test_the_installer_finds_a_packaged_agent_and_adds_what_is_missing(self):
        self.do("install")
        answer = install_from_disc(self.guest, Options(disc("good"), FACTS["ca_sha256"], 0.0, False))
        self.assertIn("identity", answer["steps"])
        self.assertNotIn("agent", answer["steps"])

    def test_it_refuses_beside_another_vendors_tools_and_without_root(self):
        write(self.paths.at("usr/lib/systemd/system/nutanix-guest-agent.service"), "[Unit]\n")
        with self.assertRaises(AgentError) as caught:
            self.do("install")
        self.assertEqual(caught.exception.code, "OTHER_TOOLS_PRESENT")
        for operation in package.OPERATIONS.values():
            with self.assertRaises(AgentError) as caught:
                operation(make_guest(self.paths, self.systemd, is_root=False))
            self.assertEqual(caught.exception.code, "PERMISSION_DENIED")
        self.assertEqual(set(ours(self.paths)) & IN_PLACE, set())

    def test_on_a_distribution_that_is_not_known_it_says_so_and_goes_on(self):
        write(self.paths.at("etc/os-release"), "ID=templeos\n")
        self.do("install")
        self.assertTrue([line for line in self.said if "templeos" in line])


class Removing(Packaged):
    def setUp(self):
        super(Removing, self).setUp()
        self.do("install")
        install_from_disc(self.guest, Options(disc("good"), FACTS["ca_sha256"], 0.0, False))
        write(self.paths.blocked_methods, "guest.shutdown\n")

    def test_remove_keeps_identity_and_block_list_alone(self):
        self.do("remove")
        kept = {"identity.pem", "ngt_config.json", "blocked_methods"}
        self.assertEqual(set(ours(self.paths)) - OF_THE_PACKAGE, {"usr/local/openngt/config/" + name for name in kept})
        self.assertFalse(self.systemd.is_on("active") or self.systemd.is_on("enabled"))
        self.assertFalse(self.systemd.is_on("masked-serial-getty@ttyS1.service"))

    def test_what_was_kept_serves_again(self):
        self.do("remove")
        answer = self.do("install")
        self.assertIn("port", answer["steps"])
        self.assertEqual(identity.load(self.paths).generation, 3)

    def test_purge_leaves_nothing(self):
        self.do("purge")
        self.assertEqual(set(ours(self.paths)), OF_THE_PACKAGE)
        self.assertFalse(os.path.lexists(self.paths.home))
        self.assertEqual(self.do("purge")["steps"], [])

    def test_who_uninstalls_past_the_package_is_told_of_it(self):
        uninstall.uninstall(self.guest)
        self.assertIn("openngt-agent", self.said[-1])
        shutil.rmtree(self.paths.package)
        self.said.clear()
        uninstall.uninstall(self.guest)
        self.assertEqual([line for line in self.said if "package" in line], [])


class FirstDisc(LinkCase):
    """Without an identity, and with the package's word on where one comes from."""

    def take(self, name):
        return adopt.take(self.paths, read_disc(disc(name)))

    def refused(self, name, code):
        with self.assertRaises(AgentError) as caught:
            self.take(name)
        self.assertEqual(caught.exception.code, code)
        self.assertFalse(os.path.lexists(self.paths.identity))
        return caught.exception.message

    def test_any_disc_of_this_vm_brings_the_first_and_the_ca_is_pinned_then(self):
        lay_package(self.paths)
        with self.assertLogs("openngt.disc", "WARNING") as logged:
            self.assertEqual(self.take("good").vm_uuid, FACTS["vm"])
        self.assertIn(FACTS["ca_sha256"], logged.output[0])
        with self.assertRaises(AgentError) as caught:
            self.take("other-ca")
        self.assertEqual(caught.exception.code, "DISC_UNTRUSTED")

    def test_what_no_installer_would_take_is_refused_here(self):
        lay_package(self.paths)
        for name, code in (
            ("other-vm", "DISC_OF_ANOTHER_VM"),
            ("expired-certificate", "DISC_EXPIRED"),
            ("tampered-manifest", "DISC_INVALID"),
            ("server-certificate", "DISC_INVALID"),
        ):
            self.refused(name, code)

    def test_a_guest_that_does_not_know_who_it_is_takes_none(self):
        lay_package(self.paths)
        os.unlink(self.paths.at("sys/class/dmi/id/product_uuid"))
        self.refused("good", "DISC_OF_ANOTHER_VM")

    def test_a_pinned_ca_is_the_only_one(self):
        lay_package(self.paths, FACTS["ca_sha256"].upper())
        self.refused("other-ca", "DISC_UNTRUSTED")
        self.assertEqual(self.take("good").ca_sha256, FACTS["ca_sha256"])

    def test_a_file_that_says_something_else_allows_nothing(self):
        for word in ("", "all", "any\nany", "0" * 63, "any " + "0" * 64):
            lay_package(self.paths, word)
            self.assertIn("agent_first_disc", self.refused("good", "IDENTITY_INVALID"))

    def test_an_identity_that_is_damaged_is_no_first_one(self):
        lay_package(self.paths)
        write(self.paths.identity, "damaged", 0o600)
        with self.assertRaises(AgentError) as caught:
            self.take("good")
        self.assertEqual(caught.exception.code, "IDENTITY_INVALID")


if __name__ == "__main__":
    unittest.main()
