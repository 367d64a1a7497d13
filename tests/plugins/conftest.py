# SPDX-License-Identifier: GPL-3.0-or-later
"""A service for the plugins' tests to ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.api import FakeService


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FakeService]:
    folder = tmp_path / "service"
    folder.mkdir()
    fake = FakeService(folder)
    yield fake
    fake.stop()
