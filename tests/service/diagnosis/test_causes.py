# SPDX-License-Identifier: GPL-3.0-or-later
"""Each cause that needs no VM is made for real, and named correctly: by the service alone where it can, or by both."""

import datetime
import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openngt import effects
from openngt.agent import service as agent_service
from openngt.client import Client
from openngt.diagnosis.decide import decide
from openngt.errors import OpenNGTError
from openngt.pki.authority import create_authority
from openngt.pki.ensure_certificate import CertificateOrder, ensure_certificate

from .conftest import Case, eventually

CaseOn = Callable[..., Case]
DAY = datetime.timedelta(days=1)


def issued_elsewhere(case: Case, folder: Path, *, days_ago: int = 0, life: int = 1000) -> str:
    """A certificate that the CA in `folder` has signed without the service."""
    path = case.guest.paths.at("issued.pem")
    order = CertificateOrder(folder, Path(path), case.vm_uuid, case.name, validity_days=life, threshold_days=0)
    ensure_certificate(order, check=False, now=effects.now() - days_ago * DAY)
    return Path(path).read_text(encoding="ascii")


# Nothing is wrong


def test_a_link_that_is_active_has_no_cause(case: Case) -> None:
    case.link()
    for found in (case.by_service(), case.by_both()):
        assert (found["cause"], found["link_active"], found["also"]) == ("LINK_ACTIVE", True, [])
    assert not [check for check in case.by_both()["checks"] if check["state"] == "failed"]


# By the service alone


@pytest.mark.parametrize(("state", "cause"), [("off", "VM_POWERED_OFF"), ("paused", "VM_PAUSED")])
def test_a_vm_that_does_not_run(case: Case, state: str, cause: str) -> None:
    case.link()
    case.guest.stop()
    case.service.hypervisor.set_power(case.vm_uuid, state)
    case.ended()
    assert case.by_service()["cause"] == cause


def test_a_vm_that_the_hypervisor_has_no_more(case: Case) -> None:
    case.enable()
    case.service.hypervisor.remove(case.vm_uuid)
    assert case.by_service()["cause"] == "VM_GONE"


def test_a_vm_that_is_not_enrolled_is_found_by_its_name(case: Case) -> None:
    found = case.client.diagnosis(case.name)
    assert (found["cause"], found["vm_uuid"]) == ("NOT_ENROLLED", case.vm_uuid)
    assert "openngt.guest_tools.install" in found["remedy"]


def test_a_vm_that_nobody_knows_is_an_error(case: Case) -> None:
    with pytest.raises(OpenNGTError) as caught:
        case.client.diagnosis(str(uuid.uuid4()))
    assert caught.value.code == "VM_NOT_FOUND"


def test_a_vm_for_which_nothing_was_ever_issued_has_no_agent(case: Case) -> None:
    case.enable()
    assert case.by_service()["cause"] == "AGENT_NOT_INSTALLED"


def test_a_disc_that_nobody_reads(case: Case) -> None:
    case.enable()
    task = case.client.wait_task(case.client.mount(case.vm_uuid, "a test", 600), 60)
    found = case.by_service()
    assert found["cause"] == "DISC_WAITING"
    assert f"generation {task['result']['generation']}" in found["message"] and "cd0" in found["evidence"][0]


def test_a_link_that_ended_this_moment(case: Case) -> None:
    case.link()
    case.guest.stop()
    case.ended()
    assert case.by_service()["cause"] == "LINK_JUST_LOST"
    assert case.by_both()["cause"] == "AGENT_STOPPED", "the guest knows better"


def test_what_the_service_cannot_tell_is_not_known_and_the_checks_not_made_are_named(case_on: CaseOn) -> None:
    case = case_on()
    case.link()
    case.guest.stop()
    case.ended()
    case.service.stop()
    case.service.start()
    case.client = case.service.client()
    found = case.by_service()
    assert found["cause"] == "NOT_KNOWN" and "openngt.guest_tools.diagnose" in found["remedy"]
    missing = {check["name"] for check in found["checks"] if check["state"] == "not_made"}
    assert {"agent_running", "clock", "gateway_reached", "identity", "other_tools"} <= missing
    unreachable = decide(found["service_saw"], {"error": {"code": "GUEST_UNREACHABLE", "message": "no route to host"}})
    assert unreachable["cause"] == "NOT_KNOWN" and "no route to host" in unreachable["message"]


# Certificates, by what both sides show


def test_a_revoked_certificate(case: Case) -> None:
    case.link()
    case.client.disable(case.vm_uuid)
    case.enable()
    case.agent_says("LINK_REFUSED")
    eventually(lambda: case.by_service()["cause"] == "CERTIFICATE_REVOKED", case.by_service)
    assert case.by_both()["cause"] == "CERTIFICATE_REVOKED"


def test_a_retired_certificate(case: Case, tmp_path: Path) -> None:
    case.link()
    old = case.issue()
    case.guest.stop()
    case.ended()
    case.issue()  # retires the one above before it was used
    case.give(old)
    case.guest.start()
    case.agent_says("LINK_REFUSED")
    eventually(lambda: case.by_service()["cause"] == "CERTIFICATE_RETIRED", case.by_service)
    assert case.by_both()["cause"] == "CERTIFICATE_RETIRED"


def test_an_expired_certificate(case: Case) -> None:
    ca = case.service.state_dir / "ca"
    client_pem = issued_elsewhere(case, ca, days_ago=20, life=10)
    lines = (ca / "issued.jsonl").read_text(encoding="utf-8").splitlines()
    case.client.adopt(lines)
    case.give(client_pem)
    case.guest.start()
    case.agent_says("LINK_REFUSED")
    for found in (case.by_service(), case.by_both()):
        assert found["cause"] == "CERTIFICATE_EXPIRED"
    assert "install" in found["remedy"]


def test_a_certificate_of_our_ca_that_the_ledger_does_not_know(case: Case) -> None:
    case.enable()
    case.issue()
    case.give(issued_elsewhere(case, case.service.state_dir / "ca"))
    case.guest.start()
    case.agent_says("LINK_REFUSED")
    assert case.by_both()["cause"] == "CERTIFICATE_UNKNOWN"
    assert case.by_service()["cause"] == "NOT_KNOWN", "whose an unknown serial is, the service cannot tell"


def test_an_agent_of_another_cluster(case: Case, tmp_path: Path) -> None:
    case.link()
    case.guest.stop()
    authority = create_authority(tmp_path / "other", common_name="another", now=effects.now())
    theirs = {
        **case.client.ca(),
        "ca_pem": authority.certificate_pem.decode(),
        "ca_sha256": authority.ca_sha256,
    }
    client_pem = issued_elsewhere(case, tmp_path / "other")
    guest = case.guest
    Path(guest.paths.identity).unlink()
    guest.give(client_pem, theirs, host="127.0.0.1", port=case.service.gateway_port)
    guest.start()
    case.agent_says("TLS_NOT_TRUSTED")
    found = case.by_both()
    assert found["cause"] == "CA_DIFFERS" and authority.ca_sha256 in " ".join(found["evidence"])
    eventually(lambda: bool(case.by_service()["service_saw"]["strangers"]), case.by_service)


# The way to the gateway


def test_an_address_that_is_not_the_services(case: Case) -> None:
    case.link()
    case.guest.stop()
    case.give(case.issue(), host="127.0.0.3")
    case.guest.start()
    case.agent_says("ENDPOINT_UNREACHABLE")
    found = case.by_both()
    assert found["cause"] == "GATEWAY_ADDRESS_WRONG"
    assert "127.0.0.3" in found["message"] and any("reached" in text for text in found["evidence"])


def test_a_name_that_does_not_resolve(case_on: CaseOn) -> None:
    case = case_on(cluster_ip="gateway.invalid")
    case.enable()
    case.give(case.issue(), host="gateway.invalid")
    case.guest.start()
    case.agent_says("ENDPOINT_UNREACHABLE")
    assert case.by_both()["cause"] == "GATEWAY_NAME_UNKNOWN"


def test_a_gateway_that_listens_elsewhere(case_on: CaseOn) -> None:
    case = case_on(cluster_ip="127.0.0.2")
    case.enable()
    case.give(case.issue(), host="127.0.0.2")
    case.guest.start()
    case.agent_says("ENDPOINT_UNREACHABLE")
    assert case.by_both()["cause"] == "GATEWAY_NOT_LISTENING"
    # One side's word alone is no proof: the address may be a forwarded one.
    assert case.by_service()["cause"] == "NOT_KNOWN"


def test_a_service_that_is_down(case_on: CaseOn) -> None:
    case = case_on()
    case.link()
    client: Client = case.service.client()
    gateway = {"host": "127.0.0.1", "port": case.service.gateway_port}
    case.service.stop()
    with pytest.raises(OpenNGTError) as caught:
        client.diagnosis(case.vm_uuid)
    case.agent_says("ENDPOINT_UNREACHABLE")
    error = {**caught.value.to_dict()}
    found = decide({"error": error}, case.guest.saw(gateway))
    assert found["cause"] == "SERVICE_UNREACHABLE"
    assert {"enrolled", "power", "certificate"} <= {c["name"] for c in found["checks"] if c["state"] == "not_made"}
    assert decide({"error": error}, None)["cause"] == "SERVICE_UNREACHABLE"


@contextmanager
def another_server(host: str, port: int, certificate: Path) -> Iterator[None]:
    """Something that speaks TLS where the gateway should be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                sock, _ = listener.accept()
                sock.settimeout(5)
                context.wrap_socket(sock, server_side=True).close()
            except OSError:
                continue

    with socket.create_server((host, port)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=serve)
        thread.start()
        yield
        over.set()
        thread.join()


def test_somebody_else_answers_where_the_gateway_should(case_on: CaseOn, tmp_path: Path) -> None:
    case = case_on(cluster_ip="127.0.0.2")
    case.enable()
    case.give(case.issue(), host="127.0.0.2")
    create_authority(tmp_path / "other", common_name="another", now=effects.now())
    issued_elsewhere(case, tmp_path / "other")
    with another_server("127.0.0.2", case.service.gateway_port, Path(case.guest.paths.at("issued.pem"))):
        case.guest.start()
        case.agent_says("TLS_NOT_TRUSTED")
        assert case.by_both()["cause"] == "GATEWAY_NOT_TRUSTED"


# The agent


def test_an_agent_of_another_protocol(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_service, "PROTOCOL", 2)
    case.enable()
    case.give(case.issue())
    case.guest.start()
    case.agent_says("LINK_REFUSED")
    found = case.by_both()
    assert found["cause"] == "PROTOCOL_MISMATCH" and "protocol 1" in found["evidence"][0]


def test_an_identity_that_is_damaged(case: Case) -> None:
    case.link()
    case.guest.stop()
    Path(case.guest.paths.identity).write_text("not an identity\n", encoding="ascii")
    case.guest.start()
    case.agent_says("IDENTITY_INVALID")
    assert case.by_both()["cause"] == "IDENTITY_INVALID"


def test_a_clone_holds_the_identity_of_its_original(case: Case, tmp_path: Path) -> None:
    """The copy of a disk in another VM; the service has enrolled that VM, or not."""
    case.link()
    clone = str(uuid.uuid4())
    case.service.hypervisor.add(clone, f"{case.name}-clone", {"cd0": None})
    case.guest.stop()
    Path(case.guest.paths.at("sys/class/dmi/id/product_uuid")).write_text(clone, encoding="ascii")
    case.guest.start()
    case.agent_says("IDENTITY_INVALID")
    original, case.guest.vm_uuid = case.vm_uuid, clone
    for enrol in (False, True):
        if enrol:
            case.enable()
        found = case.by_both()
        assert found["cause"] == "IDENTITY_OF_ANOTHER_VM"
        assert original in found["message"] and clone in found["message"]


def test_a_host_of_the_inventory_that_is_another_vm(case: Case) -> None:
    case.link()
    found = case.by_both(vm_uuid=str(uuid.uuid4()))
    assert found["cause"] == "HOST_IS_ANOTHER_VM"
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert states["agent_running"] == "not_made", "what another VM's guest says is not told of this one"
