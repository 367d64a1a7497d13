# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole agent against a real gateway on a real port: TCP, TLS, the golden messages, files on disk."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest
import unittest.mock

from openngt_agent import adopt, identity, runtime_status, verify
from openngt_agent.errors import AgentError
from openngt_agent.files import Finished
from openngt_agent.key_request import run_briefly
from openngt_agent.service import CLOCK_SECONDS, Agent
from openngt_agent.tls import split_client_pem
from openngt_agent.waiter import Waiter
from support import FACTS, disc, frame, golden, guest_root, server_context, text, write

PATIENCE = 20  # seconds before a test that hangs gives up


class Gateway:
    """Accepts one agent at a time and plays a script with it, golden message by golden message."""

    def __init__(self, case, certificate="server", port=0):
        self.listener = socket.socket()
        case.addCleanup(self.listener.close)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(8)
        self.listener.settimeout(PATIENCE)
        self.port = self.listener.getsockname()[1]
        self.context = server_context(certificate)

    def accept(self):
        sock, _address = self.listener.accept()
        sock.settimeout(PATIENCE)
        return Session(self.context.wrap_socket(sock, server_side=True))


class Session:
    def __init__(self, sock):
        self.sock = sock
        self.generation = [
            int(uri.rpartition(":")[2]) for _kind, uri in sock.getpeercert()["subjectAltName"] if ":generation:" in uri
        ][0]

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.sock.close()

    def say(self, message):
        self.sock.sendall(frame(message))

    def hear(self, method=None):
        """The next message that is no heartbeat (those are answered), or the next of a method."""
        while True:
            head = self._exactly(4)
            if head is None:
                return None
            message = json.loads(self._exactly(struct.unpack(">I", head)[0]).decode("utf-8"))
            if message.get("method") == "heartbeat" and method != "heartbeat":
                self.say({"jsonrpc": "2.0", "id": message["id"], "result": {}})
                continue
            return message

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                return None
            data += piece
        return data

    def greet(self, welcome="welcome-link"):
        self.say(golden(welcome))
        hello = self.hear()
        self.say(dict(golden("hello-result"), id=hello["id"]))
        return hello


def store(paths, port, name="link-4", generation=4, kind="link"):
    new = identity.make(kind, FACTS["cluster"], text(name + ".pem"), text("ca.pem"), FACTS["ca_sha256"], False)
    identity.store(paths, new, dict(FACTS["config"], port=port, generation=generation))
    return new


def no_programs(command):
    raise AssertionError("the agent ran {0}".format(command))


class Case(unittest.TestCase):
    def setUp(self):
        self.paths = guest_root(self)
        self.gateway = Gateway(self)

    def start(self, run=None):
        waiter = Waiter(turn_seconds=0.2)
        shown = runtime_status.RuntimeStatus(self.paths)
        agent = Agent(self.paths, waiter, shown, run or no_programs, run or run_briefly)
        thread = threading.Thread(target=agent.run)

        def stop():
            waiter.stop()
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), "the agent did not stop")
            waiter.close()

        self.addCleanup(stop)
        thread.start()
        self.waiter = waiter
        return agent

    def status(self):
        return runtime_status.read(self.paths)

    def until(self, condition):
        """The status once it is as wanted."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = self.status()
            if found and condition(found):
                return found
            time.sleep(0.01)
        raise AssertionError("not within {0} s: {1}".format(PATIENCE, self.status()))


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

    def test_nobody_there_is_said(self):
        self.gateway.listener.close()
        store(self.paths, self.gateway.port)
        self.start()
        found = self.until(lambda said: said["link"]["last_error"])
        self.assertEqual(found["link"]["last_error"]["code"], "ENDPOINT_UNREACHABLE")

    def test_a_clone_does_not_speak_with_its_parents_identity(self):
        store(self.paths, self.gateway.port)
        write(self.paths.at("sys/class/dmi/id/product_uuid"), FACTS["other_vm"])
        self.start()
        found = self.until(lambda said: said["link"]["last_error"])
        self.assertEqual(found["link"]["last_error"]["code"], "IDENTITY_INVALID")

    def test_stopping_is_said_and_quick(self):
        store(self.paths, self.gateway.port)
        self.start()
        with self.gateway.accept() as session:
            session.greet()
            self.until(lambda said: said["link"]["active"])
            self.waiter.stop()
            self.assertEqual(session.hear(), golden("goodbye-from-agent"))
            self.assertIsNone(session.hear())


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
            else:
                os.unlink(self.paths.disc)
                os.mkdir(self.paths.disc)
            return Finished(0, "", "")

        refused = {}
        with unittest.mock.patch("openngt_agent.adopt.is_loaded", return_value=True):
            found = adopt.look(self.paths, run, refused)
        self.assertEqual(found.generation, 7)
        self.assertEqual([command[0] for command in commands], ["mount", "umount", "mount", "umount"])
        self.assertEqual(list(refused), [self.paths.at("dev/sr0")])


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
