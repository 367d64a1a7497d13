# SPDX-License-Identifier: GPL-3.0-or-later
"""A shutdown or a reboot that the host asks for."""

import threading
import unittest

from link_case import PATIENCE, Case, Gateway, store
from openngt_agent.files import Finished
from support import golden, guest_root, write


class GoingDown(Case):
    """The host is answered, then the guest does it."""

    def test_the_answer_and_the_goodbye_are_out_before_systemd_is_asked(self):
        for verb, command in (("shutdown", "poweroff"), ("reboot", "reboot")):
            self.paths, self.gateway = guest_root(self), Gateway(self)
            store(self.paths, self.gateway.port)
            answered, commands = threading.Event(), []

            def run(words, answered=answered, commands=commands):
                # Were the answer still in this process, the other end could not have read it.
                commands.append((answered.wait(PATIENCE), words))
                return Finished(0, "", "")

            self.start(run)
            with self.gateway.accept() as session:
                session.greet()
                self.until(lambda said: said["link"]["active"])
                session.say(golden("guest-" + verb))
                self.assertEqual(session.hear(), golden("guest-" + verb + "-result"))
                self.assertEqual(session.hear(), golden("goodbye-going-down"))
                self.assertIsNone(session.hear())
                answered.set()
            self.until(lambda said, commands=commands: commands and not said["link"]["active"])
            self.assertEqual(commands, [(True, ["systemctl", "--no-ask-password", command])])

    def test_a_guest_that_is_going_down_does_not_connect_again(self):
        store(self.paths, self.gateway.port)
        asked = threading.Event()

        def run(words):
            asked.set()
            return Finished(0, "", "")

        self.start(run)
        with self.gateway.accept() as session:
            session.greet()
            session.say(golden("guest-shutdown"))
            self.assertEqual(session.hear(), golden("guest-shutdown-result"))
            self.assertTrue(asked.wait(PATIENCE))
        self.gateway.listener.settimeout(0.5)
        with self.assertRaises(OSError):
            self.gateway.accept()

    def test_when_systemd_refuses_the_link_comes_back_and_the_journal_says_why(self):
        store(self.paths, self.gateway.port)
        with self.assertLogs("openngt.host", "INFO") as logged:
            self.start(lambda words: Finished(1, "", "Transaction is destructive."))
            with self.gateway.accept() as session:
                session.greet()
                session.say(golden("guest-reboot"))
                self.assertEqual(session.hear(), golden("guest-reboot-result"))
            with self.gateway.accept() as session:
                session.greet()
        self.assertIn("guest.reboot: failed: COMMAND_FAILED", logged.output[-1])
        self.assertIn("Transaction is destructive.", logged.output[-1])

    def test_what_is_blocked_is_not_done(self):
        store(self.paths, self.gateway.port)
        write(self.paths.blocked_methods, "guest.shutdown\n")
        self.start()
        with self.gateway.accept() as session:
            session.greet()
            session.say(dict(golden("guest-shutdown"), id="p-3"))
            self.assertEqual(session.hear(), golden("guest-shutdown-blocked"))
            session.say(golden("capabilities-set"))
            self.assertEqual(session.hear(), golden("capabilities-set-result"))


if __name__ == "__main__":
    unittest.main()
