# SPDX-License-Identifier: GPL-3.0-or-later
"""A new identity over the link: taken when it may follow the old one, and never half."""

import unittest
import unittest.mock

from link_case import Case, store
from openngt_agent import identity
from openngt_agent.errors import AgentError
from openngt_agent.files import Finished
from openngt_agent.tls import split_client_pem
from support import FACTS, golden, text


class Rotation(Case):
    def test_the_rotated_identity_is_stored_answered_and_used(self):
        store(self.paths, self.gateway.port, "link-3", 3, "bootstrap")
        self.start()
        with self.gateway.accept() as session:
            self.assertEqual(session.generation, 3)
            session.greet("welcome-bootstrap")
            call = golden("identity-rotate")
            call["params"].update(
                client_pem=text("link-4.pem"),
                ca_pem=text("ca.pem"),
                config=dict(FACTS["config"], port=self.gateway.port),
            )
            session.say(call)
            self.assertEqual(session.hear(), golden("identity-rotate-result"))
            self.assertEqual(identity.load(self.paths).generation, 4)
            self.assertEqual(session.hear(), golden("goodbye-rotated"))
            self.assertIsNone(session.hear())
        with self.gateway.accept() as session:
            self.assertEqual(session.generation, 4)
            session.greet()
            found = self.until(lambda said: said["link"]["active"])
        self.assertEqual((found["identity"]["generation"], found["identity"]["kind"]), (4, "link"))

    def test_a_rotation_that_cannot_be_right_leaves_the_old_identity_and_the_link(self):
        store(self.paths, self.gateway.port)
        with open(self.paths.identity, "rb") as stream:
            before = stream.read()
        self.start()
        config = dict(FACTS["config"], port=self.gateway.port)
        with self.gateway.accept() as session:
            session.greet()
            for code, changes in (
                (
                    "DISC_OLDER",
                    {"client_pem": text("link-3.pem"), "generation": 3, "config": dict(config, generation=3)},
                ),
                ("INVALID_INPUT", {"client_pem": "no pem"}),
                ("INVALID_INPUT", {"generation": 6}),
                ("INVALID_INPUT", {"client_pem": text("link-of-other-vm.pem"), "generation": 9}),
                ("INVALID_INPUT", {"client_pem": text("link-expired.pem"), "generation": 4}),
                ("INVALID_INPUT", {"ca_pem": "none"}),
            ):
                call = golden("identity-rotate")
                call["params"].update(
                    dict({"client_pem": text("link-5.pem"), "ca_pem": text("ca.pem"), "config": config}, **changes)
                )
                session.say(call)
                answer = session.hear()
                self.assertEqual(answer["error"].get("data"), {"code": code}, answer)
            self.assertTrue(self.status()["link"]["active"])
        with open(self.paths.identity, "rb") as stream:
            self.assertEqual(stream.read(), before)

    def certificate_of(self, name):
        """`identity.rotate` with a certificate alone, and the openssl that has made its key."""
        key, certificate = split_client_pem(text(name + ".pem"))
        call = golden("identity-rotate-own-key")
        generation = int(name.rpartition("-")[2])
        config = dict(FACTS["config"], port=self.gateway.port, generation=generation)
        call["params"].update(certificate_pem=certificate, ca_pem=text("ca.pem"), generation=generation, config=config)
        made = key + golden("identity-request-result")["result"]["csr_pem"].replace("THE REQUEST", "VEhF")
        return call, lambda command: Finished(0, made, "")

    def test_a_key_that_the_agent_made_itself_is_stored_with_its_certificate(self):
        store(self.paths, self.gateway.port)
        call, openssl = self.certificate_of("link-5")
        self.start(openssl)
        with self.gateway.accept() as session:
            session.greet()
            session.say(golden("identity-request"))
            answer = session.hear()
            self.assertEqual(set(answer["result"]), {"csr_pem"})
            self.assertNotIn("PRIVATE", str(answer))
            session.say(call)
            self.assertEqual(session.hear()["result"], {"generation": 5})
            self.assertEqual(session.hear(), golden("goodbye-rotated"))
        with self.gateway.accept() as session:
            self.assertEqual(session.generation, 5)
        self.assertEqual(identity.load(self.paths).client_pem, text("link-5.pem"))

    def test_a_certificate_without_its_key_changes_nothing(self):
        store(self.paths, self.gateway.port)
        call, _openssl = self.certificate_of("link-5")
        other = self.certificate_of("link-3")[1]
        self.start(other)
        with self.gateway.accept() as session:
            session.greet()
            for _turn in range(2):
                session.say(call)
                self.assertEqual(session.hear()["error"]["data"], {"code": "INVALID_INPUT"})
                session.say(golden("identity-request"))  # its key is that of another certificate
                session.hear()
        self.assertEqual(identity.load(self.paths).generation, 4)

    def test_a_key_is_forgotten_with_the_session_that_it_was_made_in(self):
        store(self.paths, self.gateway.port)
        call, openssl = self.certificate_of("link-5")
        self.start(openssl)
        with self.gateway.accept() as session:
            session.greet()
            session.say(golden("identity-request"))
            session.hear()
        with self.gateway.accept() as session:
            session.greet()
            session.say(call)
            self.assertEqual(session.hear()["error"]["data"], {"code": "INVALID_INPUT"})

    def test_openssl_that_is_not_there_or_fails_is_named_and_the_link_lives(self):
        store(self.paths, self.gateway.port)

        def missing(command):
            raise AgentError("COMMAND_NOT_FOUND", "command not found: openssl")

        for run, code in ((missing, "COMMAND_NOT_FOUND"), (lambda command: Finished(1, "", "no"), "COMMAND_FAILED")):
            agent = self.start(run)
            with self.gateway.accept() as session:
                session.greet()
                session.say(golden("identity-request"))
                self.assertEqual(session.hear()["error"]["data"], {"code": code})
                session.say(golden("capabilities-set"))
                self.assertEqual(session.hear(), golden("capabilities-set-result"))
                agent._waiter.stop()

    def test_a_full_disk_refuses_the_rotation_and_keeps_the_link(self):
        store(self.paths, self.gateway.port, "link-3", 3, "bootstrap")
        self.start()
        with self.gateway.accept() as session:
            session.greet()
            call = golden("identity-rotate")
            call["params"].update(
                client_pem=text("link-4.pem"),
                ca_pem=text("ca.pem"),
                config=dict(FACTS["config"], port=self.gateway.port),
            )
            full = OSError(28, "No space left on device")
            with unittest.mock.patch("openngt_agent.identity.replace_file", side_effect=full):
                session.say(call)
                answer = session.hear()
            self.assertEqual(answer["error"]["data"], {"code": "NO_SPACE"})
            session.say(golden("capabilities-set"))
            self.assertEqual(session.hear(), golden("capabilities-set-result"))
        self.assertEqual(identity.load(self.paths).generation, 3)


if __name__ == "__main__":
    unittest.main()
