# SPDX-License-Identifier: GPL-3.0-or-later
"""Who does not want the console has none."""

from pathlib import Path

from tests.fakes.raw_http import call
from tests.fakes.service import ServiceProcess


def test_the_setting_leaves_the_console_out_and_the_api_as_it_is(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path, {"console": "false"})
    service.start()
    try:
        for path in ("/", "/console", "/console/", "/console/login", "/console/static/console.css"):
            assert call(service, "GET", path)[0] == 404, path
        assert call(service, "GET", "/v1/vms", service.token)[0] == 200
        assert "console      off" in service.stdout
    finally:
        service.stop()
