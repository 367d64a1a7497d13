# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTPS server of port 2073: uvicorn on a socket of our own, inside the service's event loop."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from openngt.errors import OpenNGTError

__all__ = ["ApiServer"]

GRACE_SECONDS = 2
REQUEST_SECONDS = 10.0
"""For the first request to be there; after it uvicorn's own limit on idle connections holds."""
BACKLOG = 512
BIND_ERRORS = {
    errno.EADDRINUSE: ("SERVICE_CONFLICT", "another program listens there"),
    errno.EACCES: ("PERMISSION_DENIED", "this user may not listen there"),
    errno.EADDRNOTAVAIL: ("CONFIG_INVALID", "this host has no such address"),
}


class Impatient(H11Protocol):
    """Ends a connection that asks for nothing: whoever can reach the port could hold descriptors for ever, unnamed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.loop.call_later(REQUEST_SECONDS, self._require_request)

    def _require_request(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.abort()


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the service, which stops its parts in order."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 lets the kernel choose. SERVICE_CONFLICT, PERMISSION_DENIED or CONFIG_INVALID."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as exc:
        raise OpenNGTError("CONFIG_INVALID", f"api_host: {host} cannot be resolved: {exc.strerror}") from exc
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as exc:
        bound.close()
        code, reason = BIND_ERRORS.get(exc.errno or 0, ("CONFIG_INVALID", exc.strerror))
        raise OpenNGTError(code, f"the API cannot listen on {host} port {port}: {reason}") from exc
    return bound


def tls_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)
    return context


class ApiServer:
    """`certificate` is a PEM file with key and leaf; `reload` reads it again for new connections."""

    def __init__(self, app: FastAPI, *, host: str, port: int, certificate: Path) -> None:
        self._certificate = certificate
        self._context = tls_context(certificate)
        self._socket = bind(host, port)
        config = uvicorn.Config(
            app,
            http=Impatient,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            backlog=BACKLOG,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        config.load()
        config.ssl = self._context
        self._server = Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port is the real one."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Returns once connections are accepted."""
        self._serving = asyncio.create_task(self._server.serve([self._socket]), name="api")
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.01)
        if self._serving.done():
            self._serving.result()

    async def stop(self) -> None:
        """Stop accepting, let calls at work finish for two seconds, then end. Idempotent."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        self._socket.close()

    def reload(self) -> None:
        self._context.load_cert_chain(self._certificate)
