# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for AWX. Whatever project is made in it, its files are those in FOLDER/project."""

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.fakes.awx_controller import AwxController, AwxServer

from .process import main


@contextlib.contextmanager
def awx(folder: Path) -> Iterator[Mapping[str, str]]:
    token = secrets.token_urlsafe()
    with AwxServer(AwxController(folder / "project"), token) as server:
        yield {"url": server.url, "token": token}


if __name__ == "__main__":
    main(awx, ready_seconds=60)
