"""Requests that nobody means well: paths, ids, texts and numbers.  Answers of 4xx alone."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

import pytest
from asgi import ask
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overread.errors import RunError
from overread.store import Store
from overread.web import Site, make_app, open_site
from overread.web.tokens import Tokens, load_secret

HOME = "http://127.0.0.1:8000"
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"

Visit = Callable[[str], TestClient]


@pytest.fixture(name="client")
def fixture_client(visit: Visit) -> TestClient:
    return visit("ada")


def said(item: str, **changes: Any) -> dict[str, Any]:
    content = {"client_id": str(uuid4()), "round": 1, "item": item, "kind": "label", "label": 1}
    return {**content, **changes}


def first_item(client: TestClient) -> str:
    item: str = client.post("/api/work", json={"images": 1}).json()["tasks"][0]["item"]
    return item


def post(client: TestClient, path: str, text: str | bytes) -> Any:
    return client.post(path, content=text, headers={"Content-Type": "application/json"})


def is_a_refusal(answer: Any) -> bool:
    error = answer.json()["error"]
    return 400 <= answer.status_code < 500 and set(error) == {"code", "message"} and bool(error["message"])


PATHS = [
    "../app.py",
    "..%2fapp.py",
    "%2e%2e/app.py",
    "%2e%2e%2fapp.py",
    "..%5capp.py",
    "....//app.py",
    "%252e%252e%252fapp.py",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "../../../../../../../etc/passwd",
    "..%00/app.py",
    "index.html%00.js",
    "a" * 5000,
    "%ff%fe",
    "%ed%a0%80",
    ".",
    "..",
    "",
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:30])
def test_no_file_but_those_of_the_page_is_sent(stranger: Callable[[str], tuple[int, bytes]], path: str) -> None:
    for prefix in ("/static/", "/", "/api/images/"):
        # `GET /` is the page itself.
        if prefix + path in ("/", "/.", "/.."):
            continue
        status, body = stranger(prefix + path)
        assert 400 <= status < 500, (prefix, status)
        assert b"import" not in body
        assert b"root:" not in body


@pytest.fixture(name="stranger")
def fixture_stranger(site: Site) -> Callable[[str], tuple[int, bytes]]:
    """Status and body of a GET, whose path no client has made better."""
    app = make_app(site)

    def get(path: str) -> tuple[int, bytes]:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {
            "method": "GET",
            # As servers decode it.
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path.encode(),
            "headers": [(b"host", b"127.0.0.1:8000")],
            "client": ("127.0.0.1", 50000),
        }
        sent = ask(app, receive, scope)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    return get


def test_forged_cut_and_foreign_ids_are_no_images(site: Site, client: TestClient) -> None:
    item = first_item(client)
    foreign = Tokens(b"x" * 32).item_id(site.tokens.position(item) or 0)
    # The last character may hold bits that no byte needs.
    wrong = [item[:n] + ("A" if item[n] != "A" else "B") + item[n + 1 :] for n in range(len(item) - 3)]
    wrong += [item[:-4], item[4:], item + "AAAA", foreign, "", "0", "-1", "../..", "é", "\0", "😀", "A" * 64, "A" * 65]
    for each in wrong:
        answer = client.post("/api/reads", json=said(each))
        assert answer.status_code in (404, 422), each
        assert is_a_refusal(answer)
    assert list(site.store.reads_since(0)) == []


def test_an_id_of_an_item_that_does_not_exist_or_is_not_of_the_round(site: Site, client: TestClient) -> None:
    first_item(client)
    for position in (site.store.count_items(), 2**31, 2**63 - 1, 2**64 - 1):
        item = site.tokens.item_id(position)
        for answer in (
            client.post("/api/reads", json=said(item)),
            client.post("/api/undo", json={"client_id": str(uuid4()), "item": item}),
            client.get(f"/api/images/{item}"),
            client.get(f"/api/similar/{item}"),
        ):
            assert answer.status_code == 404, position
            assert is_a_refusal(answer)
            assert "project.db" not in answer.text
    assert list(site.store.reads_since(0)) == []


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_no_text_is_an_id_that_was_never_given(text: str) -> None:
    tokens = Tokens(b"k" * 32)
    try:
        assert tokens.position(text) is None
        assert tokens.content(text, 10) is None
    except UnicodeEncodeError as error:
        raise AssertionError from error


@given(st.integers(0, 2**64 - 1))
def test_ids_lead_back_and_are_the_same_every_time(position: int) -> None:
    tokens, again = Tokens(b"k" * 32), Tokens(b"k" * 32)
    assert again.position(tokens.item_id(position)) == position
    assert again.item_id(position) == tokens.item_id(position)


BODIES = [
    "",
    "{",
    "null",
    "[]",
    '"text"',
    "1",
    "NaN",
    '{"images": NaN}',
    '{"images": Infinity}',
    '{"images": -Infinity}',
    '{"images": 1e400}',
    '{"images": 1e308}',
    '{"images": 3.5}',
    '{"images": ' + "9" * 400 + "}",
    '{"images": ' + "9" * 5000 + "}",
    '{"images": -1}',
    '{"images": "\\ud800"}',
    '{"images": {"a": []}}',
    "[" * 30_000,
    '{"images":' * 6_000,
    b"\xff\xfe{}",
    b"\x00",
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: str(body)[:24])
def test_json_that_is_none_or_says_nothing_that_can_be(client: TestClient, body: str | bytes) -> None:
    for path in ("/api/work", "/api/reads", "/api/undo", "/api/session"):
        assert is_a_refusal(post(client, path, body)), path


ANSWERS = [
    '"seconds": NaN',
    '"seconds": Infinity',
    '"seconds": -1',
    '"seconds": 1e400',
    '"label": 1e308',
    '"label": 99999999999999999999',
    '"label": -1',
    '"label": 3',
    '"label": null',
    '"label": "1\\u0000"',
    '"label": true, "round": 0',
    '"round": 2',
    '"round": 99999999999999999999',
    '"kind": "undo"',
    '"kind": "adjudication"',
    '"kind": "\\ud800"',
    '"comment": "\\u0000"',
    '"comment": "\\ud800"',
    '"comment": "\\udc00\\ud800"',
    '"comment": null',
    '"shown": {"\\ud800": 1}',
    '"shown": {"other": 1}',
    '"shown": {"given": "\\u0000"}',
    '"shown": {"similar": 1e9}',
    '"shown": []',
    '"client_id": "not one"',
    '"client_id": ""',
]


@pytest.mark.parametrize("change", ANSWERS)
def test_answers_that_cannot_be_are_refused_and_nothing_is_stored(site: Site, client: TestClient, change: str) -> None:
    whole = json.dumps(said(first_item(client)))
    answer = post(client, "/api/reads", whole[:-1] + ", " + change + "}")
    assert is_a_refusal(answer), answer.text
    assert list(site.store.reads_since(0)) == []
    assert client.post("/api/reads", json=json.loads(whole)).status_code == 200


@pytest.mark.parametrize("name", ['"\\u0000"', '"\\ud800"', '" "', '"\\n\\t"', "1", "null", "[]", f'"{"x" * 201}"'])
def test_names_that_cannot_be(site: Site, client: TestClient, name: str) -> None:
    assert is_a_refusal(post(client, "/api/session", f'{{"name": {name}}}'))
    assert [reader.name for reader in site.store.readers()] == ["ada"]


def test_headers_and_queries_that_cannot_be(client: TestClient) -> None:
    for value in (b"\xff\xfe", b"a" * 60_000, b"overread=\xe9; ;;=;", b'"'):
        assert client.get("/api/about", headers=[(b"Cookie", value)]).status_code == 200
        assert client.get("/api/progress", headers=[(b"Cookie", value)]).status_code == 401
    assert client.get("/api/progress?a=%00&a=%ff&" + "b" * 10_000).status_code == 200


# Texts of people come back as texts


@pytest.fixture(name="scripted")
def fixture_scripted(study: Path, tmp_path: Path) -> Iterator[Site]:
    """A site whose folder and classes are called like scripts."""
    folder = study.rename(tmp_path / SCRIPT.replace("/", "|"))
    with Store.create(tmp_path / "other.db", [SCRIPT, "b", "c"]) as store, open_site(folder) as site:
        yield site._replace(store=_with_classes(site.store, store.classes))


def _with_classes(store: Store, classes: tuple[str, ...]) -> Store:
    store.classes = classes
    return store


def test_script_in_names_is_text_in_json(scripted: Site) -> None:
    with TestClient(make_app(scripted), base_url=HOME) as client:
        signed = client.post("/api/session", json={"name": SCRIPT})
        client.headers["X-Overread-Proof"] = signed.json()["proof"]
        about, names, me = (client.get(f"/api/{path}") for path in ("about", "readers", "session"))
        assert about.json()["classes"][0] == SCRIPT
        assert names.json() == [SCRIPT]
        assert me.json()["name"] == SCRIPT
        item = first_item(client)
        read = client.post("/api/reads", json=said(item, comment=SCRIPT))
        strange = client.post("/api/reads", json=said(item, kind=SCRIPT))
        nothing = client.get(f"/api/{SCRIPT}")
        shown = client.post("/api/reads", json=said(item, shown={SCRIPT: 1}))
        for answer in (signed, about, names, me, read, strange, nothing, shown):
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert (read.status_code, strange.status_code, nothing.status_code, shown.status_code) == (200, 422, 404, 422)
        # The page is the same for everybody: what people write is not in it.
        assert "alert(1)" not in client.get("/").text
    assert [each.comment for each in scripted.store.reads_since(0)] == [SCRIPT]


TEXTS = st.text(st.characters(exclude_categories=[]), max_size=50)


@given(TEXTS, TEXTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_written_is_stored_as_it_is_or_refused(site: Site, visit: Visit, name: str, comment: str) -> None:
    client = visit("ada")
    signed = post(client, "/api/session", json.dumps({"name": name}))
    assert signed.status_code == 200 or is_a_refusal(signed)
    client = visit("ada")
    item = first_item(client)
    before = len(list(site.store.reads_since(0)))
    answer = post(client, "/api/reads", json.dumps(said(item, comment=comment)))
    reads = list(site.store.reads_since(0))[before:]
    if answer.status_code == 200:
        assert [read.comment for read in reads] == [comment]
    else:
        assert is_a_refusal(answer)
        assert reads == []
    client.post("/api/undo", json={"client_id": str(uuid4())})


def test_the_key_of_the_server_is_for_its_user_alone_and_a_damaged_one_is_refused(study: Path) -> None:
    with open_site(study):
        pass
    key = study / "session.key"
    assert key.stat().st_mode & 0o077 == 0
    key.write_bytes(b"short")
    with pytest.raises(RunError, match="damaged"), open_site(study):
        pass


def test_a_key_is_made_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    made = load_secret(tmp_path)
    assert load_secret(tmp_path) == made
    assert [file.name for file in tmp_path.iterdir()] == ["session.key"]
