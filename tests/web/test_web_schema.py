"""The description of the API against the API: requests made from it, and answers that are as it says."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from overread.web import make_app, open_site
from overread.web.people import set_reader

EXAMPLES = 20
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SIGN_IN = "POST /api/session"


@pytest.mark.parametrize("log_in", [False, True], ids=["open", "log-in"])
def test_no_request_that_the_schema_allows_or_forbids_fails_and_answers_are_as_it_says(
    study: Path, log_in: bool
) -> None:
    seen = defaultdict[str, set[int]](set)
    with open_site(study, log_in=log_in) as site:
        set_reader(site.store, "ada", "owner", "correct horse")
        app = make_app(site)
        schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers={"Host": "127.0.0.1"})
        with TestClient(app, base_url="http://127.0.0.1") as client:
            signed = client.post("/api/session", json={"name": "ada", "password": "correct horse"}).json()
            session = client.cookies[site.tokens.cookie]

        def check(case: Any) -> None:
            own = {"Host": "127.0.0.1", "X-Overread-Proof": signed["proof"]}
            answer = case.call(headers={**(case.headers or {}), **own}, cookies={site.tokens.cookie: session})
            seen[case.operation.label].add(answer.status_code)
            case.validate_response(answer, checks=CHECKS)

        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            # Signing out would end the session of all others; guesses at passwords cost a hash each, and then wait.
            if operation.label == "DELETE /api/session" or (log_in and operation.label == SIGN_IN):
                continue
            modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if operation.body else [])]
            for mode in modes:
                settings(
                    max_examples=EXAMPLES,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )(given(case=operation.as_strategy(generation_mode=mode))(check))()
    assert {"POST /api/reads", "POST /api/undo", "GET /api/about"} <= seen.keys()
    for label in ("POST /api/work", "GET /api/session", "GET /api/progress"):
        assert 200 in seen[label], seen
    assert 401 not in set().union(*seen.values())
