# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service gone mad may say: mutated golden messages, the same ones each time."""

import copy
import json
import random
import unittest

from openngt_agent.protocol import LinkProtocol, Operation
from support import FACTS, frame, golden

HELLO = golden("hello")["params"]


class Fuzz(unittest.TestCase):
    NAMES = (
        "welcome-link",
        "hello-result",
        "heartbeat-result",
        "identity-rotate",
        "capabilities-set",
        "guest-shutdown",
        "unknown-method",
    )
    SEEDS = [json.dumps(golden(name)) for name in NAMES]
    VALUES = (None, True, 0, -1, 1e9, "", "x", [], {}, [{}], {"a": {}}, "\ud800", "\u0000")

    def mutated(self, choose):
        message = json.loads(choose.choice(self.SEEDS))
        for _change in range(choose.randrange(1, 4)):
            place = message
            while True:
                key = choose.choice(sorted(place) + ["new"])
                if isinstance(place.get(key), dict) and place[key] and choose.random() < 0.7:
                    place = place[key]
                    continue
                if choose.random() < 0.2:
                    place.pop(key, None)
                else:
                    place[key] = copy.deepcopy(choose.choice(self.VALUES))
                break
        return message

    def test_whatever_a_service_says_the_session_goes_on_or_ends_with_a_code(self):
        choose = random.Random(20261123)
        protocol = active_without_tls()
        ends = 0
        for _turn in range(5000):
            data = frame(self.mutated(choose))
            if choose.random() < 0.3:
                at = choose.randrange(len(data))
                data = data[:at] + bytes([choose.randrange(256)]) + data[at + 1 :]
            for event in protocol.receive(data, 0.0):
                if isinstance(event, Operation):
                    protocol.answer(event, {})
            protocol.sent(len(protocol.peek(1 << 20)))
            if protocol.state == "closed" or choose.random() < 0.01:
                protocol = active_without_tls()
                ends += 1
        self.assertGreater(ends, 500)


class PlainText:
    """In place of TLS, for the fuzz: what TLS does with noise is OpenSSL's own affair, and a handshake costs 3 ms."""

    established, closed = True, False

    def __init__(self):
        self._outgoing = b""

    def start(self):
        pass

    def feed(self, data):
        return [data]

    def write(self, data):
        self._outgoing += data

    def take(self):
        taken, self._outgoing = self._outgoing, b""
        return taken


def active_without_tls():
    protocol = LinkProtocol(
        PlainText(),
        0.0,
        FACTS["cluster"],
        lambda: HELLO,
        lambda: {"disc_mounted": True},
        lambda method: method == "capabilities.set",
    )
    protocol.receive(frame(golden("welcome-link")) + frame(golden("hello-result")), 0.0)
    assert protocol.state == "active"
    return protocol


if __name__ == "__main__":
    unittest.main()
