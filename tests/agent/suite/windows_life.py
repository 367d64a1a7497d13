# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on Python 3.6 and newer, standard library only, as a process of its own: it becomes a Windows.
"""The agent of a Windows guest, from its installation to its end (see check_windows.py)."""

import io
import json
import os
import socket
import sys
import unittest
import unittest.mock

import fake_windows

with open(os.path.join(os.environ["OPENNGT_AGENT_MATERIAL"], "facts.json"), encoding="utf-8") as stream:
    VM = json.load(stream)["vm"]
WINDOWS = fake_windows.become(VM)
# The agent as it travels: every module that it needs is in its zip.
sys.path.insert(0, os.path.join(os.environ["OPENNGT_AGENT_MATERIAL"], "agent.pyz"))

from link_case import PATIENCE, Gateway  # noqa: E402 - what they import is for the system that this is now
from openngt_agent import (  # noqa: E402
    cli,
    identity,
    runtime_status,
    service,
    windows_commands,
    windows_discs,
    windows_facts,
    windows_files,
    windows_install,
    windows_port,
    windows_scm,
    windows_service,
)
from openngt_agent.errors import AgentError  # noqa: E402
from openngt_agent.windows import windows_paths  # noqa: E402
from openngt_agent.windows_scm import DISPLAY_NAME, SERVICE  # noqa: E402
from support import FACTS, disc, golden, text  # noqa: E402

windows_commands.run_program = WINDOWS.run
windows_scm.POLL_SECONDS = 0.01
SECRET = "PRIVATE KEY"


def cut_off(_guest, _target):
    raise KeyboardInterrupt


class Life(unittest.TestCase):
    def setUp(self):
        self.paths = windows_paths()
        self.gateway = Gateway(self)
        real = service.connect
        # The disc's configuration is signed, and its port is somebody else's on this machine.
        to_gateway = unittest.mock.patch.object(
            service, "connect", lambda host, _port, waiter: real(host, self.gateway.port, waiter)
        )
        to_gateway.start()
        self.addCleanup(to_gateway.stop)
        self.addCleanup(self.tidy)

    def tidy(self):
        if WINDOWS.service_state == "RUNNING":
            WINDOWS.control(1)
        if WINDOWS.service_process is not None:
            WINDOWS.service_process.join(PATIENCE)
            self.assertFalse(WINDOWS.service_process.is_alive(), "the service did not stop")

    def call(self, *arguments):
        """(exit status, the answer) of a command of the agent."""
        out = io.StringIO()
        with unittest.mock.patch("sys.stdout", out), unittest.mock.patch("sys.stderr", io.StringIO()) as progress:
            status = cli.main(list(arguments) + ["--output", "json"])
        self.progress = progress.getvalue()
        return status, json.loads(out.getvalue().splitlines()[-1])

    def test_from_the_disc_to_the_shutdown(self):
        self.assertEqual(self.call("status")[1]["code"], "AGENT_NOT_INSTALLED")
        WINDOWS.insert(disc("good"))
        self.assertEqual(self.call("verify", "--source", "D:\\")[1]["vm_uuid"], VM)
        self.assertEqual(os.listdir("Temp"), [], "a key was left behind")

        status, answer = self.call("install", "--source", "D:\\", "--ca-sha256", FACTS["ca_sha256"], "--wait", "0")
        self.assertEqual((status, answer.get("changed"), answer.get("trusted_by")), (0, True, "fingerprint"), answer)
        self.assertTrue(self.progress.startswith("Platform type is: x86_64\n"))
        self.installed_as_it_should_be()

        with self.gateway.accept() as session:
            hello = session.greet("welcome-bootstrap")
            self.judge_status_record(hello["params"])
            self.rotate(session)
        with self.gateway.accept() as session:
            self.assertEqual(session.generation, 4)
            session.greet()
            self.until_active()
            self.assertEqual(session.hear("heartbeat")["params"], {"disc_mounted": True})
            shown = self.call("status")[1]
            self.assertEqual(shown["service"], {"unit": SERVICE, "active": "active", "sub": "running"})
            self.assertEqual((shown["identity"]["kind"], shown["link"]["active"]), ("link", True))
            # Nothing is left to be done, and nothing is.
            again = self.call("install", "--source", "D:\\", "--wait", "0")[1]
            self.assertEqual((again["changed"], again["steps"]), (False, []), again)
            session.say(golden("identity-request"))
            self.assertEqual(session.hear()["error"]["data"], {"code": "COMMAND_NOT_FOUND"})
            session.say(golden("guest-shutdown"))
            self.assertEqual(session.hear(), golden("guest-shutdown-result"))
            self.assertEqual(session.hear()["method"], "goodbye")
            self.assertIsNone(session.hear())
        self.wait_for(lambda: WINDOWS.said[-1][0] == "InitiateSystemShutdownExW")
        self.assertEqual(WINDOWS.said[-1], ("InitiateSystemShutdownExW", None, 0, 1, 0))
        self.assertIn(("AdjustTokenPrivileges", 1, 19, 2), WINDOWS.said)

        self.assertEqual(WINDOWS.control(5), 0, "the guest goes down, and the manager says so")
        WINDOWS.service_process.join(PATIENCE)
        self.assertEqual([state for state, _accepted, _code in WINDOWS.states][-2:], ["STOP_PENDING", "STOPPED"])
        self.assertEqual(WINDOWS.states[-1][2], 0)
        self.uninstalls()

    def installed_by(self, name, python):
        """Install from a disc with the Python of that folder; the answer."""
        WINDOWS.insert(disc(name))
        folder = os.path.join(self.paths.home, "python", python)
        os.makedirs(folder, exist_ok=True)
        with unittest.mock.patch.object(sys, "executable", os.path.join(folder, "python.exe")):
            return self.call("install", "--source", "D:\\", "--wait", "0")[1]

    def test_an_upgrade_is_an_installation_and_leaves_one_agent_and_one_python(self):
        os.mkdir(self.paths.home)
        self.addCleanup(fake_windows.shutil.rmtree, self.paths.home)
        self.addCleanup(self.call, "uninstall")
        first = self.installed_by("good", "1" * 16)
        self.assertTrue(first.get("changed"), first)
        answer = self.installed_by("good-newer-agent", "2" * 16)
        self.assertEqual(
            answer["steps"], ["begin", "agent", "identity", "command", "service", "start", "finish", "prune"]
        )
        folders = [name for name in os.listdir(self.paths.agent) if os.path.isdir(self.paths.version_folder(name))]
        self.assertEqual((folders, os.listdir(os.path.join(self.paths.home, "python"))), (["0.2.0"], ["2" * 16]))
        self.assertIn(
            os.sep.join(["agent", "0.2.0"]), WINDOWS.registry.keys[fake_windows.SERVICES + SERVICE]["ImagePath"]
        )
        self.assertIn("version 0.2.0 takes over from 0.1.0", self.progress)
        # A disc of before must not bring the older agent back.
        self.assertEqual(self.installed_by("good", "2" * 16)["code"], "DISC_OLDER")

    def test_what_a_run_left_half_done_the_next_one_finishes(self):
        self.addCleanup(fake_windows.shutil.rmtree, self.paths.home)
        self.addCleanup(self.call, "uninstall")
        WINDOWS.insert(disc("good"))
        steps = ("agent", "identity", "command", "event_source", "service", "start", "finish")
        for step in steps:
            with unittest.mock.patch.dict(windows_install.STEPS, {step: cut_off}):
                with self.assertRaises(KeyboardInterrupt):
                    self.call("install", "--source", "D:\\", "--wait", "0")
            self.assertTrue(os.path.exists(self.paths.unfinished), step)
        answer = self.call("install", "--source", "D:\\", "--wait", "0")[1]
        self.assertEqual((answer["steps"][0], answer["steps"][-2:]), ("begin", ["start", "finish"]), answer)
        self.assertIn("a run before this one did not finish", self.progress)
        self.assertEqual(self.call("install", "--source", "D:\\", "--wait", "0")[1]["steps"], [])

    def installed_as_it_should_be(self):
        key = WINDOWS.registry.keys[fake_windows.SERVICES + SERVICE]
        wanted = '"{0}" -I "{1}" run'.format(sys.executable, self.paths.zipapp("0.1.0"))
        self.assertEqual((key["ImagePath"], key["DisplayName"]), (wanted, DISPLAY_NAME))
        for folder in (self.paths.home, self.paths.config, self.paths.agent, self.paths.version_folder("0.1.0")):
            self.assertEqual(WINDOWS.acls[folder], windows_files.PRIVATE, folder)
        self.assertEqual(WINDOWS.acls[self.paths.run], windows_files.READABLE)
        states = [(state, accepted) for state, accepted, _code in WINDOWS.states]
        self.assertEqual(states[:2], [("START_PENDING", 0), ("RUNNING", 5)])
        with open(self.paths.identity, encoding="utf-8") as stream:
            self.assertIn(SECRET, stream.read())
        for path in (self.paths.status, os.path.join(self.paths.run, "Logs", "agent.log")):
            with open(path, encoding="utf-8") as stream:
                self.assertNotIn(SECRET, stream.read(), path)

    def judge_status_record(self, params):
        record = params["status"]
        self.assertEqual(set(record), set(golden("hello")["params"]["status"]))
        found = [record[name] for name in ("guest_os_type", "guest_os_id", "guest_os_release", "kernel_version")]
        self.assertEqual(found, ["windows", "windows_server", "2022", "10.0.20348.2113"])
        self.assertEqual((record["architecture"], record["is_64_bit"]), ("x86_64", True))
        address = {"ip_address": "192.0.2.7", "prefix_length": 24}
        card = {"interface": "Ethernet", "mac_address": "52:54:00:01:02:03", "ipv4": [address], "ipv6": []}
        self.assertEqual(record["network_interfaces"], [card])
        self.assertIs(record["reboot_required"], False)
        self.assertEqual(params["boot_id"], windows_facts.boot_id())
        WINDOWS.volatile.clear()  # what a boot does
        self.assertNotEqual(params["boot_id"], windows_facts.boot_id())

    def rotate(self, session):
        call = golden("identity-rotate")
        call["params"].update(client_pem=text("link-4.pem"), ca_pem=text("ca.pem"), config=FACTS["config"])
        session.say(call)
        self.assertEqual(session.hear(), golden("identity-rotate-result"))
        self.assertEqual(identity.load(self.paths).generation, 4)
        self.assertEqual(session.hear(), golden("goodbye-rotated"))

    def until_active(self):
        self.wait_for(lambda: ((runtime_status.read(self.paths) or {}).get("link") or {}).get("active"))

    def wait_for(self, condition):
        moment = service.Waiter()
        self.addCleanup(moment.close)
        end = moment.monotonic() + PATIENCE
        while not condition():
            self.assertLess(moment.monotonic(), end, "not within {0} s".format(PATIENCE))
            moment.wait(0.02)

    def uninstalls(self):
        answer = self.call("uninstall")[1]
        self.assertEqual(answer["steps"], ["service", "event_source", "config", "agent", "runtime"])
        self.assertIn("VM Mobility stay as they are", self.progress)
        self.assertNotIn(fake_windows.SERVICES + SERVICE, WINDOWS.registry.keys)
        self.assertEqual(os.listdir(self.paths.home), [".lock"])
        self.assertFalse(os.path.exists(self.paths.run))
        self.assertEqual(self.call("uninstall")[1]["changed"], False)


class Refusals(unittest.TestCase):
    def setUp(self):
        self.paths = windows_paths()

    def test_another_vendors_service_of_the_name_is_left_alone(self):
        key = fake_windows.SERVICES + SERVICE
        WINDOWS.registry.keys[key] = {"ImagePath": "C:\\Program Files\\Nutanix\\python\\pythonservice.exe"}
        self.addCleanup(WINDOWS.registry.keys.pop, key)
        guest = windows_commands.this_guest(lambda line: None)
        with self.assertRaises(AgentError) as caught:
            windows_commands.install(guest, windows_commands.Options("D:\\", None, 0, False))
        self.assertEqual(caught.exception.code, "OTHER_TOOLS_PRESENT")
        self.assertEqual(windows_commands.uninstall(guest)["changed"], False)
        self.assertIn(key, WINDOWS.registry.keys)

    def test_without_elevation_nothing_is_done(self):
        guest = windows_commands.this_guest(lambda line: None)._replace(is_root=False)
        for command in (windows_commands.uninstall, lambda each: windows_commands.COMMANDS["verify"](each, None)):
            with self.assertRaises(AgentError) as caught:
                command(guest)
            self.assertEqual(caught.exception.code, "PERMISSION_DENIED")

    def test_a_folder_that_a_user_has_made_before_is_not_used(self):
        """Its owner could open it again, whatever its ACL says."""
        folder = os.path.join(WINDOWS.root, "ProgramData", "openngt")
        os.mkdir(folder)
        self.addCleanup(os.rmdir, folder)
        WINDOWS.owners[folder] = fake_windows.USERS
        self.addCleanup(WINDOWS.owners.clear)
        with self.assertRaises(AgentError) as caught:
            runtime_status.RuntimeStatus(self.paths)
        self.assertEqual(caught.exception.code, "PERMISSION_DENIED")

    def test_a_link_on_the_way_to_a_file_is_not_followed(self):
        os.mkdir("real")
        self.addCleanup(fake_windows.shutil.rmtree, "real")
        with open("real/file", "w") as stream:
            stream.write("text")
        os.symlink("real", "link")
        self.addCleanup(os.unlink, "link")
        os.close(windows_files.open_below("real", "file"))
        with self.assertRaises(OSError):
            windows_files.open_below(".", "link/file")


class Discs(unittest.TestCase):
    def test_drives_are_told_apart_and_an_empty_one_asks_for_nothing(self):
        WINDOWS.drives.clear()
        WINDOWS.insert(disc("good"), "E:\\")
        WINDOWS.drives["D:\\"] = None
        self.addCleanup(WINDOWS.drives.clear)
        self.assertEqual(windows_discs.drives(), ["D:\\", "E:\\"])
        self.assertIsNone(windows_discs.label_of("D:\\"))
        self.assertEqual(windows_discs.label_of("E:\\")[0], "NUTANIX_TOOLS")
        self.assertTrue(windows_discs.MountedDiscs()())

    def test_a_newer_identity_is_taken_while_the_agent_serves_and_a_wish_for_another_agent_is_refused(self):
        paths = windows_paths()
        os.mkdir(paths.home)
        self.addCleanup(fake_windows.shutil.rmtree, paths.home)
        new = identity.make("link", FACTS["cluster"], text("link-4.pem"), text("ca.pem"), FACTS["ca_sha256"], False)
        identity.store(paths, new, FACTS["config"])
        WINDOWS.insert(disc("good-upgrade"))
        self.addCleanup(WINDOWS.drives.clear)
        with self.assertLogs("openngt", "INFO"):
            self.assertEqual(windows_discs.look(paths, VM, {}).generation, 7)
        with open(paths.upgrade, encoding="utf-8") as stream:
            record = json.load(stream)
        self.assertEqual((record["state"], record["code"]), ("failed", "UPGRADE_INVALID"))
        self.assertIn("setup.cmd", record["message"])


class Ports(unittest.TestCase):
    def test_the_configurations_names_are_those_of_linux(self):
        self.assertEqual(windows_port.names_of("/dev/ttyS1"), ("COM2", "\\\\.\\COM2"))
        name = "org.openngt.guest_tools.0"
        self.assertEqual(windows_port.names_of("/dev/virtio-ports/" + name), (name, "\\\\.\\Global\\" + name))

    def test_bytes_go_both_ways_and_the_port_is_free_again(self):
        theirs, host = socket.socketpair()
        self.addCleanup(host.close)
        self.addCleanup(theirs.close)
        WINDOWS.ports["\\\\.\\COM2"] = theirs
        self.addCleanup(WINDOWS.ports.clear)
        port = windows_port.open_first(["/dev/virtio-ports/org.openngt.guest_tools.0", "/dev/ttyS1"])
        self.assertEqual(port.device, "COM2")
        waiter = service.Waiter()
        self.addCleanup(waiter.close)
        host.sendall(b"from the host")
        self.assertTrue(waiter.wait(PATIENCE, port.fileno(), 1))
        self.assertEqual(port.read(4096), b"from the host")
        self.assertEqual(port.read(4096), b"")
        self.assertEqual(port.write(b"from the guest"), 14)
        port.close()
        host.settimeout(PATIENCE)
        self.assertEqual(host.recv(4096), b"from the guest", "what was written last has left")

    def test_what_is_wrong_with_a_port_has_its_code(self):
        with self.assertRaises(AgentError) as caught:
            windows_port.open_first(["/dev/ttyS1"])
        self.assertEqual(caught.exception.code, "SERIAL_PORT_ABSENT")
        WINDOWS.ports["\\\\.\\COM2"] = None
        self.addCleanup(WINDOWS.ports.clear)
        with self.assertRaises(AgentError) as caught:
            windows_port.open_first(["/dev/ttyS3", "/dev/ttyS1"])
        self.assertEqual(caught.exception.code, "SERIAL_PORT_BUSY")


class Facts(unittest.TestCase):
    def test_a_uuid_has_the_byte_order_of_smbios(self):
        self.assertEqual(windows_facts.parse_smbios(fake_windows.smbios(VM)), VM)
        for damaged in (b"", b"\0" * 8, fake_windows.smbios(VM)[:30], b"\0" * 8 + b"\x02\xff" * 40):
            self.assertIn(windows_facts.parse_smbios(damaged), (None, VM))
        self.assertIsNone(windows_facts.parse_smbios(fake_windows.smbios("ff" * 16)))

    def test_windows_is_called_what_people_call_it(self):
        for name, server, release in (
            ("Windows Server 2012 R2 Datacenter", True, "2012 R2"),
            ("Windows Server 2025 Standard", True, "2025"),
            ("Windows 11 Pro", False, "11"),
            ("Windows 8.1 Pro", False, "8.1"),
            ("", True, None),
        ):
            self.assertEqual(windows_facts.release_of(name, server), release)
        key = WINDOWS.registry.keys[fake_windows.VERSION]
        changed = dict(key, ProductName="Windows 10 Pro", CurrentBuildNumber="22631", InstallationType="Client")
        with unittest.mock.patch.dict(WINDOWS.registry.keys, {fake_windows.VERSION: changed}):
            found = windows_facts.windows_version()
        self.assertEqual((found["name"], found["id"], found["release"]), ("Windows 11 Pro", "windows", "11"))


class Services(unittest.TestCase):
    def test_what_the_work_raises_ends_the_service_with_an_error(self):
        seen = len(WINDOWS.states)

        def work(_waiter, _ready):
            return 3

        windows_service.Service("another", work).dispatch()
        self.assertEqual(WINDOWS.states[seen:], [("START_PENDING", 0, 0), ("STOPPED", 0, 1066)])

    def test_a_process_that_the_manager_did_not_start_says_so(self):
        WINDOWS.started_by_manager = False
        self.addCleanup(setattr, WINDOWS, "started_by_manager", True)
        self.assertFalse(windows_service.Service("another", lambda *_: 0).dispatch())

    def test_warnings_are_in_the_event_log(self):
        handler = windows_service.EventLog()
        logger = service.logging.getLogger("openngt.test")
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        logger.warning("the link is gone")
        logger.info("nothing to see")
        self.assertEqual(WINDOWS.events[-1], ("openngt", 2, 1, ["openngt.test: the link is gone"]))
        self.assertNotIn("nothing to see", str(WINDOWS.events))


if __name__ == "__main__":
    unittest.main()
