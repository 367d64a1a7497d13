# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's end of the link for tests of the service: real TLS, and no code in common with agent or gateway."""

import asyncio
import json
import socket
import ssl
import struct
from pathlib import Path
from typing import Any, Self

__all__ = ["AgentClient", "client_context"]

HELLO = {"protocol": 1, "agent_version": "0.1.0", "boot_id": "boot-1", "status": {"hostname": "web01"}}


def client_context(ca_file: Path, client_pem: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if client_pem is not None:
        context.load_cert_chain(client_pem)
    return context


class AgentClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.welcome: dict[str, Any] = {}
        self._last_id = 0

    @classmethod
    async def connect(
        cls,
        port: int,
        context: ssl.SSLContext,
        service_name: str,
        *,
        receive_buffer: int | None = None,
        source: str = "127.0.0.1",
    ) -> Self:
        """TLS is up; under TLS 1.3 that says nothing yet about what the gateway thinks of our certificate."""
        connection = socket.socket()
        connection.bind((source, 0))
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(
            sock=connection, ssl=context, server_hostname=service_name, limit=2**21
        )
        return cls(reader, writer)

    async def start(self, **hello: Any) -> dict[str, Any]:
        """Await `welcome`, say hello; the capabilities."""
        message = await self.read()
        assert message is not None and message["method"] == "welcome", message
        self.welcome = message["params"]
        answer = await self.ask("hello", {**HELLO, **hello})
        return dict(answer["result"]["capabilities"])

    async def read(self) -> dict[str, Any] | None:
        """The next message; None when the gateway has closed."""
        try:
            (length,) = struct.unpack(">I", await self.reader.readexactly(4))
            message: dict[str, Any] = json.loads(await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return None
        return message

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One request; its response, which must be the next message."""
        self._last_id += 1
        self.send({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
        answer = await self.read()
        assert answer is not None, f"the gateway closed instead of answering {method}"
        assert answer["id"] == self._last_id, answer
        return answer

    def send(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        self.send_raw(struct.pack(">I", len(body)) + body)

    def send_raw(self, data: bytes) -> None:
        self.writer.write(data)

    async def closed(self) -> bool:
        """Read on until the gateway closes."""
        while await self.read() is not None:
            pass
        return True

    def close(self) -> None:
        self.writer.transport.abort()
