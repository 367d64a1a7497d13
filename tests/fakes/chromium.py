# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's Chromium without a screen, in front of a file. (Real; the fakes are what it looks at.)"""

import base64
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

__all__ = ["DRIVER", "LIMIT_SECONDS", "SWITCHES", "Viewer"]

RECORDS = Path(__file__).resolve().parents[2] / "build/records"
LIMIT_SECONDS = 30
DRIVER = "/usr/bin/chromedriver"
SWITCHES = (
    "--headless=new",
    "--window-size=1280,1400",
    # A browser that says nothing to anybody of its own accord.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-dev-shm-usage",
)


class Viewer:
    """Chromium in front of a file."""

    def __init__(self, folder: Path) -> None:
        options = ChromeOptions()
        for switch in (*SWITCHES, f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(switch)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # its sandbox does not work for root
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = Chrome(options, ChromeService(DRIVER))
        self.driver.set_page_load_timeout(LIMIT_SECONDS)
        self.driver.get("about:blank")
        self.driver.get_log("performance")

    def look(self, path: Path, scheme: str = "light", media: str = "screen") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=media, features=features)
        self.driver.get(f"file://{quote(str(path))}")

    def command(self, name: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, parameters)

    def picture(self, name: str) -> Path:
        """Of the whole page."""
        RECORDS.mkdir(parents=True, exist_ok=True)
        shot = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        path = RECORDS / f"{name}.png"
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def asked(self) -> set[str]:
        """Addresses, also those that the policy kept from being asked."""
        found = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.add(str(message["params"]["request"]["url"]).split("#")[0])
        return found

    def complaints(self) -> list[str]:
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def background(self) -> str:
        return str(self.driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color"))
