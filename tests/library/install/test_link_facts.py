# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest is looked at for: the way to a gateway by real connections, nftables by its own words, systemd's."""

import contextlib
import datetime
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interpreters import interpreters

from openngt import effects
from openngt.install.link_facts import find_rules, reach, read_unit
from openngt.pki.authority import Authority, create_authority
from openngt.pki.issue import issue_service_certificate

ROOT = Path(__file__).resolve().parents[3]
NAME = "guest-tools.0f0e7c1a-2b3d-4e5f-8a9b-c0d1e2f3a4b5"
DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    now = effects.now() - 100 * DAY
    return create_authority(tmp_path_factory.mktemp("ca"), common_name="test", now=now)


@contextlib.contextmanager
def gateway(
    authority: Authority, folder: Path, *, name: str = NAME, days_ago: int = 0, version: str = ""
) -> Iterator[int]:
    """A gateway as far as TLS goes: its certificate, and a client's demanded."""
    issued = issue_service_certificate(
        authority, dns_names=[name], validity=10 * DAY, now=effects.now() - days_ago * DAY
    )
    path = folder / "gateway.pem"
    path.write_bytes(issued.client_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority.certificate_pem.decode())
    if version:
        context.maximum_version = ssl.TLSVersion[version]
    with answering(lambda sock: context.wrap_socket(sock, server_side=True).close()) as port:
        yield port


@contextlib.contextmanager
def answering(serve: object) -> Iterator[int]:
    over = threading.Event()

    def loop() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                sock, _ = listener.accept()
                with sock:
                    sock.settimeout(5)
                    serve(sock)  # type: ignore[operator]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_the_service_is_known_without_the_agents_certificate(
    authority: Authority, tmp_path: Path, version: str
) -> None:
    with gateway(authority, tmp_path, version=version) as port:
        found = reach("127.0.0.1", port, authority.certificate_pem.decode(), NAME, configured=True)
    assert found == {"host": "127.0.0.1", "port": port, "configured": True, "tcp": None, "tls": None}


def test_another_ca_another_name_and_a_certificate_that_is_over_are_not_trusted(
    authority: Authority, tmp_path: Path
) -> None:
    ours = authority.certificate_pem.decode()
    other = create_authority(tmp_path / "other", common_name="another", now=effects.now() - DAY)
    for server, how, words in (
        (other, {}, "certificate"),
        (authority, {"name": "guest-tools.another"}, "match"),
        (authority, {"days_ago": 50}, "expired"),
    ):
        with gateway(server, tmp_path, **how) as port:  # type: ignore[arg-type]
            found = reach("127.0.0.1", port, ours, NAME)
        assert found["tcp"] is None and words in found["tls"], found


def test_what_is_no_tls_and_what_says_nothing_are_told_apart(authority: Authority) -> None:
    ours = authority.certificate_pem.decode()
    with answering(lambda sock: sock.sendall(b"SSH-2.0-OpenSSH\r\n" * 20)) as port:
        assert reach("127.0.0.1", port, ours, NAME)["tls"].startswith("no TLS")
    with answering(lambda sock: None) as port:
        assert reach("127.0.0.1", port, ours, NAME)["tls"].startswith(("no answer", "no TLS"))


def test_a_closed_port_and_a_name_that_does_not_resolve() -> None:
    assert reach("127.0.0.1", 9, None) == {
        "host": "127.0.0.1",
        "port": 9,
        "configured": False,
        "tcp": "Connection refused",
    }
    assert reach("nowhere.invalid", 9, None)["tcp"].startswith("name: ")


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters())
def test_every_python_judges_the_gateway_alike(authority: Authority, tmp_path: Path, python: str) -> None:
    ours = tmp_path / "ca.pem"
    ours.write_bytes(authority.certificate_pem)
    code = (
        "import json, sys; from openngt.install.link_facts import reach;"
        "print(json.dumps([reach('127.0.0.1', int(sys.argv[1]), open(sys.argv[2]).read(), name)['tls'] "
        "for name in (sys.argv[3], 'another.name')]))"
    )
    with gateway(authority, tmp_path) as port:
        done = subprocess.run(
            [python, "-c", code, str(port), str(ours), NAME],
            env={"PYTHONPATH": str(ROOT / "plugins/module_utils"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    good, bad = json.loads(done.stdout)
    assert good is None and bad


RULES = """\
table inet site {
	chain out {
		type filter hook output priority filter; policy accept;
		tcp dport 22 accept
		tcp dport { 2073, 2074 } reject with tcp reset
		ip daddr 192.0.2.1 tcp dport 12074 drop
		tcp dport 2074 counter packets 3 bytes 180
	}
}
"""


def test_rules_that_stop_the_port_are_found_and_no_others() -> None:
    assert find_rules(RULES, 2074) == ["tcp dport { 2073, 2074 } reject with tcp reset"]
    assert find_rules("", 2074) == []


def test_systemds_words_become_ours() -> None:
    states = "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\n"
    assert read_unit(states + "Result=exit-code\nExecMainStatus=1\nNRestarts=7\nId=x\n") == {
        "load_state": "loaded",
        "active_state": "activating",
        "sub_state": "auto-restart",
        "result": "exit-code",
        "exit_status": 1,
        "restarts": 7,
    }
    assert read_unit("") is None
