# SPDX-License-Identifier: GPL-3.0-or-later
"""Every version, suite, certificate and key usage that a client can come with (T12): only the allowed cells connect.

Each client is first tried on a server that allows everything, so that what fails at the gateway fails because of it.
"""

import asyncio
import contextlib
import datetime
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from openngt.pki.issue import issue_service_certificate

from .conftest import SERVICE_NAME, Identity, Pki, World

ALL_SUITES = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"
OLD = {"TLSv1": ssl.TLSVersion.TLSv1, "TLSv1.1": ssl.TLSVersion.TLSv1_1}
NEW = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
ALLOWED_SUITES = {
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""Of TLS 1.2 with a P-256 certificate; the gateway's key rules the RSA ones of the same kind out."""


@dataclass(frozen=True)
class Cell:
    version: str
    suite: str | None
    """None: what the client offers by itself; TLS 1.3 has no other."""
    certificate: str

    @property
    def allowed(self) -> bool:
        suite = self.version == "TLSv1.3" or self.suite is None or self.suite in ALLOWED_SUITES
        return self.version in NEW and suite and self.certificate == "good"


def old_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(ALL_SUITES)
    return context


def suites(version: str) -> list[str]:
    return [cipher["name"] for cipher in old_context().get_ciphers() if cipher["protocol"] not in ("TLSv1.3",)]


class Probe:
    """Clients for all cells, made of one PKI."""

    def __init__(self, w: World, folder: Path) -> None:
        self._pki = w.pki
        other = Pki(folder)
        server = folder / "server-only.pem"
        now = datetime.datetime.now(datetime.UTC)
        server.write_bytes(issue_service_certificate(w.pki.authority, dns_names=["agent"], now=now).client_pem)
        expired = w.pki.identity(age=datetime.timedelta(days=2))
        foreign = other.identity()
        for identity in (expired, foreign):
            w.ledger.add(identity.serial, identity.vm_uuid, identity.ngt_uuid)
        self.certificates: dict[str, Path | None] = {
            "good": w.enrol().client_pem,
            "none": None,
            "expired": expired.client_pem,
            "of another CA": foreign.client_pem,
            "for servers only": server,
            "revoked": w.enrol(state="revoked").client_pem,
            "retired": w.enrol(state="retired").client_pem,
            "unknown to the ledger": w.pki.identity().client_pem,
        }

    def cells(self) -> Iterator[Cell]:
        """All suites of TLS 1.2 with each certificate; those of the older versions with the good one."""
        for certificate in self.certificates:
            for suite in [None, *suites("TLSv1.2")]:
                yield Cell("TLSv1.2", suite, certificate)
            yield Cell("TLSv1.3", None, certificate)
        for version in OLD:
            for suite in suites(version):
                yield Cell(version, suite, "good")

    def context(self, cell: Cell) -> ssl.SSLContext:
        context = old_context()
        # What the server shows is judged by the agent's tests; without it, anonymous suites get as far as they can.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if cell.suite is not None:
            context.set_ciphers(f"{cell.suite}:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = {**OLD, **NEW}[cell.version]
        certificate = self.certificates[cell.certificate]
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    def is_welcome(self, cell: Cell, port: int) -> bool:
        """The server's first byte has come; in TLS 1.3 the handshake's end says nothing of the client's certificate."""
        with contextlib.suppress(OSError):
            plain = socket.create_connection(("127.0.0.1", port), timeout=5)
            with plain, self.context(cell).wrap_socket(plain, server_hostname=SERVICE_NAME) as connection:
                return connection.recv(1) != b""
        return False


@contextlib.contextmanager
def lenient_server(pki: Pki) -> Iterator[int]:
    """Greets whoever can make any TLS with it at all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.gateway_pem)
    context.set_ciphers(ALL_SUITES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with contextlib.suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as connection:
                    connection.sendall(b"!")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def run(scenario: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 120))


@pytest.mark.slow
def test_only_the_allowed_cells_of_version_suite_and_certificate_are_welcome(world: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(accepts_burst=10**6) as w:
            probe = Probe(w, tmp_path)
            cells = list(probe.cells())

            def welcome(port: int) -> set[Cell]:
                return {cell for cell in cells if probe.is_welcome(cell, port)}

            with lenient_server(w.pki) as port:
                possible = await asyncio.to_thread(welcome, port)
            found = await asyncio.to_thread(welcome, w.gateway.port)
            assert found == {cell for cell in cells if cell.allowed}
            weak = {cell for cell in possible if not cell.allowed and cell.certificate == "good"}
            told = {(cell.version, kind_of(cell.suite)) for cell in weak}
            assert {("TLSv1.2", "anonymous"), ("TLSv1.2", "CBC"), ("TLSv1.2", "no encryption")} <= told, told
            assert {cell.version for cell in weak} >= set(OLD)
            await w.still_serves()

    run(scenario)


def kind_of(suite: str | None) -> str:
    text = suite or ""
    if text.startswith(("ADH", "AECDH")):
        return "anonymous"
    if "NULL" in text:
        return "no encryption"
    return "AEAD" if any(word in text for word in ("GCM", "CCM", "POLY1305")) else "CBC"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="Python's ssl cannot ask for a renegotiation")
def test_a_renegotiation_is_refused(world: Any) -> None:
    async def scenario() -> None:
        async with world(handshake_seconds=5, first_frame_seconds=1.0) as w:
            identity: Identity = w.enrol()
            said = await asyncio.to_thread(renegotiate, w.gateway.port, identity.client_pem)
            before, _, after = said.partition("RENEGOTIATING")
            assert "verify return:1" in before and "error:" in after, said
            assert "verify return:1" not in after, "the gateway has shown its certificate again"
            assert w.events.refusals() == ["first_frame_timeout"], "nothing but time has passed"
            await w.still_serves()

    run(scenario)


def renegotiate(port: int, client_pem: Path) -> str:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2", "-servername", SERVICE_NAME]
    files = ["-cert", str(client_pem), "-key", str(client_pem)]
    with subprocess.Popen(
        command + files, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as client:
        assert client.stdin is not None and client.stdout is not None
        said = b""
        while b"welcome" not in said:
            said += client.stdout.read1(4096)  # type: ignore[attr-defined]  # Popen's pipe is a BufferedReader
        client.stdin.write(b"R\n")
        client.stdin.flush()
        said += client.communicate(timeout=30)[0]
    return said.decode("utf-8", "replace")
