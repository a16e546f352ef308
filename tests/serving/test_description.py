"""Whatever a client sends by the OpenAPI description, the reply is one that it describes."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi

from reasoner.budget import Budget
from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving.app import BODIES
from reasoner.serving.config import ServerLimits
from tests.serving.running import Server, serving
from tests.sweeps import widths

CHECKS = [
    checks.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(SimulatedEngine(), ServerLimits(max_budget=Budget(samples=16))) as running:
        yield running


@pytest.mark.process
@widths("examples", 20, 500)
def test_every_reply_is_described(server: Server, examples: int) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= BODIES.keys()
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def check(case: schemathesis.Case) -> None:
            case.validate_response(case.call(), checks=CHECKS)

        check()
    assert not server.reports
