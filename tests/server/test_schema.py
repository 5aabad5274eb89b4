"""schemathesis: requests that the API's own description allows, and others, to every address that it lists."""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from rrwkv_server import Limits, Settings, create_app

pytestmark = pytest.mark.slow
EXAMPLES = 100
ADDRESSES = [
    *(("/v1/chat/completions", "POST"), ("/v1/completions", "POST"), ("/v1/models", "GET")),
    *(("/v1/models/{model}", "GET"), ("/health", "GET"), ("/metrics", "GET")),
]
CHECKS = [
    *(not_a_server_error, checks.status_code_conformance, checks.content_type_conformance),
    *(checks.response_schema_conformance, checks.negative_data_rejection),
]


@pytest.fixture(scope="module")
def api(conformance_model):
    app = create_app(conformance_model, Settings("bundle", limits=Limits(written_tokens=8)))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def test_every_address_is_tried(api):
    assert {(path, method.upper()) for path in api for method in api[path]} == set(ADDRESSES)


def hold(operation, mode, change=lambda case: None):
    """Every answer is as described."""

    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def answers(case):
        change(case)
        case.call_and_validate(checks=CHECKS)

    answers()


@pytest.mark.parametrize(("path", "method"), ADDRESSES)
def test_what_is_allowed_is_answered_as_described(api, path, method):
    def of_this_model(case):
        if isinstance(case.body, dict):
            case.body["model"] = "bundle"

    hold(api[path][method], schemathesis.GenerationMode.POSITIVE, of_this_model)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_what_is_not_allowed_is_refused(api, path):
    hold(api[path]["POST"], schemathesis.GenerationMode.NEGATIVE)
