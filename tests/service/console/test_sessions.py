# SPDX-License-Identifier: GPL-3.0-or-later
"""How long somebody is logged in, and what ends it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt_service.console import logins, sessions
from openngt_service.console.logins import Logins
from openngt_service.console.sessions import Sessions
from openngt_service.store.database import open_database
from openngt_service.store.tokens import Token, Tokens

from .conftest import Console


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Room:
    """Sessions over real tokens, on a clock of the test's."""

    def __init__(self, folder: Path) -> None:
        self.database = open_database(f"sqlite:///{folder / 'openngt.db'}")
        self.tokens = Tokens(self.database)
        self.clock = Clock()
        self.sessions = Sessions(self.tokens, self.clock)

    def token(self, name: str) -> Token:
        secret = asyncio.run(self.tokens.create(name, "viewer", actor="test"))
        found = self.tokens.authenticate(secret)
        assert found is not None
        return found

    def revoke(self, name: str) -> None:
        assert asyncio.run(self.tokens.revoke(name, actor="test"))


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.database.close()


def test_use_keeps_a_session_and_half_an_hour_without_it_ends_it(room: Room) -> None:
    session_id = room.sessions.begin(room.token("ann"))
    for _ in range(5):
        room.clock.seconds += sessions.IDLE_SECONDS
        assert room.sessions.get(session_id) is not None
    room.clock.seconds += sessions.IDLE_SECONDS + 1
    assert room.sessions.get(session_id) is None
    room.clock.seconds = 0
    assert room.sessions.get(session_id) is None, "it is forgotten, not asleep"


def test_a_page_that_follows_a_task_is_no_use_of_the_session(room: Room) -> None:
    session_id = room.sessions.begin(room.token("ann"))
    room.clock.seconds = sessions.IDLE_SECONDS - 1
    assert room.sessions.get(session_id, touch=False) is not None
    room.clock.seconds += 2
    assert room.sessions.get(session_id) is None


def test_however_busy_a_session_ends_after_twelve_hours(room: Room) -> None:
    session_id = room.sessions.begin(room.token("ann"))
    while room.clock.seconds < sessions.LIFE_SECONDS:
        assert room.sessions.get(session_id) is not None
        room.clock.seconds += 600
    room.clock.seconds += 1
    assert room.sessions.get(session_id) is None


def test_a_revoked_token_ends_its_sessions_even_when_its_name_is_used_again(room: Room) -> None:
    ann, bob = room.sessions.begin(room.token("ann")), room.sessions.begin(room.token("bob"))
    room.revoke("ann")
    room.token("ann")
    assert room.sessions.get(ann) is None
    assert room.sessions.get(bob) is not None


def test_an_id_is_new_each_time_and_the_one_of_nobody_opens_nothing(room: Room) -> None:
    token = room.token("ann")
    ids = {room.sessions.begin(token) for _ in range(20)}
    assert len(ids) == 20 and all(len(one) >= 43 for one in ids)
    assert room.sessions.get("") is None
    assert room.sessions.get("x" * 43) is None


def test_the_session_that_was_used_the_longest_ago_makes_room(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 2)
    token = room.token("ann")
    first, second = room.sessions.begin(token), room.sessions.begin(token)
    room.sessions.get(first)
    third = room.sessions.begin(token)
    assert [room.sessions.get(one) is not None for one in (first, second, third)] == [True, False, True]


def refused(attempts: Logins, address: str) -> bool:
    try:
        attempts.attempt(address)
    except OpenNGTError as exc:
        assert (exc.code, exc.message) == ("RATE_LIMITED", "too many attempts to log in")
        return True
    return False


def test_attempts_are_limited_for_an_address_and_come_back_with_time() -> None:
    clock = Clock()
    attempts = Logins(clock)
    assert [refused(attempts, "192.0.2.1") for _ in range(11)] == [False] * 10 + [True]
    assert not refused(attempts, "192.0.2.2")
    assert [refused(attempts, f"2001:db8::{number:x}") for number in range(11)][-1], "an IPv6 /64 is one address"
    clock.seconds += 6
    assert not refused(attempts, "192.0.2.1")
    assert refused(attempts, "192.0.2.1")


def test_all_addresses_together_have_a_limit_that_one_cannot_use_up() -> None:
    attempts = Logins(Clock())
    for _ in range(500):
        refused(attempts, "198.51.100.1")
    told = [refused(attempts, f"192.0.2.{number}") for number in range(logins.BURST_OF_ALL)]
    assert told == [False] * 90 + [True] * 10


def test_what_is_remembered_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "MOST_ADDRESSES", 5)
    attempts = Logins(Clock())
    for number in range(50):
        refused(attempts, f"192.0.2.{number}")
    assert len(attempts._by_address) == 5


Play = Callable[[Callable[[Console], Awaitable[None]]], None]


def test_the_cookie_is_bound_to_this_host_and_hidden_from_scripts(play: Play) -> None:
    async def scenario(console: Console) -> None:
        browser = console.browser()
        answer = await browser.log_in(console.secrets["viewer"])
        [cookie] = [one for one in answer.headers.get_list("set-cookie") if "openngt_console" in one]
        parts = [part.strip().lower() for part in cookie.split(";")]
        assert cookie.startswith("__Host-")
        assert sorted(parts[1:]) == ["httponly", "path=/", "samesite=strict", "secure"], "and it ends with the browser"
        assert console.secrets["viewer"] not in str(answer.headers) + answer.text + str(browser.page)

    play(scenario)


def test_a_session_id_that_was_planted_is_not_taken_up(play: Play) -> None:
    """Session fixation: whoever knows the id of before the login knows nothing after it."""

    async def scenario(console: Console) -> None:
        attacker, victim = await console.somebody("viewer"), console.browser()
        planted = attacker.cookies["__Host-openngt_console"]
        victim.cookies.set("__Host-openngt_console", planted, domain="console.example", path="/")
        answer = await victim.log_in(console.secrets["admin"])
        [cookie] = [one for one in answer.headers.get_list("set-cookie") if "openngt_console" in one]
        assert planted not in cookie
        assert (await attacker.open("/console/")).status_code == 303, "the old session has ended with the login"

    play(scenario)


def test_logging_out_ends_the_session_on_the_server(play: Play) -> None:
    async def scenario(console: Console) -> None:
        browser = await console.somebody("viewer")
        kept = browser.cookies["__Host-openngt_console"]
        await browser.submit(browser.form("form.who"))
        thief = console.browser(cookies={"__Host-openngt_console": kept})
        for one in (browser, thief):
            answer = await one.open("/console/")
            assert (answer.status_code, answer.headers["location"]) == (303, "/console/login?next=%2Fconsole%2F")
        rows = [await console.audit(verb) for verb in ("console.login", "console.logout")]
        assert rows == [[("the-viewer", "ok", None)]] * 2

    play(scenario)


def test_a_revoked_token_is_out_at_the_next_click(play: Play) -> None:
    async def scenario(console: Console) -> None:
        browser = await console.somebody("admin")
        await console.context.tokens.revoke("the-admin", actor="test")
        assert (await browser.open("/console/")).status_code == 303

    play(scenario)


def test_a_wrong_token_and_too_many_attempts_say_so_on_the_form(play: Play) -> None:
    async def scenario(console: Console) -> None:
        browser = console.browser()
        answers = [await browser.log_in(f"openngt_wrong-{number}") for number in range(11)]
        assert [one.status_code for one in answers] == [401] * 10 + [429]
        assert browser.problem() == "RATE_LIMITED"
        assert (await browser.log_in(console.secrets["admin"])).status_code == 429, "the token is not looked at"
        assert "openngt_wrong" not in str(browser.page)
        elsewhere = console.browser(address="192.0.2.77")
        assert (await elsewhere.log_in(console.secrets["admin"])).status_code == 303
        assert await console.audit("console.login") == [("the-admin", "ok", None)]

    play(scenario)


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/console/../v1/vms\\@evil", "/v1/vms", "javascript:alert(1)"]
)
def test_after_the_login_one_is_sent_to_pages_of_the_console_alone(play: Play, wanted: str) -> None:
    async def scenario(console: Console) -> None:
        browser = console.browser()
        await browser.open("/console/login", params={"next": wanted})
        answer = await browser.submit(browser.form("form.card"), token=console.secrets["viewer"], next=wanted)
        assert answer.headers["location"] == "/console/"

    play(scenario)


def test_the_login_leads_to_the_page_that_was_asked_for(play: Play) -> None:
    async def scenario(console: Console) -> None:
        browser = console.browser()
        first = await browser.open("/console/?filter=link%3Dinactive&sort=-days_left")
        await browser.open(first.headers["location"])
        answer = await browser.submit(browser.form("form.card"), token=console.secrets["viewer"])
        assert answer.headers["location"] == "/console/?filter=link%3Dinactive&sort=-days_left"

    play(scenario)
