# SPDX-License-Identifier: GPL-3.0-or-later
"""The console in process: real store, tasks, health and templates behind it, a browser's manners in front of it."""

import asyncio
import contextlib
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from bs4 import BeautifulSoup, Tag
from prometheus_client import CollectorRegistry
from tests.fakes.workshop import Workshop, open_workshop

from openngt import effects
from openngt_service.api.application import create_api
from openngt_service.api.context import ApiContext
from openngt_service.health.checks import Facts
from openngt_service.health.health import Health
from openngt_service.health.runner import HealthRunner
from openngt_service.store.tokens import ROLES
from openngt_service.tasks.ca_rollover import CaRollover

ORIGIN = "https://console.example:2073"
FORM = "application/x-www-form-urlencoded"


class Browser(httpx.AsyncClient):
    """Keeps cookies and says where its forms come from. It follows no redirect by itself."""

    page: BeautifulSoup
    """What it was shown last."""

    async def open(self, path: str, **how: Any) -> httpx.Response:
        return self._shown(await self.get(path, **how))

    async def submit(self, form: Tag, **fields: str | None) -> httpx.Response:
        """As its fields stand, but for those given; None leaves one out."""
        data = {str(one["name"]): str(one.get("value", "on")) for one in form.select("input[name]") if is_sent(one)}
        for name, value in fields.items():
            data.pop(name, None)
            if value is not None:
                data[name] = value
        return self._shown(await self.post(str(form["action"]), data=data, headers={"Origin": ORIGIN}))

    async def forge(self, path: str, **fields: str) -> httpx.Response:
        """A form of the session's own that no page offers."""
        token = self.page.select_one("form.who input[name=csrf]")
        assert token is not None
        data = {"csrf": str(token["value"]), **fields}
        return self._shown(await self.post(path, data=data, headers={"Origin": ORIGIN}))

    def form(self, selector: str) -> Tag:
        found = self.page.select_one(selector)
        assert found is not None, f"no {selector} on\n{self.page}"
        return found

    def text(self, selector: str = "main") -> str:
        return re.sub(r"\s+", " ", self.form(selector).get_text(" ", strip=True))

    def problem(self) -> str:
        return self.text(".problem h2")

    async def log_in(self, secret: str, path: str = "/console/") -> httpx.Response:
        await self.open(f"/console/login?next={path}")
        answer = await self.submit(self.form("form.card"), token=secret)
        if answer.status_code == 303:
            await self.open(path)
        return answer

    def _shown(self, answer: httpx.Response) -> httpx.Response:
        self.page = BeautifulSoup(answer.text, "html.parser")
        return answer


def is_sent(field: Tag) -> bool:
    return field.get("type") != "checkbox" or field.has_attr("checked")


@dataclass
class Console:
    workshop: Workshop
    context: ApiContext
    app: Any
    secrets: dict[str, str]
    seconds: float = 0.0
    """By which the console's clock is ahead."""
    browsers: list[Browser] = field(default_factory=list)

    def add_vm(self, name: str, power_state: str = "on") -> str:
        vm_uuid = str(uuid.uuid4())
        self.workshop.hypervisor.add(vm_uuid, name, {"cd0": None}, power_state)
        return vm_uuid

    async def enrol(self, name: str) -> str:
        vm_uuid = self.add_vm(name)
        await self.workshop.operations.enable(vm_uuid, {}, actor="test")
        return vm_uuid

    def browser(self, origin: str = ORIGIN, address: str = "192.0.2.1", **how: Any) -> Browser:
        transport = httpx.ASGITransport(self.app, client=(address, 40000), raise_app_exceptions=False)
        made = Browser(transport=transport, base_url=origin, **how)
        made.page = BeautifulSoup("", "html.parser")
        self.browsers.append(made)
        return made

    async def somebody(self, role: str) -> Browser:
        """Logged in, the fleet in front of them."""
        browser = self.browser()
        assert (await browser.log_in(self.secrets[role])).status_code == 303
        return browser

    async def audit(self, verb: str) -> list[tuple[str, str, str | None]]:
        """Actor, result and VM of each row with that verb."""
        return [(row.actor, row.result, row.vm_uuid) for row in await self.context.audit.page() if row.verb == verb]

    async def ended(self, location: str) -> dict[str, Any]:
        """The task of this page, at its end."""
        task_id = location.rpartition("/")[2]
        task = await self.workshop.operations.task(task_id, wait=30)
        assert task["state"] in ("succeeded", "failed"), task
        return task


@contextlib.asynccontextmanager
async def open_console(folder: Path) -> AsyncIterator[Console]:
    async with open_workshop(folder / "state") as workshop:
        store, registry = workshop.store, CollectorRegistry()

        async def look() -> Facts:
            page = await workshop.operations.vms(limit=1000)
            return Facts(effects.now(), page["items"], [], {})

        health = Health(
            HealthRunner(look, store.health, registry),
            store.health,
            store.registry,
            workshop.parts.engine,
            node="192.0.2.10",
            cluster_uuid=store.identity.cluster_uuid,
            interval_seconds=300,
        )

        async def ready() -> dict[str, bool]:
            return {}

        context = ApiContext(
            operations=workshop.operations,
            tokens=store.tokens,
            audit=store.audit,
            health=health,
            ca=dict,
            payload=dict,
            rollover=CaRollover(workshop.parts, lambda succession: None),
            ready=ready,
            metrics=registry,
            vm_metrics=lambda: asyncio.sleep(0, b""),
            console_names=frozenset({"console.example", "::1"}),
        )
        secrets = {role: await store.tokens.create(f"the-{role}", role, actor="test") for role in ROLES}
        console = Console(workshop, context, create_api(context), secrets)
        try:
            yield console
        finally:
            for browser in console.browsers:
                await browser.aclose()


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Callable[[Console], Awaitable[None]]], None]:
    """Run a scenario with a console of its own."""

    def run(scenario: Callable[[Console], Awaitable[None]]) -> None:
        async def main() -> None:
            async with open_console(tmp_path) as console:
                await scenario(console)

        asyncio.run(main())

    return run
