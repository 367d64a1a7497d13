# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections that ask for nothing."""

import socket
import ssl
from typing import Any

import pytest

from openngt_service.api import server


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "], ids=["nothing", "half"])
def test_who_asks_for_nothing_is_let_go_and_who_asks_is_served(
    api: Any, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.5)
    context = ssl.create_default_context(cafile=api.ca_file)
    with (
        socket.create_connection(("127.0.0.1", int(api.endpoint.rpartition(":")[2])), timeout=30) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        connection.sendall(said)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            if not connection.recv(1):
                raise ConnectionResetError("closed")
    with api.client() as client:
        assert client.vms() == []
