# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against real TLS servers on loopback: what it sends, repeats, refuses and how it names each failure."""

import http.server
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.fakes.prepared_service import TOKEN, PreparedService, QuietServer, Reply, make_certificates
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt.client import Client
from openngt.client_transport import Request, Transport, parse_endpoint
from openngt.errors import OpenNGTError


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    return folder


@pytest.fixture
def service(certificates: Path) -> Iterator[PreparedService]:
    running = PreparedService(certificates)
    yield running
    running.stop()


def error_of(call: Callable[[], Any]) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        call()
    assert TOKEN not in caught.value.message + repr(caught.value.details) + repr(caught.value)
    return caught.value


def a_task(state: str, **more: Any) -> dict[str, Any]:
    task = {"task_id": "t1", "kind": "mount", "state": state, "progress": 0, "step": "issue", "error": None}
    return {**task, "result": None, **more}


CALLS: list[tuple[str, Callable[[Client], Any], str, str, Any]] = [
    ("hypervisor_vms", lambda c: c.hypervisor_vms("a b"), "GET", "/v1/hypervisor/vms?vm=a+b", None),
    (
        "hypervisor_vms that wait",
        lambda c: c.hypervisor_vms(clone_pending=True),
        "GET",
        "/v1/hypervisor/vms?clone_pending=true",
        None,
    ),
    ("vms", lambda c: c.vms(["a", "b"]), "GET", "/v1/vms?vm=a&vm=b&limit=1000", None),
    (
        "vms filtered",
        lambda c: c.vms(filters=["days_left<=45", "link=inactive"], sort="-days_left", vm_info=False),
        "GET",
        "/v1/vms?filter=days_left%3C%3D45&filter=link%3Dinactive&sort=-days_left&vm_info=false&limit=1000",
        None,
    ),
    ("vm", lambda c: c.vm("a/b ü"), "GET", "/v1/vms/a%2Fb%20%C3%BC", None),
    (
        "enable",
        lambda c: c.enable("a", {"vss_snapshot": True}),
        "PUT",
        "/v1/vms/a",
        {"capabilities": {"vss_snapshot": True}},
    ),
    ("disable", lambda c: c.disable("a"), "DELETE", "/v1/vms/a", None),
    (
        "mount",
        lambda c: c.mount("a", "me", 60, holder_is_dead="he"),
        "POST",
        "/v1/vms/a/mount",
        {"holder": "me", "lease_seconds": 60, "config_only": False, "holder_is_dead": "he"},
    ),
    ("eject", lambda c: c.eject("a", "me", force=True), "POST", "/v1/vms/a/eject", {"holder": "me", "force": True}),
    ("task", lambda c: c.task("t1", wait=5), "GET", "/v1/tasks/t1?wait=5", None),
    ("tasks", lambda c: c.tasks("a"), "GET", "/v1/tasks?vm=a", None),
    (
        "issue_batch",
        lambda c: c.issue_batch([{"vm_uuid": "u"}]),
        "POST",
        "/v1/certificates/batch",
        {"items": [{"vm_uuid": "u"}]},
    ),
    ("ca", lambda c: c.ca(), "GET", "/v1/ca", None),
    ("payload", lambda c: c.payload(), "GET", "/v1/payload", None),
    ("adopt", lambda c: c.adopt(["{}"]), "POST", "/v1/ca/adopt", {"lines": ["{}"]}),
    ("health", lambda c: c.health(), "GET", "/v1/health", None),
    ("run_health", lambda c: c.run_health(["x"]), "POST", "/v1/health/run", {"checks": ["x"]}),
    ("health_report", lambda c: c.health_report("t1"), "GET", "/v1/health/report?task_id=t1&format=json", None),
    ("health_text", lambda c: c.health_text(), "GET", "/v1/health/report?format=text", None),
    ("health_checks", lambda c: c.health_checks(), "GET", "/v1/health/checks", None),
    (
        "set_health_check",
        lambda c: c.set_health_check("x", enabled=False, thresholds={"warn_days": 30, "info_days": None}),
        "PUT",
        "/v1/health/checks/x",
        {"enabled": False, "thresholds": {"warn_days": 30, "info_days": None}},
    ),
    (
        "health_history",
        lambda c: c.health_history(["x"], ["a"], days=3),
        "GET",
        "/v1/health/history?check=x&vm=a&days=3",
        None,
    ),
    (
        "health_alerts",
        lambda c: c.health_alerts(["raised"], vm="a"),
        "GET",
        "/v1/health/alerts?state=raised&vm=a",
        None,
    ),
    (
        "acknowledge_alert",
        lambda c: c.acknowledge_alert("a1", "on it"),
        "POST",
        "/v1/health/alerts/a1/acknowledge",
        {"note": "on it"},
    ),
    ("audit", lambda c: list(c.audit(7)), "GET", "/v1/audit?after=7", None),
    ("tokens", lambda c: c.tokens(), "GET", "/v1/tokens", None),
    ("create_token", lambda c: c.create_token("ci", "viewer"), "POST", "/v1/tokens", {"name": "ci", "role": "viewer"}),
    ("delete_token", lambda c: c.delete_token("ci"), "DELETE", "/v1/tokens/ci", None),
]


@pytest.mark.parametrize(("call", "method", "path", "body"), [c[1:] for c in CALLS], ids=[c[0] for c in CALLS])
def test_each_method_is_one_call_of_the_api(
    service: PreparedService, call: Callable[[Client], Any], method: str, path: str, body: Any
) -> None:
    service.replies = [(200, {"items": [], "checks": [], "days": []}, {})]
    call(service.client())
    [seen] = service.seen
    assert (seen.method, seen.path, seen.body) == (method, path, body)
    assert seen.headers["Authorization"] == f"Bearer {TOKEN}"
    assert ("Idempotency-Key" in seen.headers) == (method in ("POST", "DELETE"))


def test_every_page_of_a_list_is_read(service: PreparedService) -> None:
    service.replies = [
        (200, {"items": [{"vm_name": "a"}], "next_page_token": "p2"}, {}),
        (200, {"items": [{"vm_name": "b"}], "next_page_token": None}, {}),
    ]
    assert [vm["vm_name"] for vm in service.client().vms()] == ["a", "b"]
    assert [seen.path for seen in service.seen] == ["/v1/vms?limit=1000", "/v1/vms?limit=1000&page_token=p2"]


def test_audit_is_read_until_nothing_follows(service: PreparedService) -> None:
    service.replies = [(200, {"items": [{"sequence": 1}, {"sequence": 2}]}, {}), (200, {"items": []}, {})]
    assert [row["sequence"] for row in service.client().audit()] == [1, 2]
    assert [seen.path for seen in service.seen] == ["/v1/audit?after=0", "/v1/audit?after=2"]


@pytest.mark.parametrize(
    "first", [None, (503, b"busy", {}), (429, {}, {"Retry-After": "0"})], ids=["lost", "503", "429"]
)
def test_a_repeated_post_keeps_its_idempotency_key(service: PreparedService, first: Reply | None) -> None:
    service.replies = [first, (202, a_task("queued"), {})]
    client = service.client()
    assert client.mount("a", "me", 60)["task_id"] == "t1"
    client.eject("a", "me")
    keys = [seen.headers["Idempotency-Key"] for seen in service.seen]
    assert keys[0] == keys[1] != keys[2]


def test_a_token_is_never_asked_for_twice(service: PreparedService) -> None:
    service.replies = [None]
    assert error_of(lambda: service.client().create_token("ci", "viewer")).code == "ENDPOINT_UNREACHABLE"
    assert len(service.seen) == 1


def test_repeating_ends(service: PreparedService) -> None:
    service.replies = [None]
    error = error_of(lambda: service.client().ca())
    assert error.code == "ENDPOINT_UNREACHABLE"
    assert 1 < len(service.seen) < 10


def test_a_wait_longer_than_the_timeout_is_not_begun(service: PreparedService) -> None:
    busy = {"error": {"code": "RATE_LIMITED", "message": "too many", "remedy": "wait", "details": {}}}
    service.replies = [(429, busy, {"Retry-After": "3600"})]
    error = error_of(lambda: service.client().ca())
    assert (error.code, len(service.seen)) == ("RATE_LIMITED", 1)


def test_the_services_error_arrives_whole(service: PreparedService) -> None:
    sent = {
        "code": "VM_BUSY",
        "message": "held",
        "remedy": "wait for it",
        "details": {"holder": "root@a pid 1"},
        "request_id": "r1",
    }
    service.replies = [(409, {"error": sent}, {})]
    error = error_of(lambda: service.client().vm("a"))
    assert (error.code, error.message, error.remedy) == ("VM_BUSY", "held", "wait for it")
    assert error.details == {"holder": "root@a pid 1", "request_id": "r1"}


def test_a_code_of_a_newer_service_is_kept(service: PreparedService) -> None:
    service.replies = [(409, {"error": {"code": "FROM_THE_FUTURE", "message": "m", "remedy": "r"}}, {})]
    assert error_of(lambda: service.client().ca()).code == "FROM_THE_FUTURE"


@pytest.mark.parametrize(
    "reply",
    [
        (502, b"<html><h1>502 Bad Gateway</h1></html>", {}),
        (200, b"<html>hello</html>", {}),
        (200, b"[1]", {}),
        (200, b"\xff\xfe", {}),
        (500, {"detail": "x"}, {}),
        (302, b"", {"Location": "https://elsewhere.example/"}),
        (200, b"", {}),
    ],
    ids=["html-502", "html-200", "list", "no-utf8", "other-json", "redirect", "empty"],
)
def test_an_answer_that_is_not_the_apis_is_named_so(service: PreparedService, reply: Reply) -> None:
    service.replies = [reply]
    error = error_of(lambda: service.client().ca())
    assert error.code == "API_ERROR"
    assert error.details["status"] == reply[0]


def test_a_list_call_refuses_an_answer_without_its_list(service: PreparedService) -> None:
    assert error_of(lambda: service.client().vms()).code == "API_ERROR"


def test_an_untrusted_certificate_is_refused_and_the_ca_file_named(service: PreparedService, tmp_path: Path) -> None:
    make_certificates(tmp_path, x509.DNSName("other.example"))
    other = str(tmp_path / "ca.pem")
    error = error_of(lambda: Client(service.endpoint, TOKEN, other).ca())
    assert error.code == "TLS_NOT_TRUSTED"
    assert other in error.message
    assert service.seen == []


def test_without_ca_file_the_systems_cas_decide(service: PreparedService) -> None:
    error = error_of(lambda: Client(service.endpoint, TOKEN).ca())
    assert error.code == "TLS_NOT_TRUSTED"
    assert "no ca_file" in error.message


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    make_certificates(tmp_path, x509.DNSName("other.example"))
    service = PreparedService(tmp_path)
    try:
        error = error_of(lambda: service.client().ca())
    finally:
        service.stop()
    assert error.code == "TLS_NOT_TRUSTED"
    assert "127.0.0.1" in error.details["reason"]
    assert service.seen == []


def test_nothing_listening_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused for certain
        endpoint = f"https://127.0.0.1:{taken.getsockname()[1]}"
        error = error_of(lambda: Client(endpoint, TOKEN, pause=lambda _: None).ca())
    assert error.code == "ENDPOINT_UNREACHABLE"
    assert endpoint in error.message


def test_a_server_that_speaks_no_tls_is_unreachable() -> None:
    server = QuietServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        endpoint = f"https://127.0.0.1:{server.server_address[1]}"
        assert error_of(lambda: Client(endpoint, TOKEN, pause=lambda _: None).ca()).code == "ENDPOINT_UNREACHABLE"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"https://127.0.0.1:{silent.getsockname()[1]}"
        assert error_of(lambda: Client(endpoint, TOKEN, timeout=0.2).ca()).code == "ENDPOINT_UNREACHABLE"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://192.0.2.1:2073",
        "192.0.2.1:2073",
        "",
        "https://",
        "https://user:secret@host",
        "https://host:99999",
        "https://host?x=1",
        "https://host#x",
        "https://ho\nst",
        "https://a..b",
        "ftp://host",
    ],
)
def test_an_endpoint_must_be_a_plain_https_url(endpoint: str) -> None:
    error = error_of(lambda: Client(endpoint, TOKEN))
    assert error.code == "INVALID_INPUT"
    assert "endpoint" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize("token", ["", "two words", "line\n", "ünicode", "x\r\nHost: evil"])
def test_an_unusable_token_is_refused_before_anything_is_sent(token: str) -> None:
    error = error_of(lambda: Client("https://host", token))
    assert error.code == "AUTHENTICATION_FAILED"
    assert not token or token not in error.message


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "not-pem"])
def test_an_unusable_ca_file_is_named(tmp_path: Path, content: str | None) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)
    error = error_of(lambda: Client("https://host", TOKEN, str(ca_file)))
    assert error.code == "INVALID_INPUT"
    assert str(ca_file) in error.message


def test_repr_shows_where_and_not_the_token() -> None:
    assert repr(Client("https://host:2073/api/", TOKEN)) == "Client('https://host:2073/api')"


def test_a_path_prefix_is_kept(service: PreparedService) -> None:
    with Client(service.endpoint + "/openngt/", TOKEN, service.ca_file) as client:
        client.ca()
    assert service.seen[0].path == "/openngt/v1/ca"


def test_waiting_reports_each_change_and_returns_the_finished_task(service: PreparedService) -> None:
    done = a_task("succeeded", progress=100, step="done", result={"drive": "cd0"})
    service.replies = [
        (200, a_task("running", progress=40), {}),
        (200, a_task("running", progress=40), {}),
        (200, done, {}),
    ]
    reported: list[tuple[int, str]] = []
    finished = service.client().wait_task(
        a_task("queued"), 60, lambda task: reported.append((task["progress"], task["step"]))
    )
    assert finished["result"] == {"drive": "cd0"}
    assert reported == [(0, "issue"), (40, "issue"), (100, "done")]
    assert service.seen[0].path == "/v1/tasks/t1?wait=2"


def test_a_finished_task_is_not_asked_for_again(service: PreparedService) -> None:
    assert service.client().wait_task(a_task("succeeded"), 0)["state"] == "succeeded"
    assert service.seen == []


def test_a_failed_task_raises_its_own_error(service: PreparedService) -> None:
    inner = {"code": "NO_EMPTY_DRIVE", "message": "all full", "remedy": "empty one", "details": {"drives": []}}
    error = error_of(lambda: service.client().wait_task(a_task("failed", error=inner), 5))
    assert (error.code, error.message, error.remedy) == ("NO_EMPTY_DRIVE", "all full", "empty one")
    assert error.details == {"drives": [], "task_id": "t1"}


def test_an_interrupted_task_without_error_is_task_failed(service: PreparedService) -> None:
    error = error_of(lambda: service.client().wait_task(a_task("interrupted"), 5))
    assert error.code == "TASK_FAILED"
    assert "interrupted" in error.message


def test_threads_that_share_a_client_get_each_its_own_answer(service: PreparedService) -> None:
    service.replies = [(200, a_task("running"), {})]

    def ask_often(number: int) -> list[str]:
        return [client.task(f"{number}-{turn}")["task_id"] for turn in range(50)]

    with service.client() as client, ThreadPoolExecutor(4) as pool:
        assert sum(len(answers) for answers in pool.map(ask_often, range(4))) == 200
    assert len({seen.path for seen in service.seen}) == len(service.seen) == 200, "no call had to be repeated"


def test_a_call_whose_time_passes_in_another_threads_turn_says_so(service: PreparedService) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(_seconds: float) -> None:
        begun.set()
        assert go_on.wait(PATIENCE_SECONDS)

    transport = Transport(parse_endpoint(service.endpoint), service.ca_file, wait)
    with transport.turn, ThreadPoolExecutor(1) as pool:
        late = pool.submit(transport.send, Request("GET", "/v1/ca", {}, None, repeatable=False), 0.05)
        error = late.exception(30)
    assert isinstance(error, OpenNGTError) and error.code == "ENDPOINT_UNREACHABLE"
    assert "other threads" in error.message


def test_a_task_that_takes_too_long_is_left_running(service: PreparedService) -> None:
    service.replies = [(200, a_task("running"), {})]
    error = error_of(lambda: service.client().wait_task(a_task("queued"), 0.05))
    assert error.code == "TASK_TIMED_OUT"
    assert error.details["task"]["task_id"] == "t1"


def test_waiting_outlives_a_restart_of_the_service(service: PreparedService) -> None:
    service.replies = [None] * 6 + [(200, a_task("succeeded"), {})]
    assert service.client().wait_task(a_task("running"), 60)["state"] == "succeeded"


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
def test_a_time_that_nothing_can_be_done_in_is_named(timeout: float) -> None:
    error = error_of(lambda: Client("https://192.0.2.1:2073", TOKEN, timeout=timeout))
    assert error.code == "INVALID_INPUT" and error.message.startswith("timeout: ")
