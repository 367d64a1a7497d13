# SPDX-License-Identifier: GPL-3.0-or-later
"""From a name to a connected socket."""

import socket
import unittest
import unittest.mock

from openngt_agent.errors import AgentError
from openngt_agent.transport_tls import connect
from openngt_agent.waiter import Waiter


class Addresses(unittest.TestCase):
    def setUp(self):
        self.listener = socket.socket()
        self.addCleanup(self.listener.close)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(1)
        self.port = self.listener.getsockname()[1]
        self.waiter = Waiter()
        self.addCleanup(self.waiter.close)

    def test_one_of_a_family_that_the_kernel_does_not_have_is_passed_over(self):
        known = socket.getaddrinfo("127.0.0.1", self.port, 0, socket.SOCK_STREAM)
        strange = (socket.AF_IPX,) + known[0][1:]
        with self.assertRaises(OSError):
            socket.socket(*strange[:3]).close()
        with unittest.mock.patch("socket.getaddrinfo", lambda *_: [strange] + known):
            connect("service.example", self.port, self.waiter).close()
        with unittest.mock.patch("socket.getaddrinfo", lambda *_: [strange]):
            with self.assertRaises(AgentError) as caught:
                connect("service.example", self.port, self.waiter)
        self.assertEqual(caught.exception.code, "ENDPOINT_UNREACHABLE")
