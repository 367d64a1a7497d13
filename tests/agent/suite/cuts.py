# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on Python 3.6 and newer, standard library only.
"""F5: cut a refresh short at every step in the agent, in each of its three ways, and look what identity there is.

By kill: a child of this process is killed by SIGKILL at a line of the agent's source, and the next at the next line.
By power cut: every state of the disk that one may leave, at every operation (power.py).

python cuts.py POINTS: at least so many cuts; the last line of stdout is a JSON object.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time

from openngt_agent import adopt, files, identity, runtime_status
from openngt_agent.files import TEMPORARY, Finished, replace_file
from openngt_agent.paths import Paths
from openngt_agent.service import Agent
from openngt_agent.tls import split_client_pem
from openngt_agent.verify import read_disc
from openngt_agent.waiter import Waiter
from power import outcomes, recorded
from support import FACTS, disc, golden, text, write

SOURCE = os.path.dirname(os.path.abspath(files.__file__))


class Guest:
    """A guest with generation 4 of the identity, in which a refresh can be done again and again."""

    def __init__(self, root):
        self.paths = Paths(root)
        write(self.paths.at("sys/class/dmi/id/product_uuid"), FACTS["vm"])
        old = identity.make("link", FACTS["cluster"], text("link-4.pem"), text("ca.pem"), FACTS["ca_sha256"])
        identity.store(self.paths, old, dict(FACTS["config"], generation=4))
        self.before = self.found()

    def found(self):
        """What stands in the folder of the identity: {path: content}."""
        names = sorted(os.listdir(self.paths.config))
        return {path: _read(path) for path in (os.path.join(self.paths.config, name) for name in names)}

    def put(self, found):
        """Make the folder hold just that."""
        for name in os.listdir(self.paths.config):
            path = os.path.join(self.paths.config, name)
            if path not in found:
                os.unlink(path)
        for path, content in found.items():
            with open(path, "wb") as stream:
                stream.write(content)

    def usable(self, old, new):
        """After a start of the agent: is one of the two there, whole, with its configuration, and nothing torn?"""
        identity.sweep_unfinished(self.paths)
        found = self.found()
        if any(os.path.basename(path).startswith(TEMPORARY) for path in found):
            return False
        name, config = found.get(self.paths.identity), found.get(self.paths.ngt_config)
        if name == new[self.paths.identity]:
            return config == new[self.paths.ngt_config]
        # The configuration goes first; it says where the service is, and that is the same for both.
        return name == old[self.paths.identity] and config in (old[self.paths.ngt_config], new[self.paths.ngt_config])


def _read(path):
    with open(path, "rb") as stream:
        return stream.read()


def by_disc(guest):
    """The disc's words are in memory, as they are when the disc is unmounted again."""
    words = read_disc(disc("good-newer"))
    return lambda: adopt.take(guest.paths, words)


def by_link(guest):
    """Key and certificate come over the link."""
    return _rotation(guest, {"client_pem": text("link-5.pem")}, ask=False)


def by_own_key(guest):
    """The agent makes the key, and the certificate comes over the link."""
    return _rotation(guest, {"certificate_pem": split_client_pem(text("link-5.pem"))[1]}, ask=True)


def _rotation(guest, pem, ask):
    key = split_client_pem(text("link-5.pem"))[0]
    request = golden("identity-request-result")["result"]["csr_pem"].replace("THE REQUEST", "VEhF")
    waiter = Waiter()
    openssl = Finished(0, key + request, "")
    shown = runtime_status.RuntimeStatus(guest.paths)
    agent = Agent(guest.paths, waiter, shown, run_briefly=lambda _command: openssl)
    waiter.close()
    params = dict(pem, kind="link", generation=5, ca_pem=text("ca.pem"), config=dict(FACTS["config"], generation=5))
    answers = _Answers()

    def refresh():
        current = identity.load(guest.paths)
        if ask:
            agent._operate(answers, _Operation("identity.request", {}), current)
        agent._operate(answers, _Operation("identity.rotate", params), current)

    return refresh


class _Operation:
    def __init__(self, method, params):
        self.id, self.method, self.params = 1, method, params


class _Answers:
    """The session's end of the agent: what it answers is not looked at, a refusal is a defect of these tests."""

    def answer(self, operation, value):
        pass

    def refuse(self, operation, failure):
        raise AssertionError(failure)


WAYS = (by_disc, by_link, by_own_key)


def lines_of(refresh):
    """The functions of the agent's lines that a refresh runs through, in order."""
    lines = []
    identity.parse.cache_clear()  # a refresh after a restart proves the identity anew, and runs through the most lines

    def trace(frame, event, _argument):
        if event == "line":
            lines.append(frame.f_code.co_name)
        return trace if frame.f_code.co_filename.startswith(SOURCE) else None

    sys.settrace(trace)
    try:
        refresh()
    finally:
        sys.settrace(None)
    return lines


def killed_at(refresh, line):
    """Fork, and let the child be killed at that line. True when it was."""
    child = os.fork()
    if child:
        _pid, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    left = [line]
    identity.parse.cache_clear()

    def trace(frame, event, _argument):
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    try:
        sys.settrace(trace)
        refresh()
    finally:
        os._exit(1)


WRITERS = ("store", "locked", "replace_file", "_identity_failpoints", "sync_folder", "make_folder")


def kills(guest, way, stride=1):
    """(cuts, unusable) of SIGKILL at each line of what writes, and each `stride`-th of the others."""
    refresh = way(guest)
    guest.put(guest.before)
    lines = lines_of(refresh)
    new = guest.found()
    cuts = unusable = 0
    for line, function in enumerate(lines, 1):
        if line % stride and function not in WRITERS:
            continue
        guest.put(guest.before)
        if not killed_at(refresh, line):
            raise AssertionError("line {0} of {1} was not met".format(line, len(lines)))
        cuts += 1
        unusable += not guest.usable(guest.before, new)
    return cuts, unusable


def power_cuts(guest, way, step):
    """(cuts, unusable) of every state of the disk."""
    refresh = way(guest)
    guest.put(guest.before)
    with recorded() as recorder:
        refresh()
    new = guest.found()
    cuts = unusable = 0
    for done, found in outcomes(guest.before, recorder.log, step):
        guest.put(found)
        good = guest.usable(guest.before, new)
        if done == len(recorder.log):  # the agent has said that it is stored
            good = good and _read(guest.paths.identity) == new[guest.paths.identity]
        cuts += 1
        unusable += not good
    return cuts, unusable


def as_kubelet_does(path, content, mode=0o644, durable=True, at=lambda step: None):
    """A swap without fsync that removes before it renames: for comparison, and to see that the cuts find something."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, TEMPORARY + name + "." + os.urandom(8).hex())
    descriptor = files.os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with files.os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    if os.path.lexists(path):
        files.os.unlink(path)
    files.os.replace(temporary, path)


def cut(least, stride=1):
    """At least so many cuts, the three ways together: {"kills", "power_cuts", "unusable", "seconds"}."""
    began = time.monotonic()
    root = tempfile.mkdtemp(prefix="openngt-cuts-")
    try:
        guest = Guest(root)
        killed = [kills(guest, way, stride) for way in WAYS]
        wanted, step = least - sum(cuts for cuts, _bad in killed), 256
        while True:
            cuts = [power_cuts(guest, way, step) for way in WAYS]
            if sum(count for count, _bad in cuts) >= wanted or step == 1:
                break
            step //= 4
    finally:
        shutil.rmtree(root)
    return {
        "kills": sum(count for count, _bad in killed),
        "power_cuts": sum(count for count, _bad in cuts),
        "unusable": sum(bad for _count, bad in killed + cuts),
        "seconds": time.monotonic() - began,
    }


def compared():
    """(cuts, unusable) of power cuts at a swap as kubelet does it."""
    root = tempfile.mkdtemp(prefix="openngt-cuts-")
    try:
        guest = Guest(root)
        identity.replace_file = as_kubelet_does
        return power_cuts(guest, by_link, 256)
    finally:
        identity.replace_file = replace_file
        shutil.rmtree(root)


if __name__ == "__main__":
    result = cut(int(sys.argv[1]))
    result["peer_cuts"], result["peer_unusable"] = compared()
    print(json.dumps(result))
