# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway's port for one agent: TCP, TLS and a script of golden messages; and the agent that comes to it."""

import json
import socket
import struct
import threading
import time
import unittest

from openngt_agent import identity, runtime_status
from openngt_agent.key_request import run_briefly
from openngt_agent.service import Agent
from openngt_agent.waiter import Waiter
from support import FACTS, frame, golden, guest_root, server_context, text

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
