# SPDX-License-Identifier: GPL-3.0-or-later
"""What a configuration may say of the transports."""

import unittest

from openngt_agent.config import check_config, transport_order
from support import FACTS

PORTS = ["/dev/virtio-ports/org.openngt.guest_tools.0", "/dev/ttyS1"]


class Transports(unittest.TestCase):
    def order(self, **transports):
        return transport_order(check_config(dict(FACTS["config"], **transports)))

    def test_the_port_comes_first_unless_the_network_is_preferred(self):
        self.assertEqual(self.order(serial_ports=PORTS), ("serial", "tls"))
        self.assertEqual(self.order(serial_ports=PORTS, preferred_transport="serial"), ("serial", "tls"))
        self.assertEqual(self.order(serial_ports=PORTS, preferred_transport="tls"), ("tls", "serial"))

    def test_without_a_port_there_is_only_the_network(self):
        self.assertEqual(self.order(), ("tls",))
        self.assertEqual(self.order(serial_ports=[], preferred_transport="serial"), ("tls",))

    def test_what_is_no_device_is_refused(self):
        for wrong in (
            ["ttyS1"],
            ["/etc/passwd"],
            ["/dev/../etc/passwd"],
            ["/dev/ttyS1\n"],
            "/dev/ttyS1",
            [7],
            PORTS * 3,
        ):
            with self.assertRaises(ValueError) as caught:
                self.order(serial_ports=wrong)
            self.assertIn("serial_ports", str(caught.exception))
        with self.assertRaises(ValueError):
            self.order(serial_ports=PORTS, preferred_transport="pigeon")


if __name__ == "__main__":
    unittest.main()
