# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole agent over a serial port: a pseudo-terminal, real TLS, and all that can be wrong with a port (F21)."""

import contextlib
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
import unittest.mock

from link_case import PATIENCE, Case, Gateway, Session, store
from openngt_agent import identity, runtime_status, serial_port, serial_view, transport_policy
from openngt_agent.errors import AgentError
from serial_host import ACK, DATA, HELLO, NO_SESSION, RESET, Port, PortSocket, frame_of
from support import FACTS, frame, golden, text, write

PORTS = ["/dev/virtio-ports/org.openngt.guest_tools.0", "/dev/ttyS1"]


def store_with_ports(paths, port, ports=tuple(PORTS), name="link-4", generation=4, kind="link", **config):
    new = identity.make(kind, FACTS["cluster"], text(name + ".pem"), text("ca.pem"), FACTS["ca_sha256"], False)
    settings = dict(FACTS["config"], port=port, generation=generation, serial_ports=list(ports), **config)
    identity.store(paths, new, settings)


def nobody():
    """A port of the network at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class SerialCase(Case):
    def setUp(self):
        super(SerialCase, self).setUp()
        self.hurry("transport_serial.HELLO_SECONDS", 0.2)
        self.hurry("transport_serial.SILENT_SECONDS", 1.5)

    def hurry(self, name, seconds):
        patch = unittest.mock.patch("openngt_agent." + name, seconds)
        patch.start()
        self.addCleanup(patch.stop)

    def serial(self, network=None):
        """A port in the guest, an agent with no network, and the session of its first link."""
        port = Port(self, self.paths)
        store_with_ports(self.paths, network or nobody())
        self.start()
        session = Session(port.accept())
        session.greet()
        self.until(lambda said: said["link"]["active"])
        return port, session

    def falls_back(self, state):
        """The agent links over the network; what it says of its port."""
        with self.gateway.accept() as session:
            session.greet()
            found = self.until(lambda said: said["link"]["active"])
            self.assertEqual(found["link"]["transport"], "tls")
            self.assertEqual(found["serial_port"]["state"], state)
            self.assertEqual(session.hear("heartbeat")["method"], "heartbeat")  # and lives on
        return found["serial_port"]


class Links(SerialCase):
    def test_the_port_comes_first_and_the_network_is_not_asked(self):
        port = Port(self, self.paths)
        store_with_ports(self.paths, self.gateway.port)
        self.start()
        session = Session(port.accept())
        hello = session.greet()
        found = self.until(lambda said: said["link"]["active"])
        self.assertEqual((found["link"]["transport"], found["link"]["peer"]), ("serial", port.device))
        self.assertEqual(found["serial_port"]["state"], "linked")
        self.assertEqual(set(hello["params"]["status"]), set(golden("hello")["params"]["status"]))
        self.assertEqual(session.hear("heartbeat")["params"], {"disc_mounted": False})
        self.gateway.listener.settimeout(0.1)
        with self.assertRaises(socket.timeout):
            self.gateway.accept()

    def test_a_rotation_over_the_port_is_stored_and_used_on_the_port(self):
        port = Port(self, self.paths)
        store_with_ports(self.paths, nobody(), name="link-3", generation=3, kind="bootstrap")
        self.start()
        with Session(port.accept()) as session:
            session.greet()
            asked = golden("identity-rotate")
            config = dict(FACTS["config"], generation=4, serial_ports=PORTS)
            asked["params"].update(client_pem=text("link-4.pem"), ca_pem=text("ca.pem"), config=config, generation=4)
            session.say(asked)
            self.assertEqual(session.hear()["result"], {"generation": 4})
            self.assertEqual(session.hear()["method"], "goodbye")
        session = Session(port.accept())
        self.assertEqual(session.generation, 4)

    def test_stopping_is_said_and_quick(self):
        _port, session = self.serial()
        self.waiter.stop()
        self.assertEqual(session.hear(), golden("goodbye-from-agent"))
        self.assertIsNone(session.hear())

    def test_a_message_that_is_too_large_for_a_port_ends_the_session(self):
        _port, session = self.serial()
        with self.assertLogs("openngt.agent", "WARNING") as logs:
            session.sock.sendall(frame({"jsonrpc": "2.0", "method": "unheard", "params": {"x": "y" * 66000}})[:4000])
            self.until(lambda said: not said["link"]["active"] and logs.output)  # it is shown first, then logged
        self.assertIn("from 2 to 65536 are allowed", logs.output[0])

    def test_garbage_between_frames_is_passed_over(self):
        port, session = self.serial()
        port.write(random.Random(7).getrandbits(8 * 3000).to_bytes(3000, "big"))
        port.write(frame_of(DATA, session.sock.session, 9, b"x" * 100)[:70])
        session.say(golden("capabilities-set"))
        self.assertEqual(session.hear(), golden("capabilities-set-result"))

    def test_frames_of_another_session_and_a_second_ack_change_nothing(self):
        port, session = self.serial()
        port.write(frame_of(ACK, session.sock.session))
        port.write(frame_of(DATA, b"stale...", 0, b"bytes of an earlier session"))
        port.write(frame_of(RESET, b"stale..."))
        session.say(golden("capabilities-set"))
        self.assertEqual(session.hear(), golden("capabilities-set-result"))

    def test_a_missing_frame_ends_the_session_and_a_new_one_begins(self):
        port, session = self.serial()
        port.write(frame_of(DATA, session.sock.session, session.sock.sent + 1, b"one too far"))
        with Session(port.accept(b"\1\2\3\4")) as again:
            again.greet()
            self.until(lambda said: said["link"]["active"])

    def test_a_service_that_takes_the_port_anew_is_called_at_once(self):
        port, _session = self.serial()
        port.write(frame_of(RESET, NO_SESSION))
        started = time.monotonic()
        Session(port.accept(b"\1\2\3\4")).greet()
        self.until(lambda said: said["link"]["active"])
        self.assertLess(time.monotonic() - started, 6.0, "it waited for two heartbeats")

    def test_hello_is_said_again_with_the_same_half_until_it_is_answered(self):
        port = Port(self, self.paths)
        store_with_ports(self.paths, nobody())
        self.start()
        self.assertEqual(port.hello(), port.hello())
        kind, session, _sequence, _payload = port.next_frame()
        self.assertEqual((kind, session[4:]), (HELLO, b"\0" * 4))

    def test_an_agent_that_was_killed_in_the_middle_of_a_frame_comes_back(self):
        port = Port(self, self.paths)
        store_with_ports(self.paths, nobody())
        code = (
            "import sys; from openngt_agent import service; from openngt_agent.paths import Paths;"
            "sys.exit(service.serve(Paths({0!r})))".format(self.paths.root)
        )
        for _turn in range(2):
            process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
            try:
                Session(port.accept()).greet()
                self.until(lambda said: said["link"]["active"])
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
            port.write(b"\xffNGT\1")


class Troubles(SerialCase):
    """Every one of them leads to the network, and none stops the agent."""

    def test_absent(self):
        store_with_ports(self.paths, self.gateway.port)
        self.start()
        self.assertIn("has no port", self.falls_back("absent")["message"])

    def test_a_node_that_is_no_device(self):
        write(self.paths.at("dev/ttyS1"), "a file")
        store_with_ports(self.paths, self.gateway.port)
        self.start()
        self.falls_back("absent")

    def test_silent(self):
        Port(self, self.paths)
        store_with_ports(self.paths, self.gateway.port)
        self.start()
        self.falls_back("silent")

    def test_busy(self):
        """T7."""
        port = Port(self, self.paths)
        fcntl.flock(port.guest, fcntl.LOCK_EX)
        store_with_ports(self.paths, self.gateway.port)
        self.start()
        self.falls_back("busy")

    def test_the_kernels_console_is_left_alone(self):
        port = Port(self, self.paths)
        write(self.paths.at("sys/class/tty/console/active"), "tty0 ttyS1\n")
        store_with_ports(self.paths, self.gateway.port)
        self.start()
        self.assertIn("console", self.falls_back("busy")["message"])
        with self.assertRaises(AssertionError):
            port.read_some(0.1)

    def test_full(self):
        port = Port(self, self.paths)
        os.set_blocking(port.guest, False)
        with self.assertRaises(BlockingIOError):
            while True:
                os.write(port.guest, b"x" * 4096)
        with unittest.mock.patch("termios.tcflush"):  # as if it filled up again
            store_with_ports(self.paths, self.gateway.port)
            self.start()
            self.falls_back("silent")

    def test_garbage_without_end(self):
        port = Port(self, self.paths)
        stop = threading.Event()
        noise = random.Random(3).getrandbits(8 * 4096).to_bytes(4096, "big") + b"\xffNGT" * 16

        def spew():
            os.set_blocking(port.host, False)
            while not stop.is_set():
                try:
                    os.write(port.host, noise)
                    os.read(port.host, 65536)
                except BlockingIOError:
                    time.sleep(0.001)

        thread = threading.Thread(target=spew)
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)
        thread.start()
        store_with_ports(self.paths, self.gateway.port)
        self.start()
        self.assertIn("bytes that are none", self.falls_back("silent")["message"])

    def test_a_host_that_falls_silent_is_noticed_by_two_missed_heartbeats(self):
        port, session = Port(self, self.paths), None
        store_with_ports(self.paths, self.gateway.port)
        self.start()
        session = Session(port.accept())
        session.say(dict(golden("welcome-link"), params=dict(golden("welcome-link")["params"], heartbeat_seconds=1)))
        hello = session.hear()
        session.say(dict(golden("hello-result"), id=hello["id"]))
        self.until(lambda said: said["link"]["transport"] == "serial")
        port.quiet(0.5)
        with self.gateway.accept() as over_network:
            over_network.greet()
            self.until(lambda said: said["link"]["transport"] == "tls")

    def test_a_port_that_is_unplugged_is_noticed_at_once(self):
        port = Port(self, self.paths)
        store_with_ports(self.paths, self.gateway.port)
        self.start()
        Session(port.accept()).greet()
        self.until(lambda said: said["link"]["transport"] == "serial")
        port.unplug()
        with self.gateway.accept() as session:
            session.greet()
            self.until(lambda said: said["link"]["transport"] == "tls")

    def test_a_service_that_is_not_ours_gets_nothing_over_a_port_either(self):
        port = Port(self, self.paths)
        store_with_ports(self.paths, nobody())
        self.start()
        with self.assertLogs("openngt.agent", "WARNING") as logs:
            with contextlib.suppress(OSError):  # TLS says no, or it comes up and the agent says nothing
                self.assertIsNone(Session(port.accept(certificate="server-of-other-ca")).hear())
            self.until(lambda said: any("the service's certificate is not" in line for line in logs.output))

    def test_what_the_guests_clock_says_decides_nothing_over_a_port(self):
        """T15: a certificate whose life is over by one clock is as good as any by the other."""
        port = Port(self, self.paths)
        store_with_ports(self.paths, nobody(), name="link-3", generation=3)
        self.start()
        session = Session(port.accept(certificate="server-expired"))
        hello = session.greet()
        self.assertRegex(hello["params"]["time"], "Z$")
        call = golden("identity-rotate")
        config = dict(FACTS["config"], generation=4, serial_ports=PORTS)
        call["params"].update(client_pem=text("link-expired.pem"), ca_pem=text("ca.pem"), config=config, generation=4)
        session.say(call)
        self.assertEqual(session.hear()["result"], {"generation": 4})

    def test_no_port_in_the_configuration_means_the_network_alone(self):
        Port(self, self.paths)
        store(self.paths, self.gateway.port)
        self.start()
        with self.gateway.accept() as session:
            session.greet()
            found = self.until(lambda said: said["link"]["active"])
        self.assertIsNone(found["serial_port"])


class Returns(SerialCase):
    def setUp(self):
        super(Returns, self).setUp()
        self.hurry("transport_serial.PROBE_SECONDS", 0.2)
        self.hurry("transport_policy.STEADY_SECONDS", 0.5)

    def test_from_the_network_back_to_a_port_that_answers_again(self):
        port = Port(self, self.paths)
        store_with_ports(self.paths, self.gateway.port)
        self.start()
        with self.gateway.accept() as session:
            session.say(
                dict(golden("welcome-link"), params=dict(golden("welcome-link")["params"], heartbeat_seconds=1))
            )
            hello = session.hear()
            session.say(dict(golden("hello-result"), id=hello["id"]))
            self.until(lambda said: said["link"]["transport"] == "tls")
            answers = threading.Thread(target=self.answer_probes, args=(port,))
            answers.start()
            self.assertEqual(session.hear()["method"], "goodbye")
        answers.join(PATIENCE)
        found = self.until(lambda said: said["link"]["transport"] == "serial")
        self.assertEqual(found["serial_port"]["state"], "linked")

    def test_from_the_port_back_to_a_network_that_is_preferred(self):
        port = Port(self, self.paths)
        self.gateway.listener.close()
        store_with_ports(self.paths, self.gateway.port, preferred_transport="tls")
        self.start()
        session = Session(port.accept())
        session.greet()
        self.until(lambda said: said["link"]["transport"] == "serial")
        self.gateway = Gateway(self, port=self.gateway.port)
        self.assertEqual(session.hear()["method"], "goodbye")
        with self.gateway.accept() as over_network:
            over_network.greet()
            self.until(lambda said: said["link"]["transport"] == "tls")

    def answer_probes(self, port):
        """Acknowledge until TLS begins, then greet: as the service does."""
        while True:
            kind, session, _sequence, payload = port.next_frame()
            if kind == HELLO:
                port.write(frame_of(ACK, session[:4] + b"\1\2\3\4"))
            elif kind == DATA:
                # The ClientHello belongs to the connection that answers it.
                port.buffer = frame_of(DATA, session, 0, payload) + port.buffer
                Session(PortSocket(port, session)).greet()
                return


class Policy(unittest.TestCase):
    def test_what_comes_next(self):
        policy = transport_policy.TransportPolicy(("serial", "tls"))
        self.assertEqual(policy.next, "serial")
        policy.ended(False, False, 3.0)
        self.assertEqual((policy.next, policy.wants_pause), ("tls", False))
        policy.ended(False, False, 8.0)
        self.assertEqual((policy.next, policy.wants_pause), ("serial", False))
        policy.ended(False, False, 11.0)
        self.assertEqual((policy.next, policy.wants_pause), ("tls", True))

    def test_a_link_that_was_ended_on_purpose_is_taken_up_where_it_was(self):
        policy = transport_policy.TransportPolicy(("serial", "tls"))
        policy.linked(1.0)
        policy.ended(True, True, 2.0)
        self.assertEqual(policy.next, "serial")

    def test_without_a_port_each_failure_is_followed_by_a_pause(self):
        policy = transport_policy.TransportPolicy(("tls",))
        policy.linked(1.0)
        policy.ended(True, False, 2.0)
        self.assertTrue(policy.wants_pause)

    def test_a_single_answer_is_no_reason_to_return(self):
        policy = transport_policy.TransportPolicy(("serial", "tls"))
        policy.ended(False, False, 0.0)
        policy.linked(1.0)
        policy.answered(True, 2.0)
        policy.answered(False, 5.0)
        policy.answered(True, 8.0)
        self.assertFalse(policy.wants_return(17.9))
        self.assertTrue(policy.wants_return(18.0))

    def test_whatever_a_port_does_there_is_at_most_one_return_an_hour(self):
        chance = random.Random(11)
        for _day in range(50):
            policy = transport_policy.TransportPolicy(("serial", "tls"))
            now, returns, linked = 0.0, [], False
            while now < 86400.0:
                now += chance.choice((1.0, 3.0, 30.0, 300.0))
                if not linked:
                    linked = policy.next == "tls" or chance.random() < 0.7
                    if linked:
                        policy.linked(now)
                    else:
                        policy.ended(False, False, now)
                elif policy.next == "serial":
                    if chance.random() < 0.2:
                        linked = False
                        policy.ended(True, False, now)
                else:
                    policy.answered(chance.random() < 0.9, now)
                    if policy.wants_return(now):
                        returns.append(now)
                        policy.returning(now)
                        policy.ended(True, True, now)
                        linked = False
            gaps = [later - earlier for earlier, later in zip(returns, returns[1:])]
            self.assertTrue(returns)
            self.assertGreaterEqual(min(gaps, default=3600.0), 3600.0)

    def test_it_says_for_how_long_a_port_is_not_returned_to(self):
        policy = transport_policy.TransportPolicy(("serial", "tls"))
        policy.linked(0.0)
        policy.ended(True, False, 100.0)
        policy.linked(101.0)
        self.assertEqual(policy.held(101.0), 0.0, "a first failure holds nothing")
        policy.returning(200.0)
        policy.ended(True, True, 200.0)
        self.assertEqual(policy.held(200.0), 0.0)
        policy.linked(201.0)
        policy.ended(True, False, 800.0)
        self.assertEqual(policy.held(800.0), 3001.0)
        self.assertEqual(policy.held(3800.0), 1.0)
        self.assertEqual(policy.held(3802.0), 0.0)

    def test_a_first_failure_is_returned_from_within_a_minute(self):
        policy = transport_policy.TransportPolicy(("serial", "tls"))
        policy.linked(0.0)
        policy.ended(True, False, 100.0)
        policy.linked(101.0)
        for now in range(104, 160, 3):
            policy.answered(True, float(now))
            if policy.wants_return(float(now)):
                break
        self.assertLess(now, 130)


class View(unittest.TestCase):
    """What is shown and reported of a port that is not returned to."""

    def setUp(self):
        self.now = 1763708400.0
        self.shown = []
        case = SerialCase("setUp")
        case.setUp()
        self.addCleanup(case.doCleanups)
        self.status = runtime_status.RuntimeStatus(case.paths)
        self.paths = case.paths
        self.view = serial_view.SerialView(self.status, lambda: self.now)

    def test_the_moment_is_told_and_stays_the_same_until_it_is_over(self):
        self.view.linked("/dev/ttyS1")
        self.assertIsNone(self.view.reported["held_until"])
        self.view.held(3000.0)
        told = dict(self.view.reported)
        self.assertEqual(told, {"device": "/dev/ttyS1", "state": "present", "held_until": "2025-11-21T07:50:00Z"})
        self.now += 61.5
        self.view.held(2939.0)
        self.view.answers("/dev/ttyS1")
        self.assertEqual(self.view.reported, told, "nothing to report each minute")
        self.assertEqual(runtime_status.read(self.paths)["serial_port"]["held_until"], "2025-11-21T07:50:00Z")
        self.view.held(0.0)
        self.assertIsNone(self.view.reported["held_until"])
        self.assertIsNone(runtime_status.read(self.paths)["serial_port"]["held_until"])

    def test_without_a_port_there_is_nothing_to_hold(self):
        self.view.held(0.0)
        self.view.unused()
        self.assertIsNone(self.view.reported)


class Opening(unittest.TestCase):
    def test_closing_a_port_that_nobody_reads_takes_no_time(self):
        case = SerialCase("setUp")
        case.setUp()
        self.addCleanup(case.doCleanups)
        port = serial_port.SerialPort(Port(case, case.paths).device)
        with self.assertRaises(BlockingIOError):
            while True:
                port.write(b"x" * 4096)
        started = time.monotonic()
        port.close()
        self.assertLess(time.monotonic() - started, 5.0)

    def test_of_two_openers_the_second_is_told(self):
        case = SerialCase("setUp")
        case.setUp()
        self.addCleanup(case.doCleanups)
        device = Port(case, case.paths).device
        first = serial_port.SerialPort(device)
        with self.assertRaises(AgentError) as caught:
            serial_port.SerialPort(device)
        self.assertEqual(caught.exception.code, "SERIAL_PORT_BUSY")
        first.close()
        serial_port.SerialPort(device).close()


if __name__ == "__main__":
    unittest.main()
