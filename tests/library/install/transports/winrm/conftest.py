# SPDX-License-Identifier: GPL-3.0-or-later
"""A listener of the simulator for each test, and logins that fit it."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.winrm_server import Certificate, WinrmServer, echo, make_certificate

from openngt.install.fleet.target import Secret, WinrmLogin

PASSWORD = "Pa55-canary-wörd"

Listen = Callable[..., WinrmServer]
LoginFor = Callable[..., WinrmLogin]


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture
def listen(certificate: Certificate) -> Iterator[Listen]:
    """`listen(play=echo, **options) -> WinrmServer`, which ends with the test."""
    with ExitStack() as stack:

        def start(play: Any = echo, **options: Any) -> WinrmServer:
            given = {"users": {"Administrator": PASSWORD}, "certificate": certificate, **options}
            return stack.enter_context(WinrmServer(play, **given))

        yield start


@pytest.fixture
def login_for(certificate: Certificate) -> LoginFor:
    """`login_for(server, **fields) -> WinrmLogin` that the server takes; its certificate is its own CA."""

    def login(server: WinrmServer, **fields: Any) -> WinrmLogin:
        right = WinrmLogin("127.0.0.1", server.port, password=Secret(PASSWORD))
        if not {"ca_file", "thumbprint", "trust_new"} & fields.keys():
            fields["thumbprint"] = certificate.thumbprint
        return dataclasses.replace(right, **fields)

    return login
