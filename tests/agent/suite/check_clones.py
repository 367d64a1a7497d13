# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent in a clone (T1, F16): its identity is another VM's, until a disc of its own comes."""

import json
import os
import socket
import unittest

from link_case import PATIENCE, Case, store
from openngt_agent import adopt, identity, verify
from support import FACTS, disc, write


class Clones(Case):
    def test_a_clone_does_not_speak_with_its_parents_identity(self):
        store(self.paths, self.gateway.port)
        write(self.paths.at("sys/class/dmi/id/product_uuid"), FACTS["other_vm"])
        self.start()
        found = self.until(lambda said: said["link"]["last_error"])
        self.assertEqual(found["link"]["last_error"]["code"], "IDENTITY_INVALID")
        said = found["link"]["last_error"]["message"]
        parent = identity.load(self.paths).vm_uuid
        for named in (parent, FACTS["other_vm"], "openngt vm enable"):
            self.assertIn(named, said)
        self.assertEqual(found["identity"]["vm_uuid"], parent, "it shows whose it is")

    def test_a_clone_connects_by_itself_once_it_has_its_own_disc_and_keeps_nothing_of_its_parent(self):
        """T1: nothing is said under the parent's name; the agent runs on and need not be restarted."""
        store(self.paths, self.gateway.port)
        with open(self.paths.identity, "rb") as stream:
            parents = [line for line in stream.read().splitlines() if line and not line.startswith(b"-")]
        parents_key = parents[1:4]  # the first line names the VM; then the key begins
        write(self.paths.at("sys/class/dmi/id/product_uuid"), FACTS["other_vm"])
        agent = self.start()
        self.until(lambda said: said["link"]["last_error"])
        self.gateway.listener.settimeout(0.2)
        with self.assertRaises(socket.timeout):
            self.gateway.listener.accept()
        self.gateway.listener.settimeout(PATIENCE)
        words = verify.read_disc(disc("other-vm"))
        config = json.loads(words.config.decode())
        config.update(cluster_ip="127.0.0.1", port=self.gateway.port, serial_ports=[])
        taken = adopt.take(self.paths, words)
        with open(self.paths.ngt_config, "w") as stream:
            json.dump(config, stream)
        agent.identity_taken(taken)
        with self.gateway.accept() as session:
            session.greet()
            found = self.until(lambda said: said["link"]["active"] and said)
        self.assertEqual(found["identity"]["vm_uuid"], FACTS["other_vm"])
        for folder, _folders, names in os.walk(self.paths.home):
            for name in names:
                with open(os.path.join(folder, name), "rb") as stream:
                    content = stream.read()
                for line in parents_key:
                    self.assertNotIn(line, content)


if __name__ == "__main__":
    unittest.main()
