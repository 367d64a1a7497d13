# SPDX-License-Identifier: GPL-3.0-or-later
"""The console as people meet it: the real service as a process, and a real browser without a screen."""

import asyncio
import base64
import datetime
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait
from tests.fakes.agent_client import AgentClient, client_context
from tests.fakes.chromium import DRIVER, LIMIT_SECONDS, SWITCHES
from tests.fakes.service import ServiceProcess
from tests.fakes.workshop import open_workshop

from openngt import effects
from openngt_service.store.ledger import IssueRequest

DAY = datetime.timedelta(days=1)
PIN = "--ignore-certificate-errors-spki-list"


@dataclass
class Fleet:
    """VMs whose certificates have so many days left, by those days; none but -1's has been used."""

    service: ServiceProcess
    vms: dict[int, str] = field(default_factory=dict)
    identities: dict[int, Path] = field(default_factory=dict)

    def connect(self, days: Sequence[int]) -> None:
        """Their agents come with them for the first time, over TLS, and go."""
        with self.service.client() as client:
            name = client.ca()["service_name"]

        async def come_and_go() -> None:
            for one in days:
                context = client_context(Path(self.service.ca_file), self.identities[one])
                agent = await AgentClient.connect(self.service.gateway_port, context, name)
                await agent.start()
                agent.close()

        asyncio.run(come_and_go())


async def issue(fleet: Fleet, folder: Path, days: Sequence[int]) -> None:
    """What the service will find in its state folder: enrolled VMs, and a certificate for each."""
    async with open_workshop(folder / "state") as workshop:
        for number, one in enumerate(days):
            vm = fleet.vms[one] = f"00000000-0000-4000-8000-{number:012}"
            for hypervisor in (workshop.hypervisor, fleet.service.hypervisor):
                hypervisor.add(vm, f"vm{one}", {"cd0": None})
            await workshop.operations.enable(vm, {}, actor="test")
            request = IssueRequest(vm, "link", (one + 199.5) * DAY)
            past = effects.now() - 200 * DAY
            [issued] = await workshop.store.ledger.issue([request], actor="test", now=past)
            key = issued.certificate.private_key_pem
            assert key is not None
            fleet.identities[one] = folder / f"{one}.pem"
            fleet.identities[one].write_bytes(key + issued.certificate.certificate_pem)
            if one < 0:  # it cannot connect any more, but once did
                await workshop.store.ledger.promote(int(issued.entry.serial_hex, 16))


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("console")
    made = Fleet(ServiceProcess(folder))
    asyncio.run(issue(made, folder, (91, 90, 45, 7, -1)))
    made.service.start()
    yield made
    made.service.stop()


class Browser:
    """Chromium, trusting the service's key alone."""

    def __init__(self, service: ServiceProcess, folder: Path) -> None:
        self.service = service
        self.downloads = folder / "downloads"
        options = ChromeOptions()
        for switch in (*SWITCHES, f"--user-data-dir={folder / 'profile'}", f"{PIN}={key_of(service)}"):
            options.add_argument(switch)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # its sandbox does not work for root
        options.add_experimental_option("prefs", {"download.default_directory": str(self.downloads)})
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = Chrome(options, ChromeService(DRIVER))
        self.driver.set_page_load_timeout(LIMIT_SECONDS)
        self.driver.get("about:blank")
        self.driver.get_log("performance")  # of the browser's own first page
        self.requested: list[str] = []
        """Every address that was asked for, also those that the policy kept from being asked."""
        self.complaints: list[str] = []
        """Errors and warnings of the browser's console: broken scripts, breaches of the policy, missing files."""

    def open(self, path: str) -> None:
        self.driver.get(f"{self.service.endpoint}{path}")

    def log_in(self, token: str) -> None:
        self.open("/console/")
        self.one("#token").send_keys(token)
        self.click("form.card button")

    @property
    def path(self) -> str:
        return urlsplit(self.driver.current_url).path

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "main") -> str:
        return self.one(selector).text

    def click(self, selector: str) -> None:
        """And wait for the page that comes of it."""
        before = self.one("html")
        self.one(selector).click()
        # While one page makes room for the next the driver may have neither.
        wait = WebDriverWait(self.driver, LIMIT_SECONDS, 0.1, ignored_exceptions=[WebDriverException])
        wait.until(staleness_of(before))

    def choose(self, selector: str, value: str) -> None:
        Select(self.one(selector)).select_by_value(value)

    def wait(self, selector: str, text: str) -> None:
        """Until the page, which changes by itself, says so."""
        wait = WebDriverWait(self.driver, LIMIT_SECONDS, 0.1, ignored_exceptions=[WebDriverException])
        wait.until(lambda _: text in self.text(selector), f"no {text!r} in {selector}")

    def colour(self, element: WebElement) -> tuple[int, int, int]:
        """As it is drawn."""
        text = element.value_of_css_property("background-color")
        red, green, blue = (int(part) for part in text.partition("(")[2].rstrip(")").split(",")[:3])
        return red, green, blue

    def listen(self) -> None:
        """Take up what the browser has logged since."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
        self.complaints += [str(entry["message"]) for entry in self.driver.get_log("browser")]


def key_of(service: ServiceProcess) -> str:
    """Of the API's key, as Chromium pins it: SHA-256 of the SubjectPublicKeyInfo."""
    certificate = x509.load_pem_x509_certificate((service.state_dir / "api.pem").read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


@pytest.fixture
def browser(fleet: Fleet, tmp_path: Path) -> Iterator[Browser]:
    """At the end: nothing was asked from elsewhere, and the browser had nothing to complain about."""
    made = Browser(fleet.service, tmp_path)
    try:
        yield made
        made.listen()
        assert made.requested, "the log of requests is there"
        strangers = [url for url in made.requested if not url.startswith((f"{fleet.service.endpoint}/", "data:"))]
        assert strangers == []
        assert made.complaints == []
    finally:
        made.driver.quit()
