# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing and uninstalling in a temporary root: the plan, what is written, what is refused."""

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import unittest

from openngt_agent import cli, identity, uninstall, unit
from openngt_agent.errors import AgentError
from openngt_agent.install import Observed, Options, install, plan
from openngt_agent.install_shared import Target
from openngt_agent.paths import UNIT, Paths
from openngt_agent.strict_json import dump
from support import FACTS, FakeSystemd, disc, files_below, guest_root, make_guest, material, text, write

SETTLED = {
    "usr/local/openngt/agent/0.1.0/ngt_agent." + sys.implementation.cache_tag,
    "usr/local/openngt/agent/0.1.0/ngt_agent.pyz",
    "usr/local/openngt/agent/current",
    "usr/local/openngt/agent/proven",
    "usr/local/openngt/config/identity.pem",
    "usr/local/openngt/config/ngt_config.json",
    "usr/local/openngt/masked_units",
    "usr/local/bin/ngtcli",
    "etc/systemd/system/ngt_agent_upgrade.service",
    "etc/systemd/system/ngt_guest_agent.service",
}


def options(name="good", wait=0.0, ca_sha256=FACTS["ca_sha256"], unsupported=False):
    return Options(disc(name), ca_sha256, wait, unsupported)


def link_status(paths, active=True, kind="link", generation=4, error=None):
    """What a running agent would have written."""
    link = {"active": active, "transport": "tls", "peer": "p", "since": "s", "last_error": error}
    write(
        paths.status,
        dump({"agent_version": "0.1.0", "identity": {"kind": kind, "generation": generation}, "link": link}),
    )


def rotated(paths, name="link-4"):
    new = identity.make("link", FACTS["cluster"], text(name + ".pem"), text("ca.pem"), FACTS["ca_sha256"])
    identity.store(paths, new, dict(FACTS["config"], generation=new.generation))


def ours(paths):
    """The files that an installation may have brought."""
    guests_own = ("etc/os-release", "sys/", "fake-systemd", "run/openngt")
    return {name: content for name, content in files_below(paths.root).items() if not name.startswith(guests_own)}


class Case(unittest.TestCase):
    def setUp(self):
        self.paths = guest_root(self)
        self.systemd = FakeSystemd(self.paths)
        self.said = []
        self.guest = make_guest(self.paths, self.systemd, self.said)

    def refused(self, code, how=None, guest=None):
        with self.assertRaises(AgentError) as caught:
            install(guest or self.guest, how or options())
        self.assertEqual(caught.exception.code, code)
        return caught.exception


class Installing(Case):
    def test_everything_is_put_in_place_with_its_mode(self):
        answer = install(self.guest, options())
        self.assertTrue(answer["changed"])
        self.assertEqual(
            answer["steps"],
            [
                "begin",
                "agent",
                "compiled",
                "identity",
                "current",
                "command",
                "unit",
                "port",
                "enable",
                "reload",
                "start",
                "finish",
            ],
        )
        self.assertEqual(set(ours(self.paths)), SETTLED)
        modes = {name: stat.S_IMODE(os.lstat(self.paths.at(name)).st_mode) for name in SETTLED}
        self.assertEqual(modes["usr/local/bin/ngtcli"], 0o755)
        self.assertEqual(modes["usr/local/openngt/config/identity.pem"], 0o600)
        self.assertEqual(modes["usr/local/openngt/agent/0.1.0/ngt_agent.pyz"], 0o644)
        self.assertEqual(stat.S_IMODE(os.stat(self.paths.config).st_mode), 0o700)
        self.assertTrue(self.systemd.is_on("active") and self.systemd.is_on("enabled"))
        self.assertEqual(answer["trusted_by"], "fingerprint")

    def test_it_says_what_a_person_expects_to_read(self):
        install(self.guest, options(ca_sha256=None))
        self.assertEqual(self.said[0], "Platform type is: x86_64")
        self.assertIn(FACTS["ca_sha256"], [line for line in self.said if "first use" in line][0])
        self.assertNotIn("PRIVATE", "".join(self.said))

    def test_the_second_time_there_is_nothing_to_do(self):
        install(self.guest, options())
        before = ours(self.paths)
        self.systemd.calls.clear()
        answer = install(self.guest, options())
        self.assertEqual((answer["changed"], answer["steps"]), (False, []))
        self.assertEqual(ours(self.paths), before)
        self.assertFalse([call for call in self.systemd.calls if "restart" in call])

    def test_no_login_is_offered_on_the_port_and_uninstalling_gives_it_back(self):
        getty = "serial-getty@ttyS1.service"
        install(self.guest, options())
        self.assertIn(["systemctl", "--no-ask-password", "mask", "--no-reload", "--now", getty], self.systemd.calls)
        self.assertTrue(self.systemd.is_on("masked-" + getty))
        uninstall.uninstall(self.guest)
        self.assertFalse(self.systemd.is_on("masked-" + getty))

    def test_systemd_reads_its_units_once_for_all_that_is_written_or_removed(self):
        """Each time is the work of seconds where there are many units, or the machine is slow."""
        for operation in (lambda: install(self.guest, options()), lambda: uninstall.uninstall(self.guest)):
            self.systemd.calls.clear()
            operation()
            asked = [call for call in self.systemd.calls if call[0] == "systemctl"]
            self.assertEqual(len([call for call in asked if "daemon-reload" in call]), 1)
            changing = [call for call in asked if {"enable", "disable", "mask", "unmask"} & set(call)]
            self.assertEqual(len(changing), 2)
            self.assertTrue(all("--no-reload" in call for call in changing), changing)

    def test_what_the_administrator_has_masked_stays_so(self):
        getty = "serial-getty@ttyS1.service"
        self.systemd(["systemctl", "mask", getty])
        install(self.guest, options())
        uninstall.uninstall(self.guest)
        self.assertTrue(self.systemd.is_on("masked-" + getty))

    def test_the_kernels_console_keeps_its_login(self):
        write(self.paths.at("sys/class/tty/console/active"), "ttyS1\n")
        install(self.guest, options())
        self.assertFalse(self.systemd.is_on("masked-serial-getty@ttyS1.service"))

    def test_a_rotated_identity_is_newer_than_its_disc_and_stays(self):
        install(self.guest, options())
        rotated(self.paths)
        self.assertFalse(install(self.guest, options())["changed"])
        self.assertEqual(identity.load(self.paths).kind, "link")

    def test_a_newer_disc_brings_its_identity(self):
        install(self.guest, options())
        rotated(self.paths)
        answer = install(self.guest, options("good-newer"))
        self.assertEqual(answer["steps"], ["begin", "identity", "start", "finish"])
        self.assertEqual(identity.load(self.paths).generation, 7)

    def test_a_newer_version_takes_over_and_the_old_one_goes(self):
        install(self.guest, options())
        answer = install(self.guest, options("good-newer-agent"))
        self.assertIn("prune", answer["steps"])
        self.assertEqual(os.readlink(self.paths.current), "0.2.0")
        self.assertEqual(sorted(os.listdir(self.paths.agent)), ["0.2.0", "current", "proven"])
        self.assertTrue(self.systemd.is_on("started-0.2.0"))

    def test_a_used_disc_brings_no_older_agent_back(self):
        install(self.guest, options("good-newer-agent"))
        before = ours(self.paths)
        self.refused("DISC_OLDER")
        self.assertEqual(ours(self.paths), before)

    def test_what_was_damaged_is_repaired(self):
        install(self.guest, options())
        settled = ours(self.paths)
        for name in sorted(SETTLED - {"usr/local/openngt/masked_units"}):
            path = self.paths.at(name)
            if os.path.islink(path):
                os.unlink(path)
            else:
                write(path, "damaged /openngt/")
            self.assertTrue(install(self.guest, options())["changed"], name)
            repaired = ours(self.paths)
            self.assertEqual(set(repaired), SETTLED)
            self.assertEqual(
                {k: v for k, v in repaired.items() if "identity" not in k and "config" not in k},
                {k: v for k, v in settled.items() if "identity" not in k and "config" not in k},
            )
            identity.load(self.paths)

    def test_a_stopped_or_disabled_service_is_started_and_enabled(self):
        install(self.guest, options())
        self.systemd(["systemctl", "disable", "--now", UNIT])
        self.assertEqual(install(self.guest, options())["steps"], ["enable", "reload", "start"])

    def test_no_bad_disc_changes_anything(self):
        before = files_below(self.paths.root)
        for name, code in sorted(FACTS["discs"].items()):
            if code is not None:
                self.refused(code, options(name))
                self.assertEqual(files_below(self.paths.root), before, name)

    def test_a_config_only_disc_installs_nothing(self):
        self.refused("DISC_INVALID", options("good-config-only"))

    def test_an_agent_that_does_not_start_is_said(self):
        self.systemd.fails = ("restart",)
        self.refused("AGENT_FAILED")
        self.systemd.fails = ()
        self.assertIn("start", install(self.guest, options())["steps"])


class Refusals(Case):
    def test_not_root(self):
        self.refused("PERMISSION_DENIED", guest=make_guest(self.paths, self.systemd, is_root=False))

    def test_an_unsupported_distribution_unless_it_is_asked_for(self):
        write(self.paths.at("etc/os-release"), 'NAME="Rocky Linux"\nID=rocky\nVERSION_ID=7\n')
        error = self.refused("UNSUPPORTED_DISTRIBUTION")
        self.assertIn("Unsupported distribution : rocky linux", error.message)
        self.assertIn("--allow-unsupported-distribution", error.message)
        self.assertTrue(install(self.guest, options(unsupported=True))["ok"])

    def test_a_guest_without_systemd(self):
        os.rmdir(self.paths.at("run/systemd/system"))
        self.refused("PREREQUISITES_NOT_MET")

    def test_another_vendors_tools_are_left_alone(self):
        for name in (
            "usr/local/nutanix/x",
            "etc/systemd/system/" + UNIT,
            "usr/lib/systemd/system/nutanix-guest-agent.service",
        ):
            write(self.paths.at(name), "ExecStart=/usr/local/nutanix/ngt\n")
            self.refused("OTHER_TOOLS_PRESENT")
            self.assertEqual(uninstall.plan(self.paths), [])
            shutil.rmtree(self.paths.at(name.split("/")[0] + "/" + name.split("/")[1]))
            os.makedirs(self.paths.at("etc/systemd/system"), exist_ok=True)
            os.makedirs(self.paths.at("usr/local/bin"), exist_ok=True)
            write(self.paths.at("etc/os-release"), "ID=debian\nVERSION_ID=12\n")

    def test_a_unit_that_is_masked_or_whose_file_is_gone_is_no_vendors(self):
        folder = self.paths.at("etc/systemd/system")
        os.symlink("/dev/null", os.path.join(folder, "nutanix-guest-agent.service"))
        os.makedirs(self.paths.at("run/systemd/system"), exist_ok=True)
        os.symlink("/dev/null", self.paths.at("run/systemd/system/" + UNIT))
        os.symlink(self.paths.at("opt/gone.service"), os.path.join(folder, UNIT))
        os.symlink(self.paths.at("opt/gone"), self.paths.at("usr/local/nutanix"))
        self.assertTrue(install(self.guest, options())["ok"])
        self.assertFalse(os.path.islink(self.paths.unit))
        self.assertTrue(os.path.islink(os.path.join(folder, "nutanix-guest-agent.service")), "not ours to take away")

    def test_no_disc(self):
        self.refused("DISC_NOT_FOUND", Options(self.paths.root, None, 0.0, False))


class WaitingForTheLink(Case):
    def test_a_link_with_the_long_lived_identity_ends_the_wait(self):
        states = iter(
            [lambda: link_status(self.paths, kind="bootstrap", generation=3), lambda: link_status(self.paths)]
        )
        guest = make_guest(self.paths, self.systemd, sleep=lambda _seconds: next(states)())
        self.assertEqual(install(guest, options(wait=10.0))["steps"][-1], "link")

    def test_what_the_agent_saw_is_said_when_there_is_none(self):
        error = {"code": "ENDPOINT_UNREACHABLE", "message": "refused"}
        guest = make_guest(
            self.paths, self.systemd, sleep=lambda _s: link_status(self.paths, active=False, error=error)
        )
        failure = self.refused("LINK_NOT_ACTIVE", options(wait=3.0), guest)
        self.assertIn("ENDPOINT_UNREACHABLE: refused", failure.message)
        self.assertEqual(failure.details["guest"]["link"]["last_error"], error)

    def test_a_link_that_is_there_is_not_waited_for(self):
        install(self.guest, options())
        rotated(self.paths)
        link_status(self.paths)
        self.assertEqual(install(self.guest, options(wait=5.0))["steps"], [])

    def test_waiting_alone_is_no_change(self):
        install(self.guest, options())
        rotated(self.paths)
        guest = make_guest(self.paths, self.systemd, sleep=lambda _seconds: link_status(self.paths))
        answer = install(guest, options(wait=5.0))
        self.assertEqual((answer["steps"], answer["changed"]), (["link"], False))


class Plans(unittest.TestCase):
    SETTLED = Observed(True, True, "0.1.0", (), True, True, True, True, False, (), True, True, False, True)
    TARGET = Target("0.1.0", b"", None, {}, "/usr/bin/python3", 60.0)

    def steps(self, **changes):
        return [name for name, _reason in plan(self.SETTLED._replace(**changes), self.TARGET)]

    def test_settled_is_nothing_to_do(self):
        self.assertEqual(self.steps(), [])

    def test_each_difference_has_its_steps(self):
        self.assertEqual(self.steps(agent_same=False), ["begin", "agent", "start", "finish", "link"])
        self.assertEqual(
            self.steps(current="0.0.9", other_versions=("0.0.9",)),
            ["begin", "current", "start", "finish", "prune", "link"],
        )
        self.assertEqual(self.steps(command_same=False), ["begin", "command", "finish"])
        self.assertEqual(self.steps(unit_same=False), ["begin", "unit", "reload", "start", "finish", "link"])
        self.assertEqual(self.steps(reload_wanted=True), ["reload"])
        getty = ("serial-getty@ttyS1.service",)
        self.assertEqual(self.steps(open_gettys=getty), ["begin", "port", "reload", "start", "finish", "link"])
        self.assertEqual(self.steps(config_usable=False), ["begin", "config", "start", "finish", "link"])
        self.assertEqual(self.steps(enabled=False, active=False), ["enable", "reload", "start", "link"])
        self.assertEqual(self.steps(interrupted=True), ["begin", "reload", "start", "finish", "link"])
        self.assertEqual(self.steps(linked=False), ["link"])


class Uninstalling(Case):
    def test_no_file_is_left(self):
        before = files_below(self.paths.root)
        install(self.guest, options())
        link_status(self.paths)
        os.makedirs(os.path.dirname(self.paths.enabled))
        os.symlink(self.paths.unit, self.paths.enabled)
        answer = uninstall.uninstall(self.guest)
        self.assertEqual(answer, {"ok": True, "changed": True, "steps": list(uninstall.STEPS)})
        left = {name: content for name, content in files_below(self.paths.root).items() if "fake-systemd" not in name}
        self.assertEqual(left, before)
        self.assertFalse(self.systemd.is_on("active") or self.systemd.is_on("enabled"))
        self.assertFalse(os.path.lexists(self.paths.home) or os.path.lexists(self.paths.run))

    def test_the_second_time_there_is_nothing_to_do(self):
        install(self.guest, options())
        uninstall.uninstall(self.guest)
        self.systemd.calls.clear()
        self.assertEqual(uninstall.uninstall(self.guest), {"ok": True, "changed": False, "steps": []})
        self.assertEqual(self.systemd.calls, [])

    def test_a_command_of_somebody_else_stays(self):
        write(self.paths.command, "#!/bin/sh\necho mine\n", 0o755)
        self.assertEqual(uninstall.plan(self.paths), [])

    def test_not_root(self):
        with self.assertRaises(AgentError) as caught:
            uninstall.uninstall(make_guest(self.paths, self.systemd, is_root=False))
        self.assertEqual(caught.exception.code, "PERMISSION_DENIED")


class Texts(unittest.TestCase):
    def test_the_unit_is_what_people_grep_for(self):
        found = unit.unit_text(Paths(), "/usr/bin/python3")
        self.assertIn("\nDescription=Starts, stops Nutanix Guest Agent.\n", found)
        self.assertIn("\nExecStart=/usr/bin/python3 -I -S /usr/local/openngt/agent/current/ngt_agent.pyz run\n", found)
        self.assertTrue(unit.is_ours(found) and unit.is_ours(unit.command_text(Paths(), "/usr/bin/python3")))


class Commands(unittest.TestCase):
    """The zipapp as it is shipped, in a process of its own."""

    def zipapp(self, *arguments):
        command = [sys.executable, "-I", material("agent.pyz")] + list(arguments)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        out, err = process.communicate()
        return process.returncode, out, err

    def answer(self, *arguments):
        status, out, _err = self.zipapp(*(arguments + ("--output", "json")))
        found = json.loads(out.splitlines()[-1])
        self.assertEqual(status, 0 if found["ok"] else 1)
        return found

    def test_a_failure_is_one_object_on_the_last_line_and_status_1(self):
        found = self.answer("verify", "--source", disc("no-manifest"))
        self.assertEqual(set(found), {"ok", "code", "message", "remedy", "details"})
        expected = "DISC_NOT_FOUND" if os.geteuid() == 0 else "PERMISSION_DENIED"
        self.assertEqual((found["ok"], found["code"]), (False, expected))

    def test_without_an_agent_status_says_so(self):
        self.assertEqual(self.answer("status")["code"], "AGENT_NOT_INSTALLED")

    def test_progress_goes_to_stderr_with_json_and_to_stdout_without(self):
        _status, out, err = self.zipapp("install", "--source", "/nonexistent", "--output", "json")
        self.assertIn("Platform type is: ", err)
        self.assertEqual(len(out.splitlines()), 1)
        _status, out, err = self.zipapp("install", "--source", "/nonexistent")
        self.assertIn("Platform type is: ", out)

    def test_a_name_that_the_terminal_cannot_show_does_not_cost_the_message(self):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        cli._write(stream, "extras/\u00fc is not what the manifest says")
        self.assertEqual(stream.buffer.getvalue(), b"extras/\\xfc is not what the manifest says\n")

    def test_senseless_arguments_are_status_2(self):
        for arguments in ((), ("install",), ("nonsense",), ("install", "--source", "x", "--wait", "-1")):
            self.assertEqual(self.zipapp(*arguments)[0], 2, arguments)


if __name__ == "__main__":
    unittest.main()
