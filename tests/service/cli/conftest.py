# SPDX-License-Identifier: GPL-3.0-or-later
"""A running service for the tests that only look at it, and one of its own for those that stop or break it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.service import ServiceProcess

VM = "6f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"
OTHER = "7f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"


def prepared(folder: Path) -> ServiceProcess:
    service = ServiceProcess(folder)
    service.hypervisor.add(VM, "web01", {"cd0": None})
    service.hypervisor.add(OTHER, "=HYPERLINK(1)", {"cd0": "/isos/debian.iso"})
    return service


def ended(service: ServiceProcess) -> None:
    if service.process is not None and service.process.poll() is None:
        service.process.kill()
        service.process.wait()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Shared by a module; VM and OTHER are enrolled."""
    running = prepared(tmp_path_factory.mktemp("service"))
    running.settings["api_names"] = "guest-tools.example,192.0.2.7"
    running.start()
    with running.client() as client:
        client.enable(VM)
        client.enable(OTHER, {"vss_snapshot": False})
    yield running
    ended(running)


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[ServiceProcess]:
    """Not started yet."""
    own = prepared(tmp_path)
    yield own
    ended(own)
