# SPDX-License-Identifier: GPL-3.0-or-later
"""The OpenAPI document is the truth: generated requests, good and bad, get only answers that it describes."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.fakes.raw_http import call
from tests.fakes.service import ServiceProcess

from openngt_service.api.access import OPEN_CALLS, RULES

EXAMPLES = 12
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
VM = "6f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("service"))
    running.hypervisor.add(VM, "web01", {"cd0": None})
    running.start()
    running.client().enable(VM)
    yield running
    assert running.stop() == 0


def document(service: ServiceProcess) -> dict[str, Any]:
    status, found = call(service, "GET", "/openapi.json")
    assert status == 200
    return dict(found)


def test_the_document_names_every_call_its_token_and_its_errors(service: ServiceProcess) -> None:
    described = document(service)
    calls = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert calls == set(RULES) | {("GET", path) for path in OPEN_CALLS - {"/openapi.json"}}
    for method, path in RULES:
        operation = described["paths"][path][method.lower()]
        assert operation["security"] == [{"HTTPBearer": []}]
        error = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert error == {"$ref": "#/components/schemas/ErrorAnswer"}


@pytest.mark.slow
def test_generated_requests_get_only_described_answers(service: ServiceProcess) -> None:
    schema = schemathesis.openapi.from_dict(document(service))
    tried = 0
    for found in schema.get_all_operations():
        tried += 1

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=found.ok().as_strategy())
        def exercise(case: schemathesis.Case) -> None:
            case.call_and_validate(
                base_url=service.endpoint,
                headers={"Authorization": f"Bearer {service.token}"},
                verify=service.ca_file,
                checks=CHECKS,
                timeout=40,
            )

        exercise()
    assert tried == len(RULES) + len(OPEN_CALLS) - 1
