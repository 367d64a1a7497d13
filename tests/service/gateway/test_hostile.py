# SPDX-License-Identifier: GPL-3.0-or-later
"""Who must not get in, and what must not hurt (T10, T11, T12): each is refused by name, and a good agent is served."""

import asyncio
import contextlib
import datetime
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.fakes.agent_client import AgentClient

from .conftest import SERVICE_NAME, Identity, Pki, World

Play = Callable[[Callable[[], Any]], None]
Prepare = Callable[[World, Path], Identity | None]


def no_certificate(w: World, folder: Path) -> None:
    return None


def other_ca(w: World, folder: Path) -> Identity:
    identity = Pki(folder).identity()
    w.ledger.add(identity.serial, identity.vm_uuid, identity.ngt_uuid)
    return identity


def expired(w: World, folder: Path) -> Identity:
    identity = w.pki.identity(age=datetime.timedelta(days=2))
    w.ledger.add(identity.serial, identity.vm_uuid, identity.ngt_uuid)
    return identity


def server_certificate_as_client(w: World, folder: Path) -> Identity:
    path = folder / "server.pem"
    path.write_bytes(w.pki.service_certificate())
    return Identity("", "", 0, path)


def revoked(w: World, folder: Path) -> Identity:
    return w.enrol(state="revoked")


def retired(w: World, folder: Path) -> Identity:
    return w.enrol(state="retired")


def of_a_disabled_vm(w: World, folder: Path) -> Identity:
    identity = w.enrol()
    w.ledger.disabled.add(identity.vm_uuid)
    return identity


def signed_by_the_ca_and_unknown_to_the_ledger(w: World, folder: Path) -> Identity:
    return w.pki.identity()


MATRIX: list[tuple[Prepare, str]] = [
    (no_certificate, "no_certificate"),
    (other_ca, "untrusted_certificate"),
    (expired, "expired"),
    (server_certificate_as_client, "wrong_usage"),
    (revoked, "revoked"),
    (retired, "retired"),
    (of_a_disabled_vm, "vm_disabled"),
    (signed_by_the_ca_and_unknown_to_the_ledger, "unknown_serial"),
]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"])
@pytest.mark.parametrize(("prepare", "reason"), MATRIX, ids=[prepare.__name__ for prepare, _ in MATRIX])
def test_an_unwelcome_certificate_is_refused_for_its_reason_before_any_frame_is_read(
    play: Play, world: Any, tmp_path: Path, prepare: Prepare, reason: str, version: ssl.TLSVersion
) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = prepare(w, tmp_path)
            context = w.pki.client(identity)
            context.minimum_version = context.maximum_version = version
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                agent = await AgentClient.connect(w.gateway.port, context, SERVICE_NAME)
                agent.send({"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {}})
                assert await agent.read() is None
            await w.until(lambda: w.events.refusals())
            assert w.events.refusals() == [reason]
            assert w.metric("refused_total", reason=reason) == 1
            assert w.events.of("link_up") == []
            await w.still_serves()

    play(scenario)


@asynccontextmanager
async def permissive_server(pki: Pki) -> AsyncIterator[int]:
    """What a TLS 1.1 client can talk to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.gateway_pem)
    allow_tls11(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(writer.get_extra_info("ssl_object").version()).encode() + b"\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def allow_tls11(context: ssl.SSLContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1


def test_tls_1_1_is_refused_from_a_client_that_can_speak_it(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            context = w.pki.client(w.enrol())
            allow_tls11(context)
            async with permissive_server(w.pki) as port:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=context, server_hostname=SERVICE_NAME
                )
                assert await reader.readline() == b"TLSv1.1\n", "this client does complete TLS 1.1 elsewhere"
                writer.close()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("127.0.0.1", w.gateway.port, ssl=context, server_hostname=SERVICE_NAME)
            await w.until(lambda: w.events.refusals())
            assert w.events.refusals() == ["protocol_version"]
            await w.still_serves()

    play(scenario)


def test_a_refused_client_is_told_why_by_a_tls_alert(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            context = w.pki.client(expired(w, Path()))
            reader, _ = await asyncio.open_connection(
                "127.0.0.1", w.gateway.port, ssl=context, server_hostname=SERVICE_NAME
            )
            with pytest.raises(ssl.SSLError, match="EXPIRED"):
                await reader.read()

    play(scenario)


def test_who_is_gone_before_the_accept_is_counted_and_leaves_no_socket_open(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            await w.still_serves()
            before = len(list(Path("/proc/self/fd").iterdir()))
            for _ in range(20):  # the loop accepts nobody meanwhile
                with socket.socket() as peer:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    peer.connect(("127.0.0.1", w.gateway.port))
            await w.until(lambda: w.metric("refused_total", reason="handshake_failed") == 20)
            await w.until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)
            await w.still_serves()

    play(scenario)


async def raw(w: World) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", w.gateway.port)


@pytest.mark.parametrize(
    "opening",
    [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"\1" * 300, os.urandom(2000)],
    ids=["http", "ssh", "zeroes", "broken-hello", "noise"],
)
def test_what_is_no_tls_is_refused(play: Play, world: Any, opening: bytes) -> None:
    async def scenario() -> None:
        async with world(handshake_seconds=0.3) as w:
            reader, writer = await raw(w)
            writer.write(opening)
            with contextlib.suppress(ConnectionError):
                await reader.read()
            await w.until(lambda: w.events.refusals())
            assert w.events.refusals()[0] in ("handshake_failed", "handshake_timeout", "protocol_version")
            await w.still_serves()

    play(scenario)


def test_who_leaves_in_the_handshake_is_counted(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            _, writer = await raw(w)
            writer.close()
            await w.until(lambda: w.events.refusals())
            assert w.events.refusals() == ["handshake_failed"]

    play(scenario)


def client_hello(pki: Pki) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        pki.client(None).wrap_bio(incoming, outgoing, server_hostname=SERVICE_NAME).do_handshake()
    return outgoing.read()


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


def test_a_handshake_that_never_ends_is_cut_by_its_limit(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world(handshake_seconds=0.4) as w:
            silent = await raw(w)
            slow = await raw(w)
            half = await raw(w)
            dripping = asyncio.create_task(drip(slow[1], client_hello(w.pki)))
            half[1].write(client_hello(w.pki))
            for reader, _ in (silent, slow, half):
                with contextlib.suppress(ConnectionError):
                    while await reader.read(4096):
                        pass
            dripping.cancel()
            assert w.events.refusals() == ["handshake_timeout"] * 3
            await w.still_serves()

    play(scenario)


def test_one_byte_at_a_time_after_the_handshake_is_cut_by_the_first_frame_limit(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world(handshake_seconds=5, first_frame_seconds=0.4) as w:
            agent, silent = await w.connect(w.enrol()), await w.connect(w.enrol())
            dripping = asyncio.create_task(drip(agent.writer, struct.pack(">I", 1000) + b'{"jsonrpc":' * 10))
            assert await agent.closed() and await silent.closed()
            dripping.cancel()
            assert w.events.refusals() == ["first_frame_timeout"] * 2
            assert w.events.of("link_down") == [], "there was no link"
            await w.still_serves()

    play(scenario)


GARBAGE = {
    "length bomb": struct.pack(">I", 2**32 - 1),
    "empty frame": struct.pack(">I", 0),
    "over the limit before hello": struct.pack(">I", 64 * 1024 + 1),
    "no JSON": struct.pack(">I", 5) + b"hello",
    "batch": struct.pack(">I", 2) + b"[]",
    "deep": struct.pack(">I", 60_000) + b"[" * 60_000,
    "unasked answer": struct.pack(">I", 36) + b'{"jsonrpc":"2.0","id":1,"result":{}}',
    "noise": b"\0\0\1\0" + os.urandom(256),
}


@pytest.mark.parametrize("greeted", [False, True], ids=["before-hello", "after-hello"])
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_a_bad_frame_ends_the_session_and_nothing_else(play: Play, world: Any, garbage: bytes, greeted: bool) -> None:
    if greeted and garbage == GARBAGE["over the limit before hello"]:
        garbage = struct.pack(">I", 1024 * 1024 + 1)

    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            agent = await (w.agent(identity) if greeted else w.connect(identity))
            agent.send_raw(garbage)
            assert await agent.closed()
            assert w.events.of("refused") == [
                ("bad_frame", w.events.of("refused")[0][1], identity.vm_uuid, identity.serial)
            ]
            assert [reason for _, reason in w.events.of("link_down")] == ["bad_frame"] * greeted
            await w.still_serves()

    play(scenario)


def resident_kib() -> int:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])


def test_announced_gigabytes_are_never_allocated(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            await w.still_serves()
            before = resident_kib()
            for _ in range(20):
                agent = await w.agent()
                agent.send_raw(GARBAGE["length bomb"] + b"x" * 1000)
                assert await agent.closed()
            assert resident_kib() - before < 20 * 1024, "20 x 4 GiB were announced"
            await w.still_serves()

    play(scenario)


def test_plaintext_inside_an_established_tls_session_is_a_bad_frame(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = w.pki.client(w.enrol()).wrap_bio(incoming, outgoing, server_hostname=SERVICE_NAME)
            reader, writer = await raw(w)
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65536))
            writer.write(outgoing.read())
            await w.until(lambda: w.metric("accepted_total") == 1)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while await reader.read(4096):
                    pass
            assert w.events.refusals() == ["bad_frame"]

    play(scenario)


def test_an_agent_that_never_reads_is_cut_and_its_queue_is_bounded(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world(send_seconds=0.3, socket_buffer_bytes=8192, send_queue_bytes=1_200_000) as w:
            deaf, flooded = w.enrol(), w.enrol()
            agents = []
            for identity in (deaf, flooded):
                agent = await AgentClient.connect(
                    w.gateway.port, w.pki.client(identity), SERVICE_NAME, receive_buffer=4096
                )
                await agent.start()
                agent.writer.transport.pause_reading()
                agents.append(agent)
            big = {"x": "y" * 900_000}
            calls = [asyncio.create_task(w.gateway.call(deaf.vm_uuid, "capabilities.set", big))]
            calls += [asyncio.create_task(w.gateway.call(flooded.vm_uuid, "capabilities.set", big)) for _ in range(40)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {getattr(result, "code", result) for result in results} == {"LINK_NOT_ACTIVE"}
            assert w.events.refusals() == ["slow_consumer"] * 2
            await w.still_serves()
            del agents

    play(scenario)


def test_the_oldest_of_too_many_handshakes_from_one_address_makes_room(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world(unauthenticated_per_address=3) as w:
            idle = [await raw(w) for _ in range(5)]
            await w.until(lambda: len(w.events.refusals()) == 2)
            assert w.events.refusals() == ["address_limit"] * 2
            for reader, _ in idle[:2]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            await w.still_serves()
            assert w.events.refusals() == ["address_limit"] * 3
            agents = [await w.agent() for _ in range(6)]
            assert w.metric("connected") >= len(agents), "who is through the handshake does not count"

    play(scenario)


def test_connections_that_come_too_fast_or_are_too_many_are_refused(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world(accepts_per_second=0.001, accepts_burst=2) as w:
            idle = [await raw(w) for _ in range(3)]
            await w.until(lambda: w.events.refusals() == ["accept_rate"])
        async with world(connections=2) as w:
            idle = [await raw(w) for _ in range(3)]
            await w.until(lambda: w.events.refusals() == ["connection_limit"])
            del idle

    play(scenario)


def test_a_session_cannot_be_resumed_so_every_certificate_is_judged_anew(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = w.pki.client(identity)
                context.minimum_version = context.maximum_version = version
                session = await asyncio.to_thread(handshake_with, w.gateway.port, context, None)
                assert await asyncio.to_thread(handshake_with, w.gateway.port, context, session) is None
            assert w.gateway.context.session_stats()["hits"] == 0
            assert w.gateway.context.session_stats()["number"] == 0, "and none is kept in memory"

    play(scenario)


def handshake_with(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
    """The TLS session after `welcome`; None when it was resumed... or when there is none to resume."""
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname=SERVICE_NAME, session=session) as connection,
    ):
        assert connection.recv(4)
        assert not connection.session_reused
        return None if session is not None else connection.session


def test_running_out_of_file_descriptors_stops_nobody_who_is_connected_and_passes(pki: Pki, world: Any) -> None:
    async def scenario() -> None:
        async with world(handshake_seconds=0.5) as w:
            agent = await w.agent()
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            used = len(list(Path("/proc/self/fd").iterdir()))
            flood = await asyncio.create_subprocess_exec(
                sys.executable, "-c", FLOOD, str(w.gateway.port), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert flood.stdin is not None and flood.stdout is not None
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
                flood.stdin.write(b"go\n")
                assert await flood.stdout.readline() == b"connected\n"
                assert (await agent.ask("heartbeat", {}))["result"] == {}
                await w.until(lambda: len(w.events.refusals()) >= 10)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                flood.kill()
                await flood.wait()
            await w.still_serves()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the service's loop; the stock one logs errors
        runner.run(scenario())


FLOOD = """
import socket, sys, time
sys.stdin.readline()
connections = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(60)]
print("connected", flush=True)
time.sleep(30)
"""
