"""What every request passes: the name of the server, origins, proofs, roles, sizes and headers, whatever the route."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from asgi import ask
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.types import Message

from overread.errors import ConfigError
from overread.web import Site, make_app, open_site
from overread.web.guards import BODY_LIMIT
from overread.web.names import is_loopback, names_of
from overread.web.people import set_reader
from overread.web.session import signed_in, signed_in_owner

HOME = "http://127.0.0.1:8000"
# What a page needs before anybody has signed in.  A new route does not belong here without a reason.
OPEN_TO_STRANGERS = {("GET", "/api/about"), ("GET", "/api/readers"), ("POST", "/api/session")}

Visit = Callable[[str], TestClient]


class Route(NamedTuple):
    method: str
    path: str
    dependencies: set[Any]


def routes(app: FastAPI) -> list[Route]:
    """Every route of the API with all that it depends on."""
    found = []
    for route in routes_below(app.routes):
        if route.path.startswith("/api"):
            needed, waiting = set(), [route.dependant]
            while waiting:
                dependant = waiting.pop()
                needed.add(dependant.call)
                waiting += dependant.dependencies
            found += [Route(method, route.path, needed) for method in sorted(route.methods or ())]
    return found


def routes_below(parts: Any) -> Iterator[APIRoute]:
    for part in parts:
        if isinstance(part, APIRoute):
            yield part
        else:
            yield from routes_below(getattr(getattr(part, "original_router", part), "routes", None) or ())


def filled(path: str) -> str:
    return path.replace("{item}", "AAAA").replace("{", "").replace("}", "")


@pytest.fixture(name="client")
def fixture_client(visit: Visit) -> TestClient:
    return visit("ada")


@pytest.fixture(name="stranger")
def fixture_stranger(site: Site) -> Iterator[TestClient]:
    with TestClient(make_app(site), base_url=HOME) as client:
        yield client


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# Sessions and roles


def test_the_list_of_routes_is_that_of_the_schema(site: Site) -> None:
    app = make_app(site)
    described = {(method.upper(), path) for path, each in app.openapi()["paths"].items() for method in each}
    assert {(route.method, route.path) for route in routes(app)} == described
    assert len(described) >= 9


def test_every_route_demands_a_session_but_those_that_are_listed(site: Site, stranger: TestClient) -> None:
    for route in routes(make_app(site)):
        is_open = (route.method, route.path) in OPEN_TO_STRANGERS
        assert (signed_in in route.dependencies) != is_open, route
        answer = stranger.request(route.method, filled(route.path), json={} if route.method != "GET" else None)
        assert (answer.status_code == 401) != is_open, (route, answer.text)


def test_a_reader_comes_nowhere_where_only_owners_may(study: Any) -> None:
    with open_site(study, log_in=True) as site:
        set_reader(site.store, "ben", None, "battery staple")
        app = make_app(site)
        with TestClient(app, base_url=HOME) as client:
            signed = client.post("/api/session", json={"name": "ben", "password": "battery staple"}).json()
            assert signed["role"] == "reader"
            client.headers["X-Overread-Proof"] = signed["proof"]
            for route in routes(app):
                if route.path == "/api/session":
                    continue
                answer = client.request(route.method, filled(route.path), json={} if route.method != "GET" else None)
                assert (answer.status_code == 403) == (signed_in_owner in route.dependencies), (route, answer.text)
            # Nor can he say that he is one.
            body = {"name": "ben", "password": "battery staple", "role": "owner"}
            assert client.post("/api/session", json=body).json()["role"] == "reader"


# Proof and origin


def test_nothing_changes_without_the_proof_of_this_session(site: Site, visit: Visit) -> None:
    ada, ben = visit("ada"), visit("ben")
    proof = ada.headers.pop("X-Overread-Proof")
    wrong = [None, "", "x", proof[:-1], proof + "0", proof.upper(), "é", ben.headers["X-Overread-Proof"]]
    for route in routes(make_app(site)):
        if route.method in ("GET", "HEAD") or (route.method, route.path) in OPEN_TO_STRANGERS:
            continue
        for given in wrong:
            headers = [] if given is None else [(b"X-Overread-Proof", given.encode())]
            answer = ada.request(route.method, filled(route.path), json={}, headers=headers)
            assert refused(answer) == (403, "proof"), (route, given)
    for method in ("PUT", "PATCH", "OPTIONS", "TRACE", "PURGE"):
        assert refused(ada.request(method, "/api/work")) == (403, "proof")
    assert ada.post("/api/work", json={}, headers={"X-Overread-Proof": proof}).status_code == 200
    assert site.store.progress(1).answered == 0


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:8001"},
    {"Origin": "https://127.0.0.1:8000"},
    {"Origin": "http://127.0.0.1:8000.evil.example"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": HOME, "Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_server_changes_nothing_and_signs_nobody_in(
    client: TestClient, stranger: TestClient, headers: dict[str, str]
) -> None:
    assert refused(client.post("/api/work", json={}, headers=headers)) == (403, "origin")
    answer = stranger.post("/api/session", json={"name": "mallory"}, headers=headers)
    assert refused(answer) == (403, "origin")
    assert "set-cookie" not in answer.headers
    if "Sec-Fetch-Site" in headers:
        assert refused(client.get("/api/session", headers=headers)) == (403, "origin")


def test_the_own_page_may(client: TestClient) -> None:
    for headers in ({"Origin": HOME}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": HOME, "Sec-Fetch-Site": "none"}):
        assert client.post("/api/work", json={}, headers=headers).status_code == 200
    # Nobody's page; links from elsewhere lead to it.
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_forms_of_other_pages_are_no_requests(client: TestClient) -> None:
    proof = {"X-Overread-Proof": client.headers["X-Overread-Proof"]}
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post("/api/undo", content=b'{"client_id": 1}', headers={**proof, "Content-Type": kind})
        assert answer.status_code == 422


# The name of the server


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "evil.example:80", "[::1", "a b"]
)
def test_a_foreign_name_gets_no_answer(stranger: TestClient, host: str) -> None:
    for path in ("/", "/api/about", "/static/index.html"):
        answer = stranger.get(path, headers={"Host": host})
        assert refused(answer) == (400, "host"), path


def test_own_names_do(stranger: TestClient) -> None:
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000", "localhost."):
        assert stranger.get("/api/about", headers={"Host": host}).status_code == 200


def test_the_names_of_a_server() -> None:
    one = names_of("192.0.2.7", ["Study.Example.org"])
    assert [one.answers_to(host) for host in ("192.0.2.7:80", "study.example.org", "192.0.2.8", "0.0.0.0")] == [
        True,
        True,
        False,
        False,
    ]
    every = names_of("0.0.0.0", [])
    assert every.answers_to("192.0.2.8:8000")
    assert every.answers_to("[2001:db8::1]")
    assert not every.answers_to("evil.example")
    assert names_of("2001:db8::1", []).answers_to("[2001:DB8:0::1]:443")
    assert names_of("127.0.0.1", ["praxis-müller.example"]).answers_to("xn--praxis-mller-klb.example")
    assert names_of("127.0.0.1", ["stra\u00dfe.example"]).answers_to("xn--strae-oqa.example")
    for wrong in (
        "",
        "http://a",
        "a/b",
        "a:80",
        "a b",
        "me@a",
        "a?b",
        "*.example.org",
        "a..b",
        "-a",
        "x" * 64,
        "a." * 150,
    ):
        with pytest.raises(ConfigError, match="public-name"):
            names_of("127.0.0.1", [wrong])
    assert [is_loopback(address) for address in ("127.3.2.1", "::1", "0.0.0.0", "192.0.2.1", "name")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_behind_a_proxy_with_tls(study: Any) -> None:
    with open_site(study, log_in=True, https=True, public_names=["study.example.org"]) as site:
        set_reader(site.store, "ada", "owner", "correct horse")
        app = make_app(site)
        who = {"name": "ada", "password": "correct horse"}
        # A proxy that hands the name on, and one that puts the address of this server in its place.
        for base in ("http://study.example.org", "http://127.0.0.1:8000"):
            with TestClient(app, base_url=base) as client:
                for origin, status in (
                    ("https://study.example.org", 200),
                    ("http://study.example.org", 403),
                    ("https://evil.example", 403),
                ):
                    headers = {"Origin": origin, "X-Forwarded-For": "192.0.2.1"}
                    assert client.post("/api/session", json=who, headers=headers).status_code == status, (base, origin)


def test_without_log_in_nothing_comes_through_a_proxy(client: TestClient) -> None:
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host"):
        assert refused(client.get("/api/session", headers={header: "192.0.2.1"})) == (403, "proxy")


# Sizes and headers


def test_a_body_that_is_too_large_is_not_read(client: TestClient, stranger: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(BODY_LIMIT // 1024 + 1):
            yield b" " * 1024

    for path in ("/api/reads", "/api/session", "/api/nothing", "/static/x", "/"):
        assert refused(client.post(path, content=b"x" * (BODY_LIMIT + 1))) == (413, "too-large"), path
        # Without a Content-Length.
        assert refused(client.post(path, content=pieces())) == (413, "too-large"), path
    spaces = b" " * (BODY_LIMIT - 20) + b'{"images": 1}'
    assert client.post("/api/work", content=spaces, headers={"Content-Type": "application/json"}).status_code == 200


def test_no_more_than_the_limit_is_ever_taken(site: Site) -> None:
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1000
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"10")]
    sent = ask(make_app(site), receive, {"method": "POST", "path": "/api/session", "headers": headers})
    assert sent[0]["status"] == 413
    assert taken <= BODY_LIMIT + 1000


def test_every_answer_has_the_headers(client: TestClient, stranger: TestClient) -> None:
    answers = [
        client.get("/"),
        client.get("/static/index.html"),
        client.get("/static/nothing"),
        client.get("/api/session"),
        client.get("/api/nothing"),
        client.post("/api/work", json={"images": "x"}),
        client.post("/api/work", content=b"x" * 100_000),
        client.get("/", headers={"Host": "evil.example"}),
        stranger.get("/api/session"),
    ]
    assert {answer.status_code for answer in answers} == {200, 400, 401, 404, 413, 422}
    for answer in answers:
        headers = answer.headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' blob:",
            "connect-src": "'self'",
            "manifest-src": "'self'",
            "frame-ancestors": "'none'",
            "base-uri": "'none'",
            "form-action": "'self'",
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert headers["cache-control"] == ("no-store" if answer.request.url.path.startswith("/api") else "no-cache")


# Failures that nobody expects


def test_what_fails_unexpectedly_says_nothing_outside_and_where_it_was_inside(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app(site)
    # Not in the line that fails, which the log may show.
    written = "what a reader wrote"

    @app.get("/api/broken")
    def broken() -> None:
        raise ValueError(written)

    with TestClient(app, base_url=HOME) as client:
        answer = client.get("/api/broken?comment=secret")
    assert refused(answer) == (500, "internal")
    assert "ValueError" not in answer.text
    assert "what a reader wrote" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "nosniff" in answer.headers["x-content-type-options"]
    said = capsys.readouterr().err
    assert "GET '/api/broken' failed: ValueError" in said
    assert "in broken" in said
    assert "what a reader wrote" not in said
    assert "secret" not in said


def test_half_an_answer_that_fails_breaks_off(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    app = make_app(site)

    @app.get("/api/broken")
    def broken() -> StreamingResponse:
        def pieces() -> Iterator[bytes]:
            yield b"x"
            raise ValueError("late")

        return StreamingResponse(pieces())

    with TestClient(app, base_url=HOME) as client, pytest.raises(ValueError, match="late"):
        client.get("/api/broken")
    assert "ValueError" in capsys.readouterr().err
