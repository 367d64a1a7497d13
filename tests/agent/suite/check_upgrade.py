# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrades: whose package is taken (T40), what is put in place, and what is taken back."""

import base64
import contextlib
import errno
import json
import os
import unittest
import zlib

from check_install import link_status, options, ours
from link_case import Case as LinkCase
from link_case import no_programs, store
from openngt_agent import adopt, identity, runtime_status, status, upgrade_offer, upgrade_record
from openngt_agent.blocked import is_blocked
from openngt_agent.errors import AgentError
from openngt_agent.files import Finished
from openngt_agent.install import install
from openngt_agent.paths import UNIT, UPGRADE_UNIT
from openngt_agent.upgrade import HOLD_SECONDS, upgrade
from openngt_agent.upgrade_offer import Receiver, verify_offer
from openngt_agent.upgrade_record import Stage, stage
from openngt_agent.verify import read_disc
from support import FACTS, FakeSystemd, disc, golden, guest_root, make_guest, material, text, write

OFFERS = json.loads(text("offers.json"))
ID, NEW = OFFERS["id"], OFFERS["version"]
PIECE = 32 * 1024

with open(material("package.pyz"), "rb") as _stream:
    PACKAGE = _stream.read()


def stored():
    return identity.make("link", FACTS["cluster"], text("link-4.pem"), text("ca.pem"), FACTS["ca_sha256"])


def pieces(package=PACKAGE, identifier=ID, start=0):
    """The parameters of agent.upgrade.chunk, as the service makes them."""
    for offset in range(start, len(package), PIECE):
        data = base64.b64encode(zlib.compress(package[offset : offset + PIECE])).decode("ascii")
        yield {"id": identifier, "offset": offset, "data": data}


class Offers(unittest.TestCase):
    def test_each_is_taken_or_refused_with_its_code(self):
        self.assertGreater(len(OFFERS["offers"]), 15)
        for name, row in sorted(OFFERS["offers"].items()):
            params = row["params"]
            try:
                verify_offer(params["offer"], params["voucher_pem"], stored(), "0.1.0")
                code = None
            except AgentError as exc:
                code = exc.code
                self.assertNotIn("PRIVATE", exc.message, name)
            self.assertEqual(code, row["code"], name)

    def test_a_voucher_opens_nothing_else(self):
        voucher = OFFERS["offers"]["good"]["params"]["voucher_pem"]
        with self.assertRaises(ValueError):
            identity.make("link", FACTS["cluster"], voucher, text("ca.pem"), FACTS["ca_sha256"])


class Receiving(unittest.TestCase):
    def setUp(self):
        params = OFFERS["offers"]["good"]["params"]
        self.offer = verify_offer(params["offer"], params["voucher_pem"], stored(), "0.1.0")
        self.receiver = Receiver()
        self.assertEqual(self.receiver.begin(self.offer), 0)

    def refused(self, params, step=None):
        with self.assertRaises(AgentError) as caught:
            (step or self.receiver.add)(params)
        self.assertEqual(caught.exception.code, "UPGRADE_INVALID")

    def test_pieces_make_the_package_and_a_repeated_one_does_no_harm(self):
        for piece in pieces():
            self.receiver.add(piece)
            self.receiver.add(piece)
        self.assertEqual(self.receiver.finish({"id": ID}), Stage(ID, NEW, 120, PACKAGE))
        self.refused({"id": ID}, self.receiver.finish)

    def test_what_has_come_is_not_sent_again_after_the_link_broke(self):
        first = next(pieces())
        here = self.receiver.add(first)
        self.assertEqual(here, PIECE)
        again = self.offer._replace(wish=self.offer.wish._replace(id=FACTS["vm"]))
        self.assertEqual(self.receiver.begin(again), PIECE)
        for piece in pieces(identifier=FACTS["vm"], start=PIECE):
            self.receiver.add(piece)
        self.assertEqual(self.receiver.finish({"id": FACTS["vm"]}).package, PACKAGE)

    def test_what_is_truncated_altered_or_too_much_is_refused(self):
        packed = zlib.compress(b"\0" * (1 << 20))
        self.refused({"id": ID, "offset": 0, "data": base64.b64encode(packed).decode("ascii")})
        for data in ("@@@", "AAAA", base64.b64encode(zlib.compress(b"x")[:-1]).decode("ascii")):
            self.refused({"id": ID, "offset": 0, "data": data})
        self.receiver.add(next(pieces()))
        self.refused({"id": ID}, self.receiver.finish)
        self.receiver.begin(self.offer)
        for piece in pieces(PACKAGE[:-1] + b"!"):
            self.receiver.add(piece)
        self.refused({"id": ID}, self.receiver.finish)

    def test_pieces_of_another_offer_are_refused(self):
        self.refused(dict(next(pieces()), id=FACTS["vm"]))


class Behaviour(FakeSystemd):
    """systemctl of a guest where each version of the agent behaves in its way once it is started."""

    def __init__(self, paths, new="good"):
        super(Behaviour, self).__init__(paths)
        self.new = new
        self.ticks = 0

    def __call__(self, command):
        if command[:2] == ["systemctl", "show"] and "NRestarts" in command[2]:
            self.calls.append(list(command))
            state = "activating" if self.new in ("crashes", "hangs") else "active"
            return Finished(0, "ActiveState={0}\nNRestarts={1}\n".format(state, 7 * (self.new == "crashes")), "")
        if command[0] == "journalctl":
            return Finished(0, "Traceback\nSyntaxError: invalid syntax\n", "")
        done = super(Behaviour, self).__call__(command)
        if "restart" in command and command[-1] == UNIT:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.paths.status)
            self.tick(0.0)
        return done

    def tick(self, _seconds):
        """What the agent that runs writes in this moment."""
        self.ticks += 1
        version = self.current()
        if version == NEW and self.new in ("crashes", "hangs"):
            return
        drops = version == NEW and self.new == "drops"
        link = {"active": True, "steady": True, "since": "t{0}".format(self.ticks // 8 if drops else 0)}
        if version == NEW and self.new == "alone":
            link = {"active": False, "last_error": {"code": "LINK_REFUSED", "message": "not welcome"}}
        said = NEW + ".dev" if version == NEW and self.new == "lies" else version
        write(self.paths.status, json.dumps({"agent_version": said, "link": link}))


class Case(unittest.TestCase):
    """A guest with agent 0.1.0 in place."""

    def setUp(self, new="good"):
        self.paths = guest_root(self)
        self.systemd = Behaviour(self.paths, new)
        self.said = []
        self.guest = make_guest(self.paths, self.systemd, self.said, self.systemd.tick)
        install(self.guest, options())
        link_status(self.paths)
        self.systemd.tick(0.0)

    def stage(self, version=NEW, seconds=120, package=PACKAGE):
        stage(self.paths, Stage(ID, version, seconds, package))

    def serves(self):
        return os.readlink(self.paths.current), os.readlink(self.paths.proven)

    def record(self):
        return upgrade_record.shown(self.paths) or {}

    def clean(self):
        """Nothing waits, and nothing is half-done."""
        self.assertFalse(os.path.lexists(self.paths.staged_upgrade) or os.path.lexists(self.paths.trial))
        self.assertEqual(upgrade(self.guest), {"ok": True, "state": None})


class Upgrading(Case):
    def test_the_new_agent_takes_over_and_the_old_one_is_kept_for_another_day(self):
        write(self.paths.zipapp("0.0.5"), "from long ago")
        self.stage()
        self.assertEqual(upgrade(self.guest)["state"], "kept")
        self.assertEqual(self.serves(), (NEW, NEW))
        with open(self.paths.zipapp(NEW), "rb") as stream:
            self.assertEqual(stream.read(), PACKAGE)
        self.assertEqual(sorted(entry for entry in os.listdir(self.paths.agent) if entry[0] == "0"), ["0.1.0", NEW])
        record = self.record()
        self.assertEqual((record["id"], record["state"], record["code"]), (ID, "kept", None))
        self.assertEqual((record["old_version"], record["version"]), ("0.1.0", NEW))
        self.assertEqual(status.gather(self.paths)["upgrade"], record)
        restarts = [call for call in self.systemd.calls if "restart" in call and "--no-block" in call]
        self.assertEqual(len(restarts), 1)
        self.clean()

    def test_one_that_fails_is_taken_back_and_it_is_said_why(self):
        words = {
            "crashes": "ended and was started again 7 times; it said: SyntaxError: invalid syntax",
            "hangs": "it does not become ready",
            "drops": "it connected, and no link has held for {0:g} s".format(HOLD_SECONDS),
            "alone": "it is not connected (LINK_REFUSED: not welcome)",
            "lies": "what runs calls itself 0.2.0.dev",
        }
        for new, why in sorted(words.items()):
            self.setUp(new)
            self.stage(seconds=60)
            self.assertEqual(upgrade(self.guest)["state"], "rolled_back", new)
            self.assertEqual(self.serves(), ("0.1.0", "0.1.0"), new)
            record = self.record()
            self.assertEqual((record["state"], record["code"]), ("rolled_back", "UPGRADE_ROLLED_BACK"), new)
            self.assertIn("within 60 s", record["message"])
            self.assertIn(why, record["message"])
            self.assertFalse(os.path.exists(self.paths.version_folder(NEW)), new)
            self.assertEqual(self.systemd.calls[-1][-3:], ["restart", "--no-block", UNIT])
            self.clean()

    def test_a_damaged_stage_is_thrown_away(self):
        self.stage()
        with open(self.paths.staged_upgrade, "r+b") as stream:
            stream.truncate(os.path.getsize(self.paths.staged_upgrade) - 1)
        self.assertEqual(upgrade(self.guest)["state"], None)
        self.assertEqual(self.serves(), ("0.1.0", "0.1.0"))
        self.clean()

    def test_a_full_disk_leaves_the_old_agent_as_it_is(self):
        from openngt_agent import upgrade as module  # its names are replaced for a moment

        for full in ("replace_file", "replace_link"):
            self.setUp()
            self.stage()
            before = {name: text for name, text in ours(self.paths).items() if "upgrade" not in name}

            def no_room(path, *_rest):
                raise OSError(errno.ENOSPC, "No space left on device", path)

            real = getattr(module, full)
            setattr(module, full, no_room)
            try:
                upgrade(self.guest)
            finally:
                setattr(module, full, real)
            self.assertEqual((self.record()["state"], self.record()["code"]), ("failed", "NO_SPACE"), full)
            self.assertEqual({n: t for n, t in ours(self.paths).items() if "upgrade" not in n}, before, full)
            self.clean()

    def test_an_installer_overtakes_what_is_half_done(self):
        self.stage()
        install(self.guest, options())
        self.assertEqual(self.serves(), ("0.1.0", "0.1.0"))
        self.clean()
        self.assertFalse(install(self.guest, options())["changed"])


class FromADisc(Case):
    def take(self, name):
        identity.store(self.paths, stored(), dict(FACTS["config"], generation=4))
        with open(os.path.join(disc(name), "agent/ngt_agent.pyz"), "rb") as stream:
            agent = stream.read()
        taken = adopt.take(self.paths, read_disc(disc(name)), agent, self.systemd)
        self.assertEqual(taken.generation, 7, "the identity is taken in any case")

    def test_a_disc_that_asks_is_obeyed(self):
        self.take("good-upgrade")
        start = ["systemctl", "--no-ask-password", "start", "--no-block", UPGRADE_UNIT]
        self.assertEqual(self.systemd.calls[-1], start)
        self.assertEqual(upgrade(self.guest)["state"], "kept")
        self.assertEqual(self.serves(), (NEW, NEW))

    def test_a_disc_that_does_not_ask_changes_no_agent(self):
        self.take("good-newer-agent")
        self.assertFalse(os.path.lexists(self.paths.staged_upgrade))

    def test_an_older_agent_is_not_taken_unless_asked(self):
        self.take("good-upgrade-older")
        self.assertEqual((self.record()["state"], self.record()["code"]), ("failed", "DOWNGRADE_REFUSED"))
        self.clean()

    def test_the_guests_administrator_has_the_last_word(self):
        write(self.paths.blocked_methods, "agent.upgrade\n")
        self.take("good-upgrade")
        self.assertEqual((self.record()["state"], self.record()["code"]), ("failed", "METHOD_BLOCKED"))
        self.clean()
        for method in ("offer", "chunk", "commit"):
            self.assertTrue(is_blocked(self.paths, "agent.upgrade." + method))


class Reboots(unittest.TestCase):
    def test_a_restart_is_reported_where_the_guest_says_so(self):
        paths = guest_root(self)
        self.assertIsNone(status.reboot_required(paths))
        write(paths.at("usr/bin/zypper"), "")
        self.assertIs(status.reboot_required(paths), False)
        write(paths.at("run/reboot-required"), "*** System restart required ***\n")
        self.assertIs(status.gather(paths)["reboot_required"], True)


class OverTheLink(LinkCase):
    """The whole agent before a gateway, which says the golden messages."""

    def setUp(self):
        super(OverTheLink, self).setUp()
        store(self.paths, self.gateway.port)
        self.commands = []

    def run_program(self, command):
        self.commands.append(list(command))
        return Finished(0, "", "")

    def ask(self, session, name, **params):
        call = golden("agent-upgrade-" + name)
        session.say(dict(call, params=dict(call["params"], **params)))
        while True:
            answer = session.hear()
            if answer.get("id") == call["id"]:
                return answer

    def test_offer_pieces_and_commit_lay_the_package_down_and_start_the_unit(self):
        self.start(self.run_program)
        with self.gateway.accept() as session:
            session.greet()
            offered = self.ask(session, "offer", **OFFERS["offers"]["good"]["params"])
            self.assertEqual(offered, golden("agent-upgrade-offer-result"))
            for piece in pieces():
                last = self.ask(session, "chunk", **piece)["result"]
            self.assertEqual(last, {"offset": len(PACKAGE)})
            self.assertEqual(self.ask(session, "commit"), golden("agent-upgrade-commit-result"))
        self.assertEqual(upgrade_record.read_stage(self.paths), Stage(ID, NEW, 120, PACKAGE))
        self.assertIn(["systemctl", "--no-ask-password", "start", "--no-block", UPGRADE_UNIT], self.commands)

    def test_what_is_refused_has_its_code_and_leaves_nothing(self):
        self.start(self.run_program)
        with self.gateway.accept() as session:
            session.greet()
            older = self.ask(session, "offer", **OFFERS["offers"]["older"]["params"])
            self.assertEqual(older["error"]["data"], golden("agent-upgrade-offer-older")["error"]["data"])
            self.assertEqual(self.ask(session, "commit")["error"]["data"], {"code": "UPGRADE_INVALID"})
            write(self.paths.blocked_methods, "agent.upgrade\n")
            blocked = self.ask(session, "offer", **OFFERS["offers"]["good"]["params"])
            self.assertEqual(blocked, golden("agent-upgrade-offer-blocked"))
        self.assertFalse(os.path.lexists(self.paths.staged_upgrade))

    def test_the_link_is_said_to_be_steady_after_some_heartbeats(self):
        self.start(self.run_program)
        with self.gateway.accept() as session:
            session.say(
                dict(golden("welcome-link"), params=dict(golden("welcome-link")["params"], heartbeat_seconds=1))
            )
            hello = session.hear()
            session.say(dict(golden("hello-result"), id=hello["id"]))
            seen = []
            for _beat in range(4):
                beat = session.hear("heartbeat")
                seen.append(runtime_status.read(self.paths)["link"]["steady"])
                session.say({"jsonrpc": "2.0", "id": beat["id"], "result": {}})
            self.assertEqual(seen, [False, False, False, True])


class OtherServices(LinkCase):
    """F24: a service of a line before or after this one is understood."""

    def test_it_is_linked_obeys_what_it_knows_and_refuses_the_rest(self):
        for line in ("older", "newer"):
            store(self.paths, self.gateway.port)
            self.start(no_programs)
            with self.gateway.accept() as session:
                session.say(said_by(line, "welcome"))
                hello = session.hear()
                session.say(dict(golden("hello-result"), id=hello["id"]))
                call = said_by(line, "capabilities-set")
                session.say(call)
                self.assertEqual(session.hear(), {"jsonrpc": "2.0", "id": call["id"], "result": {}}, line)
                if line == "newer":
                    call = said_by(line, "freeze")
                    session.say(call)
                    self.assertEqual(session.hear()["error"]["code"], -32601)
                self.assertEqual(session.hear("heartbeat")["method"], "heartbeat", line)
            self.doCleanups()
            self.setUp()


def said_by(line, name):
    return json.loads(text(line, name + ".json"))["message"]


class Names(unittest.TestCase):
    def test_the_format_is_that_of_the_service(self):
        self.assertEqual(json.loads(OFFERS["offers"]["good"]["params"]["offer"])["format"], upgrade_offer.FORMAT)


if __name__ == "__main__":
    unittest.main()
