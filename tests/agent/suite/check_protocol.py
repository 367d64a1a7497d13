# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol object against a real TLS server over memory buffers, with the golden messages and without a clock."""

import copy
import json
import ssl
import struct
import unittest
import unittest.mock

from openngt_agent import messages
from openngt_agent.errors import AgentError
from openngt_agent.framing import MOST_AFTER_HELLO, MOST_BEFORE_HELLO
from openngt_agent.protocol import Active, Closed, LinkProtocol, Operation, Welcomed
from openngt_agent.tls import TlsClient, client_context
from support import FACTS, frame, golden, server_context, text

HELLO = golden("hello")["params"]


class Server:
    """The service's end: TLS over memory buffers."""

    def __init__(self, certificate="server"):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = server_context(certificate).wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.plain = b""

    def take(self, data):
        self.incoming.write(data)
        try:
            self.tls.do_handshake()
            while True:
                piece = self.tls.read(65536)
                if not piece:
                    break
                self.plain += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass

    def messages(self):
        found = []
        while len(self.plain) >= 4:
            (length,) = struct.unpack(">I", self.plain[:4])
            found.append(json.loads(self.plain[4 : 4 + length].decode("utf-8")))
            self.plain = self.plain[4 + length :]
        return found


class Link:
    """A protocol object and its server, joined by hand."""

    def __init__(self, certificate="server", client="link-4", blocked=(), cluster=FACTS["cluster"], **limits):
        self.now = 100.0
        self.mounted = True
        self.server = Server(certificate)
        context = client_context(text(client + ".pem"), text("ca.pem"))
        self.protocol = LinkProtocol(
            TlsClient(context, FACTS["service_name"]),
            self.now,
            cluster,
            lambda: HELLO,
            lambda: {"disc_mounted": self.mounted},
            lambda method: method in blocked,
            **limits,
        )

    def move(self, most=1 << 20):
        """Bytes both ways until nobody has any; the events."""
        events = []
        for _turn in range(100000):
            out = self.protocol.peek(most)
            self.protocol.sent(len(out))
            if out:
                self.server.take(out)
            back = self.server.outgoing.read()
            if not out and not back:
                break
            for at in range(0, len(back), most):
                events += self.protocol.receive(back[at : at + most], self.now)
        return events

    def say(self, *messages):
        for message in messages:
            self.server.tls.write(frame(message))
        return self.move()

    def tick(self, seconds):
        self.now += seconds
        return self.protocol.tick(self.now) + self.move()

    def until_active(self):
        self.move()
        events = self.say(golden("welcome-link"))
        events += self.say(golden("hello-result"))
        self.protocol.tick(self.now)
        self.move()
        self.server.messages()
        return events


class Sessions(unittest.TestCase):
    def test_a_session_comes_up_as_the_golden_files_say(self):
        link = Link()
        self.assertEqual(link.move(), [])
        self.assertEqual(link.protocol.state, "connected")
        self.assertEqual(link.server.messages(), [])
        [welcomed] = link.say(golden("welcome-link"))
        self.assertIsInstance(welcomed, Welcomed)
        self.assertEqual(link.server.messages(), [golden("hello")])
        [active] = link.say(golden("hello-result"))
        self.assertEqual(active, Active(golden("hello-result")["result"]["capabilities"]))
        self.assertEqual(link.tick(0), [])
        self.assertEqual(link.server.messages(), [golden("heartbeat")])
        self.assertEqual(link.say(golden("heartbeat-result")), [])

    def test_one_byte_at_a_time_is_the_same_session(self):
        link = Link()
        link.move(most=1)
        link.server.tls.write(frame(golden("welcome-link")))
        link.move(most=1)
        self.assertEqual(link.server.messages(), [golden("hello")])

    def test_welcome_may_come_with_the_last_bytes_of_the_handshake_or_with_unknown_fields(self):
        link = Link()
        link.move()
        [welcomed] = link.say(golden("welcome-external-with-unknown-field"))
        self.assertEqual(welcomed.kind, "external")

    def test_operations_reach_the_agent_and_its_answers_the_service(self):
        link = Link()
        link.until_active()
        for name in ("identity-rotate", "identity-request", "capabilities-set", "guest-shutdown", "guest-reboot"):
            [operation] = link.say(golden(name))
            self.assertIsInstance(operation, Operation)
            self.assertEqual(operation.params, golden(name)["params"])
            link.protocol.answer(operation, golden(name + "-result")["result"])
            link.move()
            self.assertEqual(link.server.messages(), [golden(name + "-result")])

    def test_a_refusal_carries_its_code(self):
        link = Link()
        link.until_active()
        call = dict(golden("identity-rotate"), id="r-2")
        [operation] = link.say(call)
        link.protocol.refuse(operation, AgentError("DISC_OLDER", "generation 2 is not newer than the stored 3"))
        link.move()
        self.assertEqual(link.server.messages(), [golden("identity-rotate-older")])

    def test_a_certificate_without_a_key_reaches_the_agent(self):
        link = Link()
        link.until_active()
        [operation] = link.say(golden("identity-rotate-own-key"))
        self.assertEqual(operation.params, golden("identity-rotate-own-key")["params"])

    def test_a_guest_without_openssl_says_so_as_the_golden_file_does(self):
        link = Link()
        link.until_active()
        [operation] = link.say(golden("identity-request"))
        link.protocol.refuse(operation, AgentError("COMMAND_NOT_FOUND", "command not found: openssl"))
        link.move()
        self.assertEqual(link.server.messages(), [golden("identity-request-no-openssl")])

    def test_an_unknown_method_is_answered_as_agents_before_identity_request_answer_it(self):
        link = Link()
        link.until_active()
        self.assertEqual(link.say(dict(golden("identity-request"), method="identity.requested")), [])
        self.assertEqual(link.server.messages(), [golden("identity-request-too-old")])

    def test_the_guests_administrator_has_the_last_word(self):
        link = Link(blocked={"identity.rotate"})
        link.until_active()
        with self.assertLogs("openngt.host", "WARNING") as logged:
            self.assertEqual(link.say(dict(golden("identity-rotate"), id="r-3")), [])
        self.assertEqual(link.server.messages(), [golden("identity-rotate-blocked")])
        self.assertIn("identity.rotate", logged.output[0])

    def test_each_operation_can_be_blocked_and_says_so_in_both_places(self):
        """T39."""
        for method in messages.OPERATIONS:
            link = Link(blocked={method})
            link.until_active()
            with self.assertLogs("openngt.host", "WARNING") as logged:
                self.assertEqual(link.say({"jsonrpc": "2.0", "id": "p-3", "method": method, "params": {}}), [])
            [answer] = link.server.messages()
            blocked = json.dumps(golden("guest-shutdown-blocked")).replace("guest.shutdown", method)
            self.assertEqual(answer, json.loads(blocked))
            self.assertIn("{0}: blocked".format(method), logged.output[0])

    def test_every_operation_that_the_host_asks_for_is_logged_without_its_parameters(self):
        """T39."""
        names = ("identity-rotate", "capabilities-set", "guest-shutdown", "guest-reboot")
        for name in names + ("unknown-method", "invalid-params", "unknown-notification"):
            link = Link()
            link.until_active()
            with self.assertLogs("openngt.host", "INFO") as logged:
                link.say(golden(name))
            self.assertEqual(len(logged.output), 1)
            self.assertIn(golden(name)["method"], logged.output[0])
            self.assertNotIn("PRIVATE KEY", logged.output[0])

    def test_unknown_methods_and_bad_parameters_are_answered_as_the_golden_files_say(self):
        link = Link()
        link.until_active()
        for name in ("unknown-method", "invalid-params"):
            self.assertEqual(link.say(golden(name)), [])
            self.assertEqual(link.server.messages(), [golden(name + "-result")])
        self.assertEqual(link.say(golden("unknown-notification")), [])
        self.assertEqual(link.server.messages(), [])

    def test_no_operation_is_there_before_hello_was_answered(self):
        link = Link()
        link.move()
        self.assertEqual(link.say(golden("identity-rotate")), [])
        [answer] = link.server.messages()
        self.assertEqual(answer["error"]["code"], -32601)
        link.say(golden("welcome-link"))
        link.server.messages()
        self.assertEqual(link.say(golden("identity-rotate")), [])
        self.assertEqual(link.server.messages()[0]["error"]["code"], -32601)

    def test_names_of_pythons_own_are_no_methods(self):
        link = Link()
        link.until_active()
        for method in ("__class__", "receive", "answer", "identity.rotate.__call__", "IDENTITY.ROTATE", ""):
            self.assertEqual(link.say({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}), [])
            self.assertEqual(link.server.messages()[0]["error"]["code"], -32601)

    def test_bad_parameters_of_a_rotation_never_reach_the_agent(self):
        for field, value in (
            ("generation", 0),
            ("generation", True),
            ("generation", "4"),
            ("kind", "bootstrap"),
            ("client_pem", 5),
            ("certificate_pem", "beside client_pem"),
            ("client_pem", "x" * 32769),
            ("ca_pem", None),
            ("config", []),
            ("config", {}),
        ):
            call = copy.deepcopy(golden("identity-rotate"))
            call["params"][field] = value
            link = Link()
            link.until_active()
            self.assertEqual(link.say(call), [])
            self.assertEqual(link.server.messages()[0]["error"]["code"], -32602)

    def test_a_changed_status_record_is_told(self):
        link = Link()
        link.until_active()
        link.protocol.status(golden("status")["params"]["status"])
        link.move()
        self.assertEqual(link.server.messages(), [golden("status")])

    def test_leave_is_taken_by_a_goodbye(self):
        link = Link()
        link.until_active()
        link.protocol.goodbye("stopping")
        link.move()
        self.assertEqual(link.server.messages(), [golden("goodbye-from-agent")])
        self.assertEqual(link.protocol.state, "closed")

    def test_a_goodbye_of_the_service_ends_the_session_without_an_error(self):
        link = Link()
        link.until_active()
        [closed] = link.say(golden("goodbye-from-service"))
        self.assertEqual((closed.code, "shutdown" in closed.message), (None, True))

    def test_refused_at_hello(self):
        link = Link()
        link.move()
        link.say(golden("welcome-link"))
        [closed] = link.say(golden("hello-refused"))
        self.assertEqual(closed.code, "LINK_REFUSED")


class Deadlines(unittest.TestCase):
    def closes(self, events, code):
        self.assertEqual([type(event) for event in events], [Closed])
        self.assertEqual(events[0].code, code)

    def test_a_handshake_that_does_not_end(self):
        link = Link()
        self.assertEqual(link.protocol.tick(link.now + 4.9), [])
        self.closes(link.protocol.tick(link.now + 5.0), "LINK_LOST")

    def test_a_welcome_that_does_not_come(self):
        link = Link()
        link.move()
        self.closes(link.tick(5.0), "LINK_LOST")

    def test_a_hello_that_is_not_answered(self):
        link = Link()
        link.move()
        link.say(golden("welcome-link"))
        self.assertEqual(link.tick(9.9), [])
        self.closes(link.tick(0.2), "LINK_LOST")

    def test_dead_after_two_missed_heartbeats(self):
        link = Link()
        link.until_active()  # the first heartbeat is out
        self.assertEqual(link.tick(3.0), [])
        self.assertEqual(link.tick(2.9), [])
        self.closes(link.tick(0.1), "LINK_LOST")

    def test_a_slow_port_is_given_up_half_an_interval_after_the_second_miss_was_due(self):
        link = Link(misses=1.5)
        link.until_active()
        self.assertEqual(link.tick(4.4), [])
        self.closes(link.tick(0.1), "LINK_LOST")

    def test_a_heartbeat_overtakes_all_that_waits_to_be_sent(self):
        link = Link()
        link.until_active()
        for _turn in range(4):
            link.protocol.status({"x": "y" * 40000})
        link.protocol.peek(1)  # as far as it is encrypted ahead
        link.now += 3.0
        link.protocol.tick(link.now)
        link.move()
        methods = [message["method"] for message in link.server.messages()]
        self.assertEqual(methods, ["status", "heartbeat", "status", "status", "status"])

    def test_what_is_larger_than_the_link_carries_is_not_sent(self):
        link = Link(most=65536)
        link.until_active()
        with self.assertLogs("openngt.agent", "WARNING"):
            link.protocol.status({"x": "y" * 65536})
        link.move()
        self.assertEqual(link.server.messages(), [])

    def test_an_answered_heartbeat_is_life(self):
        link = Link()
        link.until_active()
        identifier = 2
        for _turn in range(10):
            link.say({"jsonrpc": "2.0", "id": identifier, "result": {}})
            self.assertEqual(link.tick(3.0), [])
            [beat] = link.server.messages()
            self.assertEqual(beat["method"], "heartbeat")
            identifier = beat["id"]

    def test_the_disc_is_looked_at_for_each_heartbeat(self):
        link = Link()
        link.until_active()
        link.say(golden("heartbeat-result"))
        link.mounted = False
        link.tick(3.0)
        self.assertEqual(link.server.messages()[0]["params"], {"disc_mounted": False})

    def test_the_next_deadline_is_never_missed_by_a_transport_that_keeps_it(self):
        link = Link()
        self.assertEqual(link.protocol.deadline, 105.0)
        link.until_active()
        self.assertEqual(link.protocol.deadline, 103.0)


class Strangers(unittest.TestCase):
    """A service that is not to be trusted, or does not keep to the protocol."""

    def closed_by(self, link, *messages):
        link.until_active()
        events = link.say(*messages)
        self.assertIsInstance(events[-1], Closed)
        return events[-1].code

    def test_certificates_that_are_no_services(self):
        for name in ("server-of-other-ca", "server-of-other-name", "server-expired", "client-as-server"):
            link = Link(certificate=name)
            events = []
            try:
                events = link.move()
            except ssl.SSLError:  # the server's end has been told
                pass
            if not events:
                events = link.protocol.receive(link.server.outgoing.read(), link.now)
            self.assertEqual(link.protocol.state, "closed", name)

    def test_why_a_certificate_is_not_trusted(self):
        for name in ("server-of-other-ca", "server-of-other-name", "server-expired", "client-as-server"):
            link = Link(certificate=name)
            link.server.take(link.protocol.peek(65536))
            [closed] = link.protocol.receive(link.server.outgoing.read(), link.now)
            self.assertEqual(closed.code, "TLS_NOT_TRUSTED", name)

    def test_tls_1_1_is_not_spoken(self):
        link = Link()
        hello = link.protocol.peek(65536)
        self.assertEqual(hello[:1], b"\x16")
        context = client_context(text("link-4.pem"), text("ca.pem"))
        if hasattr(context, "minimum_version"):
            self.assertEqual(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        else:
            for name in ("OP_NO_SSLv2", "OP_NO_SSLv3", "OP_NO_TLSv1", "OP_NO_TLSv1_1"):
                self.assertEqual(context.options & getattr(ssl, name), getattr(ssl, name))

    def test_closed_before_welcome_means_refused(self):
        link = Link()
        link.move()
        [closed] = link.protocol.lost()
        self.assertEqual(closed.code, "LINK_REFUSED")
        self.assertEqual(link.protocol.receive(b"x", link.now), [])

    def test_closed_after_welcome_means_lost(self):
        link = Link()
        link.until_active()
        self.assertEqual(link.protocol.lost()[0].code, "LINK_LOST")

    def test_a_welcome_of_another_cluster_protocol_or_pace(self):
        for field, value in (
            ("cluster_uuid", "11111111-7c2e-4d18-a6b0-5254009a1b2c"),
            ("protocol", 2),
            ("heartbeat_seconds", 0),
            ("heartbeat_seconds", 3600),
            ("heartbeat_seconds", True),
            ("kind", "root"),
            ("generation", "4"),
            ("session", 5),
        ):
            message = copy.deepcopy(golden("welcome-link"))
            message["params"][field] = value
            link = Link()
            link.move()
            [closed] = link.say(message)
            self.assertEqual(closed.code, "PROTOCOL_ERROR", field)
            self.assertEqual(link.server.messages(), [])

    def test_what_breaks_the_rules_ends_the_session(self):
        for message in (
            golden("welcome-link"),  # a second one
            dict(golden("heartbeat-result"), id=77),  # an answer to nothing
            dict(golden("heartbeat-result"), result=[]),
            {"jsonrpc": "2.0", "id": 2},
            {"jsonrpc": "1.0", "id": 2, "result": {}},
            {"id": 2, "result": {}},
            {"jsonrpc": "2.0", "id": 2, "result": {}, "error": {}},
            {"jsonrpc": "2.0", "id": 2, "error": "no"},
            {"jsonrpc": "2.0", "id": [], "result": {}},
            {"jsonrpc": "2.0", "id": True, "method": "capabilities.set"},
            {"jsonrpc": "2.0", "id": "x" * 129, "method": "capabilities.set"},
            {"jsonrpc": "2.0", "id": 1, "method": 5},
            {"jsonrpc": "2.0", "id": 1, "method": "capabilities.set", "params": []},
            b'[{"jsonrpc":"2.0","id":1,"method":"a"}]',
            b'{"jsonrpc":"2.0","jsonrpc":"2.0","method":"a"}',
            b'{"jsonrpc":"2.0","method":"a","params":{"a":NaN}}',
            b"\xff\xff",
            b"",
        ):
            self.assertEqual(self.closed_by(Link(), message), "PROTOCOL_ERROR", message)

    def test_bombs_are_refused_by_their_header(self):
        link = Link()
        link.move()
        link.server.tls.write(struct.pack(">I", MOST_BEFORE_HELLO + 1))
        self.assertEqual(link.move()[-1].code, "PROTOCOL_ERROR")
        link = Link()
        link.until_active()
        link.server.tls.write(struct.pack(">I", MOST_AFTER_HELLO + 1))
        self.assertEqual(link.move()[-1].code, "PROTOCOL_ERROR")

    def test_a_service_that_asks_and_never_reads_is_read_no_more(self):
        link = Link()
        link.until_active()
        ask = frame(golden("unknown-method"))
        with unittest.mock.patch("openngt_agent.protocol.MOST_OUTGOING", 10000):
            for asked in range(100, 10000, 100):
                link.server.tls.write(ask * 100)
                link.protocol.receive(link.server.outgoing.read(), link.now)
                link.protocol.peek(1)
                if not link.protocol.wants_to_read:
                    break
        self.assertLess(asked, 300)

    def test_tampered_bytes_end_the_session(self):
        link = Link()
        link.until_active()
        link.server.tls.write(frame(golden("heartbeat-result")))
        data = bytearray(link.server.outgoing.read())
        data[-1] ^= 1
        self.assertIsInstance(link.protocol.receive(bytes(data), link.now)[-1], Closed)


if __name__ == "__main__":
    unittest.main()
