# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent sees of its guest: status record, network, drives, uevents, block list, times."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import unittest

from openngt_agent import backoff, blocked, disc, distributions, machine, network, os_release, status, systemd, uevent
from openngt_agent.files import Finished
from openngt_agent.strict_json import dump
from openngt_agent.waiter import Waiter
from support import FACTS, golden, guest_root, write
from support import disc as disc_folder

STATUS_FIELDS = set(golden("hello")["params"]["status"])


class Record(unittest.TestCase):
    def test_it_has_exactly_the_fields_of_the_golden_file(self):
        self.assertEqual(set(status.gather(guest_root(self))), STATUS_FIELDS)

    def test_it_says_what_the_files_say(self):
        paths = guest_root(self)
        write(
            paths.at("etc/os-release"),
            "ID=rocky\nVERSION_ID='9.4'\nPRETTY_NAME=\"Rocky Linux 9.4 (Blue Onyx)\"\n# x\nbad\n",
        )
        write(paths.at("proc/stat"), "cpu  1 2\nbtime 1700000000\nprocesses 5\n")
        write(paths.at("proc/sys/kernel/osrelease"), "5.14.0\n")
        write(paths.at("proc/sys/kernel/hostname"), "web01\n")
        write(paths.at("proc/sys/kernel/random/boot_id"), "8a4f0c1d-2b3e-4f5a-9c6d-7e8f9a0b1c2d\n")
        os.symlink("../usr/share/zoneinfo/Europe/Berlin", paths.at("etc/localtime"))
        found = status.gather(paths, interfaces=lambda: None)
        self.assertEqual(found["guest_os_id"], "rocky")
        self.assertEqual(found["guest_os_release"], "9.4")
        self.assertEqual(found["guest_os_name"], "Rocky Linux 9.4 (Blue Onyx)")
        self.assertEqual(found["boot_time"], "2023-11-14T22:13:20Z")
        self.assertEqual(found["kernel_version"], "5.14.0")
        self.assertEqual(found["hostname"], "web01")
        self.assertEqual(found["timezone"], "Europe/Berlin")
        self.assertIsNone(found["network_interfaces"])
        self.assertFalse(found["backup_scripts_installed"])
        dump(found)

    def test_a_guest_without_any_of_it_has_nulls(self):
        paths = guest_root(self)
        os.unlink(paths.at("etc/os-release"))
        found = status.gather(paths)
        for field in ("guest_os_name", "guest_os_id", "kernel_version", "boot_time", "boot_id", "timezone"):
            self.assertIsNone(found[field], field)

    def test_it_says_what_became_of_cloud_init_in_this_boot_by_files_alone(self):
        paths = guest_root(self)
        self.assertIsNone(status.gather(paths)["customization"], "cloud-init was not at work")
        write(paths.at("var/lib/cloud/data/instance-id"), "i-1\n")
        write(paths.at("usr/bin/cloud-init"), "#!/bin/sh\ntouch {0}\n".format(paths.at("asked")))
        os.chmod(paths.at("usr/bin/cloud-init"), 0o755)
        stages = {"v1": {"stage": "modules-final", "modules-final": {"errors": []}}}
        write(paths.at("run/cloud-init/status.json"), json.dumps(stages))
        said = {"instance_id": "i-1", "status": "running", "errors": [], "module": None, "message": None}
        self.assertEqual(status.gather(paths)["customization"], said)
        stages["v1"]["stage"] = None
        write(paths.at("run/cloud-init/status.json"), json.dumps(stages))
        write(paths.at("run/cloud-init/result.json"), "{}")
        self.assertEqual(status.gather(paths)["customization"], dict(said, status="done"))
        error = "('scripts_user', RuntimeError('1 failures'))"
        stages["v1"]["modules-final"]["errors"] = [error] + ["x" * 1000] * 20
        write(paths.at("run/cloud-init/status.json"), json.dumps(stages))
        found = status.gather(paths)["customization"]
        self.assertEqual((found["status"], found["module"], found["errors"][0]), ("error", "scripts_user", error))
        self.assertLess(len(dump(found)), 6000, "it fits in a hello")
        self.assertIn("1 failures", found["message"])
        self.assertFalse(os.path.exists(paths.at("asked")), "no process each minute")
        for odd in ("", "[]", "{", '{"v1": []}', '{"v1": {"stage": 7, "init": []}}', '{"v1": {"init": {"errors": 1}}}'):
            write(paths.at("run/cloud-init/status.json"), odd)
            dump(status.gather(paths))

    def test_a_boot_time_that_moves_by_a_second_is_no_change(self):
        record = golden("hello")["params"]["status"]
        self.assertTrue(status.changed(None, record))
        self.assertFalse(status.changed(record, dict(record, boot_time="2026-11-21T06:58:04Z")))
        self.assertTrue(status.changed(record, dict(record, hostname="web02")))

    def test_the_kernel_says_the_same_about_this_machine_as_python(self):
        names = {name for _index, name in socket.if_nameindex()} - {"lo"}
        self.assertEqual({entry["interface"] for entry in network.interfaces()}, names)

    def test_damaged_netlink_messages_are_passed_over(self):
        body = network.ADDRESS.pack(socket.AF_INET, 24, 0, 0, 2) + struct.pack("=HH4s", 8, 1, b"\xc0\0\x02\x15")
        message = network.HEADER.pack(network.HEADER.size + len(body), network.RTM_NEWADDR, 0, 1, 0) + body
        self.assertEqual(network.parse_addresses(message)[0]["ip_address"], "192.0.2.21")
        for size in range(len(message)):
            self.assertEqual(network.parse_addresses(message[:size]), [])
        for size in (0, 1, 3, 15, 0xFFFFFFFF):
            self.assertEqual(network.parse_links(struct.pack("=I", size) + message[4:]), [])

    def test_a_vms_uuid_is_its_firmwares(self):
        paths = guest_root(self)
        self.assertEqual(machine.vm_uuid(paths), FACTS["vm"])
        write(paths.at("sys/class/dmi/id/product_uuid"), "Not Settable\n")
        self.assertIsNone(machine.vm_uuid(paths))
        write(paths.at("proc/device-tree/vm,uuid"), FACTS["vm"] + "\0")
        self.assertEqual(machine.vm_uuid(paths), FACTS["vm"])


class Distributions(unittest.TestCase):
    def test_an_unknown_one_is_named_as_the_original_does(self):
        verdict = distributions.judge(os_release.parse('NAME="Gentoo"\nID=gentoo\n'))
        self.assertEqual(verdict, (False, "Unsupported distribution : gentoo"))
        self.assertIn("Unsupported distribution : unknown", distributions.judge({}).message)

    def test_versions_count_by_their_parts(self):
        for version, supported in (("9", True), ("9.4", True), ("90", False), ("", False), ("7.9", False)):
            self.assertEqual(distributions.judge({"ID": "rocky", "VERSION_ID": version}).supported, supported)
        self.assertTrue(distributions.judge({"ID": "opensuse-tumbleweed", "VERSION_ID": "20261101"}).supported)


class Discs(unittest.TestCase):
    MOUNTINFO = (
        "36 35 98:0 / /mnt/a\\040disc ro,nosuid master:1 - iso9660 /dev/sr0 ro\n"
        "bad line\n"
        "37 35 0:3 / /proc rw - proc proc rw\n"
    )

    def test_mountinfo_is_read_with_its_escapes(self):
        found = disc.parse_mountinfo(self.MOUNTINFO)
        self.assertEqual(
            [(mount.point, mount.file_system) for mount in found], [("/mnt/a disc", "iso9660"), ("/proc", "proc")]
        )

    def test_a_mounted_tools_disc_is_seen_and_its_end_too(self):
        paths = guest_root(self)
        seen = disc.MountedDiscs(paths)
        self.assertFalse(seen())
        os.symlink(disc_folder("good"), paths.at("media"))
        line = "36 35 11:0 / /media ro - iso9660 /dev/sr0 ro\n"
        write(paths.at("proc/self/mountinfo"), line)
        self.assertTrue(seen())
        write(paths.at("proc/self/mountinfo"), "")
        self.assertFalse(seen())

    def test_other_discs_and_the_agents_own_look_are_not_meant(self):
        paths = guest_root(self)
        os.makedirs(paths.at("empty"))
        line = "36 35 11:0 / /empty ro - iso9660 /dev/sr0 ro\n37 35 11:0 / {0} ro - iso9660 /dev/sr0 ro\n"
        write(paths.at("proc/self/mountinfo"), line.format(paths.disc))
        os.makedirs(paths.run)
        os.symlink(disc_folder("good"), paths.disc)
        self.assertFalse(disc.MountedDiscs(paths)())

    def test_the_labelled_drive_comes_first_and_each_once(self):
        paths = guest_root(self)
        for name in ("sr0", "sr1"):
            write(paths.at("sys/block", name, "size"), "0")
            write(paths.at("dev", name), "")
        os.makedirs(paths.at("dev/disk/by-label"))
        os.symlink(paths.at("dev/sr1"), paths.at("dev/disk/by-label", disc.LABEL))
        self.assertEqual(disc.drives(paths), [os.path.realpath(paths.at("dev/sr1")), paths.at("dev/sr0")])
        self.assertFalse(disc.is_loaded(paths.at("dev/sr0")))

    def test_a_disc_is_mounted_for_reading_only_and_unmounted_whatever_happens(self):
        paths = guest_root(self)
        calls = []

        def run(command):
            calls.append(command)
            return Finished(0, "", "")

        with self.assertRaises(KeyError):
            with disc.mounted_privately(paths, "/dev/sr0", run):
                raise KeyError
        self.assertEqual(calls[0][-4:], ["-o", "ro,nosuid,nodev,noexec", "/dev/sr0", paths.disc])
        self.assertEqual(calls[1], ["umount", "-n", paths.disc])


class News(unittest.TestCase):
    def news(self, *pairs):
        return uevent.parse("\0".join(("change@/devices/x",) + pairs).encode())

    def test_a_changed_medium_is_news_and_an_eject_request_is_none(self):
        drive = ("ACTION=change", "SUBSYSTEM=block", "DEVNAME=sr0")
        self.assertTrue(uevent.announces_disc(self.news("DISK_MEDIA_CHANGE=1", *drive)))
        self.assertFalse(uevent.announces_disc(self.news("DISK_EJECT_REQUEST=1", *drive)))
        self.assertFalse(uevent.announces_disc(self.news("DISK_EJECT_REQUEST=1", "DISK_MEDIA_CHANGE=1", *drive)))
        self.assertFalse(uevent.announces_disc(self.news(*drive)))
        self.assertTrue(uevent.announces_disc(self.news("ACTION=add", "SUBSYSTEM=block", "DEVNAME=sr1")))
        self.assertFalse(uevent.announces_disc(self.news("ACTION=add", "SUBSYSTEM=block", "DEVNAME=sda")))
        self.assertFalse(uevent.announces_disc({}))

    def test_the_kernels_socket_can_be_had(self):
        with uevent.open_socket() as sock:
            self.assertEqual(uevent.receive(sock), {})


class BlockList(unittest.TestCase):
    def test_one_method_a_line_with_comments(self):
        found = blocked.parse("# none of these\nidentity.rotate  # mine\n\n  capabilities.set\n")
        self.assertEqual(found, {"identity.rotate", "capabilities.set"})

    def test_without_the_file_nothing_and_with_a_damaged_one_everything_is_blocked(self):
        paths = guest_root(self)
        self.assertFalse(blocked.is_blocked(paths, "identity.rotate"))
        write(paths.blocked_methods, "identity.rotate\n")
        self.assertTrue(blocked.is_blocked(paths, "identity.rotate"))
        self.assertTrue(blocked.is_blocked(paths, "identity.request"), "the first half of a rotation")
        self.assertFalse(blocked.is_blocked(paths, "capabilities.set"))
        write(paths.blocked_methods, b"\xff\xfe")
        self.assertTrue(blocked.is_blocked(paths, "capabilities.set"))


class Waiting(unittest.TestCase):
    def test_full_jitter_between_nothing_and_a_ceiling_that_doubles(self):
        ceilings = []
        waits = backoff.Backoff(lambda low, high: ceilings.append((low, high)) or high)
        for _turn in range(20):
            waits.failed()
        self.assertEqual(ceilings[:6], [(0.0, 0.5), (0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 8.0), (0.0, 15.0)])
        self.assertEqual(ceilings[-1], (0.0, 15.0))
        waits.succeeded()
        self.assertEqual(waits.failed(), 0.5)

    def test_a_wake_from_another_thread_ends_a_pause(self):
        waiter = Waiter()
        self.addCleanup(waiter.close)
        thread = threading.Thread(target=waiter.stop)
        thread.start()
        waiter.pause(3600)
        thread.join()
        self.assertTrue(waiter.stopping)

    def test_the_watchdog_is_fed_at_each_turn(self):
        beats = []
        waiter = Waiter(lambda: beats.append(1), turn_seconds=0.001)
        self.addCleanup(waiter.close)
        waiter.pause(0.02)
        self.assertGreater(len(beats), 2)


class Notify(unittest.TestCase):
    def test_the_manager_hears_ready_beats_at_most_every_five_seconds_and_stopping(self):
        for address in ("notify", "\0openngt-test-{0}".format(os.getpid())):
            path = address if address[0] == "\0" else os.path.join(guest_root(self).root, address)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.bind(path)
                manager.settimeout(5)
                now = [0.0]
                notifier = systemd.Notifier({"NOTIFY_SOCKET": path.replace("\0", "@")}, lambda: now[0])
                notifier.ready()
                notifier.beat()
                notifier.beat()
                now[0] = 5.0
                notifier.beat()
                notifier.stopping()
                heard = [manager.recv(64) for _turn in range(4)]
            self.assertEqual(heard, [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"STOPPING=1"])

    def test_without_a_manager_nothing_happens(self):
        systemd.Notifier({}).ready()
        systemd.Notifier({"NOTIFY_SOCKET": "/nonexistent/notify"}).ready()


class Imports(unittest.TestCase):
    def test_the_agent_starts_with_the_standard_library_alone(self):
        code = "import sys; sys.path.insert(0, {0!r}); import openngt_agent.cli".format(
            os.environ["PYTHONPATH"].split(":")[0]
        )
        self.assertEqual(subprocess.call([sys.executable, "-I", "-S", "-W", "error", "-c", code]), 0)


if __name__ == "__main__":
    unittest.main()
