# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on Python 3.6 and newer, standard library only.
"""What the suite's files share: the material, a guest in a temporary folder, a systemd that notes what it is told."""

import json
import logging
import os
import shutil
import ssl
import struct
import tempfile

from openngt_agent.files import Finished
from openngt_agent.guest import Guest
from openngt_agent.paths import Paths

# What is logged is for assertLogs, not for the terminal.
logging.getLogger("openngt").addHandler(logging.NullHandler())

MATERIAL = os.environ["OPENNGT_AGENT_MATERIAL"]


def material(*parts):
    return os.path.join(MATERIAL, *parts)


def text(*parts):
    with open(material(*parts), encoding="utf-8") as stream:
        return stream.read()


FACTS = json.loads(text("facts.json"))


def golden(name):
    """The message of a golden file."""
    return json.loads(text("golden", name + ".json"))["message"]


def disc(name):
    return material("discs", name)


def write(path, content, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(content if isinstance(content, bytes) else content.encode("utf-8"))
    os.chmod(path, mode)


def guest_root(case, vm_uuid=FACTS["vm"]):
    """A folder that looks like the root of a Debian guest with systemd, for as long as the test runs."""
    root = tempfile.mkdtemp(prefix="openngt-guest-")
    case.addCleanup(shutil.rmtree, root)
    paths = Paths(root)
    write(paths.at("etc/os-release"), 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n')
    write(paths.at("sys/class/dmi/id/product_uuid"), vm_uuid.upper() + "\n", 0o400)
    for folder in ("run/systemd/system", "usr/local/bin", "etc/systemd/system"):
        os.makedirs(paths.at(folder))
    return paths


class FakeSystemd:
    """systemctl as far as the installer uses it. Its state is a folder, so that it outlives a killed installer."""

    def __init__(self, paths, fails=()):
        self.paths = paths
        self.fails = fails
        self.calls = []
        self.state = paths.at("fake-systemd")

    def _flag(self, name):
        return os.path.join(self.state, name)

    def _set(self, name, on):
        os.makedirs(self.state, exist_ok=True)
        if on:
            write(self._flag(name), "")
        elif os.path.exists(self._flag(name)):
            os.unlink(self._flag(name))

    def is_on(self, name):
        return os.path.exists(self._flag(name))

    def __call__(self, command):
        self.calls.append(list(command))
        words = [word for word in command if not word.startswith("--")]
        if words[0] != "systemctl":
            return Finished(0, "", "")
        verb = words[1]
        if verb in self.fails:
            return Finished(1, "", "it does not want to")
        if verb == "show":
            active = "active" if self.is_on("active") else "inactive"
            return Finished(0, "ActiveState={0}\nSubState=running\nNeedDaemonReload=no\n".format(active), "")
        if verb == "is-enabled" and self.is_on("masked-" + words[-1]):
            return Finished(1, "masked\n", "")
        if verb == "is-enabled":
            return Finished(0, "enabled\n" if self.is_on("enabled") else "disabled\n", "")
        if verb == "restart":
            self._set("active", True)
            self._set("started-" + self.current(), True)
        elif verb in ("mask", "unmask"):
            self._set("masked-" + words[-1], verb == "mask")
        elif verb == "enable":
            self._set("enabled", True)
        elif verb == "disable":
            self._set("enabled", False)
            self._set("active", False)
        return Finished(0, "", "")

    def current(self):
        return os.readlink(self.paths.current) if os.path.islink(self.paths.current) else "none"


def make_guest(paths, systemd, lines=None, sleep=lambda seconds: None, is_root=True):
    said = [] if lines is None else lines
    now = [0.0]

    def pause(seconds):
        now[0] += seconds
        sleep(seconds)

    return Guest(paths, systemd, said.append, is_root, "x86_64", lambda: now[0], pause)


def files_below(folder):
    """Relative path -> content, or where a link points."""
    found = {}
    for here, folders, names in os.walk(folder):
        for name in names + [name for name in folders if os.path.islink(os.path.join(here, name))]:
            path = os.path.join(here, name)
            if os.path.islink(path):
                found[os.path.relpath(path, folder)] = os.readlink(path)
            else:
                with open(path, "rb") as stream:
                    found[os.path.relpath(path, folder)] = stream.read()
    return found


def frame(message):
    body = message if isinstance(message, bytes) else json.dumps(message).encode("utf-8")
    return struct.pack(">I", len(body)) + body


def server_context(name="server"):
    """A gateway's TLS: its own certificate, a client certificate of our CA wanted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(material(name + ".pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(material("ca.pem"))
    return context
