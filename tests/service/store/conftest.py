# SPDX-License-Identifier: GPL-3.0-or-later
"""A store on a real SQLite file, opened anew as often as a test wants."""

import contextlib
import datetime
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from openngt.pki.authority import Authority, create_authority
from openngt_service.config import Settings
from openngt_service.store.opening import Store, open_store

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(
        tmp_path_factory.mktemp("pki") / "ca", common_name="test CA", now=datetime.datetime.now(datetime.UTC)
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, cluster_ip="192.0.2.10")


@pytest.fixture
def opened(settings: Settings, authority: Authority) -> OpenStore:
    """`async with opened() as store`: loaded; leaving closes it, so the next one sees what is on the disk."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        store = open_store(settings, authority)
        try:
            yield await store.load()
        finally:
            store.close()

    return opened
