"""schemathesis: requests that the API's own description allows, and others, to every address that it lists."""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from rrwkv_server import Limits, Settings, create_app

CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance),
    negative_data_rejection,
]
schema = schemathesis.pytest.from_fixture("api")


@pytest.fixture(scope="module")
def api(conformance_model):
    app = create_app(conformance_model, Settings("bundle", limits=Limits(written_tokens=8)))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.slow
@schema.parametrize()
@hypothesis.settings(max_examples=300, deadline=None)
def test_every_answer_is_one_that_is_described(case):
    case.call_and_validate(checks=CHECKS)
