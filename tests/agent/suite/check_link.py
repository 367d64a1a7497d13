# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole agent against a real gateway on a real port: TCP, TLS, the golden messages, files on disk."""

import contextlib
import signal
import subprocess
import sys
import unittest

from link_case import PATIENCE, Case, Gateway, store
from openngt_agent import runtime_status
from openngt_agent.service import CLOCK_SECONDS, Agent
from openngt_agent.waiter import Waiter
from support import golden, guest_root, write


class Links(Case):
    def test_connected_means_active_on_both_sides(self):
        new = store(self.paths, self.gateway.port)
        self.start()
        with self.gateway.accept() as session:
            hello = session.greet()
            self.assertEqual(set(hello["params"]), set(golden("hello")["params"]))
            self.assertEqual(set(hello["params"]["status"]), set(golden("hello")["params"]["status"]))
            found = self.until(lambda said: said["link"]["active"])
            self.assertEqual(session.hear("heartbeat")["params"], {"disc_mounted": False})
            self.assertRegex(hello["params"]["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(found["link"]["transport"], "tls")
        self.assertEqual(found["link"]["peer"], "127.0.0.1:{0}".format(self.gateway.port))
        self.assertEqual(found["identity"]["serial"], new.certificate.serial)
        self.assertEqual(found["capabilities"], golden("hello-result")["result"]["capabilities"])
        with open(self.paths.status, encoding="utf-8") as stream:
            self.assertNotIn("PRIVATE", stream.read())

    def test_the_service_is_told_now_and_then_what_time_it_is_in_the_guest(self):
        now = [1000.0]
        waiter = Waiter(monotonic=lambda: now[0])
        self.addCleanup(waiter.close)
        agent = Agent(self.paths, waiter, runtime_status.RuntimeStatus(self.paths))
        self.assertEqual(set(agent._hello()), set(golden("hello")["params"]))
        self.assertEqual(set(agent._heartbeat()), set(golden("heartbeat")["params"]))
        now[0] += CLOCK_SECONDS
        self.assertEqual(set(agent._heartbeat()), set(golden("heartbeat-with-time")["params"]))
        self.assertEqual(set(agent._heartbeat()), set(golden("heartbeat")["params"]))

    def test_before_welcome_the_agent_is_not_connected(self):
        store(self.paths, self.gateway.port)
        self.start()
        with self.gateway.accept():
            self.assertFalse(self.status()["link"]["active"])
        found = self.until(lambda said: said["link"]["last_error"])
        self.assertEqual(found["link"]["last_error"]["code"], "LINK_REFUSED")

    def test_it_comes_back_after_the_service_went_away(self):
        store(self.paths, self.gateway.port)
        self.start()
        for _turn in range(3):
            with self.gateway.accept() as session:
                session.greet()
                self.until(lambda said: said["link"]["active"])
            self.until(lambda said: not said["link"]["active"])

    def test_capabilities_that_are_set_are_shown(self):
        store(self.paths, self.gateway.port)
        self.start()
        wanted = golden("capabilities-set")["params"]["capabilities"]
        with self.gateway.accept() as session:
            session.greet()
            session.say(golden("capabilities-set"))
            self.assertEqual(session.hear(), golden("capabilities-set-result"))
            self.until(lambda said: said["capabilities"] == wanted)

    def test_what_the_administrator_blocks_is_blocked_from_the_next_operation_on(self):
        store(self.paths, self.gateway.port)
        self.start()
        with self.gateway.accept() as session:
            session.greet()
            write(self.paths.blocked_methods, "capabilities.set\n")
            session.say(golden("capabilities-set"))
            self.assertEqual(session.hear()["error"]["code"], -32000)

    def test_an_identity_taken_from_a_disc_is_changed_over_to_at_once(self):
        store(self.paths, self.gateway.port)
        agent = self.start()
        with self.gateway.accept() as session:
            session.greet()
            agent.identity_taken(store(self.paths, self.gateway.port, "link-5", 5))
            self.assertEqual(session.hear()["method"], "goodbye")
        with self.gateway.accept() as session:
            self.assertEqual(session.generation, 5)

    def test_services_that_are_not_ours_get_nothing(self):
        """T13: also another VM's certificate of the right CA is no service's."""
        for name in ("server-of-other-ca", "server-of-other-name", "server-expired", "client-as-server"):
            self.paths = guest_root(self)
            self.gateway = Gateway(self, name)
            store(self.paths, self.gateway.port)
            self.start()
            with contextlib.suppress(OSError):  # TLS says no, or it comes up and the agent says nothing (3.6: the name)
                with self.gateway.accept() as session:
                    self.assertIsNone(session.hear())
            found = self.until(lambda said: said["link"]["last_error"])
            self.assertEqual(found["link"]["last_error"]["code"], "TLS_NOT_TRUSTED", name)

    def test_a_wrong_clock_is_named_where_it_may_be_the_reason(self):
        """T15."""
        self.gateway = Gateway(self, "server-expired")
        store(self.paths, self.gateway.port)
        self.start()
        with contextlib.suppress(OSError):
            with self.gateway.accept() as session:
                self.assertIsNone(session.hear())
        found = self.until(lambda said: said["link"]["last_error"])
        self.assertRegex(found["link"]["last_error"]["message"], "this guest's clock says 20")

    def test_nobody_there_is_said(self):
        self.gateway.listener.close()
        store(self.paths, self.gateway.port)
        self.start()
        found = self.until(lambda said: said["link"]["last_error"])
        self.assertEqual(found["link"]["last_error"]["code"], "ENDPOINT_UNREACHABLE")

    def test_stopping_is_said_and_quick(self):
        store(self.paths, self.gateway.port)
        self.start()
        with self.gateway.accept() as session:
            session.greet()
            self.until(lambda said: said["link"]["active"])
            self.waiter.stop()
            self.assertEqual(session.hear(), golden("goodbye-from-agent"))
            self.assertIsNone(session.hear())


class Process(Case):
    def test_sigterm_ends_the_process_with_a_goodbye_and_status_0(self):
        store(self.paths, self.gateway.port)
        code = (
            "import sys; from openngt_agent import service; from openngt_agent.paths import Paths;"
            "sys.exit(service.serve(Paths({0!r})))".format(self.paths.root)
        )
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
        try:
            with self.gateway.accept() as session:
                session.greet()
                self.until(lambda said: said["link"]["active"])
                process.send_signal(signal.SIGTERM)
                self.assertEqual(session.hear(), golden("goodbye-from-agent"))
            _out, log = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()
        self.assertEqual(process.returncode, 0)
        self.assertNotIn(b"PRIVATE KEY", log)
        self.assertNotIn(b"Traceback", log)


if __name__ == "__main__":
    unittest.main()
