"""YAML read strictly: nothing is dropped, nothing becomes what JSON cannot hold, and the message says where."""

import json
from pathlib import Path

import pytest

from overread.errors import ConfigError
from overread.yaml_files import parse_yaml, read_yaml_file

REFUSED = {
    "double key": ("a: 1\nb: 2\na: 3", r"the key 'a' twice, at line 1 and at line 3: remove"),
    "double key within": ("x:\n  a: 1\n  a: 1", r"the key 'a' twice, at line 2 and at line 3"),
    "double key in a list": ("x: [1, {a: 1,\n a: 2}]", r"the key 'a' twice, at line 1 and at line 2"),
    "double key behind an alias": ("x: &x {a: 1, a: 2}\ny: *x", r"the key 'a' twice"),
    "double key beside a merge": ("x: &x {a: 1}\ny: {<<: *x, a: 2, a: 3}", r"the key 'a' twice, at line 2"),
    "number and text": ("0.40: a\n'0.4': b", r"the key '0.4' twice, at line 1 and at line 2"),
    "date": ("a: 1\nb: 2024-01-01", r"a date for the key 'b' at line 2, .* in quotes"),
    "time": ("b: [1, 2024-01-01 12:00:00]", r"a date for the key 'b' at line 1"),
    "impossible date": ("b: 2024-13-41", r"a date for the key 'b'"),
    "date alone": ("2024-01-01", r"a date at line 1"),
    "date as a key": (
        "2024-01-01: 1",
        r"a key at line 1 that YAML reads as neither text nor a number: put it in quotes",
    ),
    "truth as a key": ("a: 1\nyes: 1", r"a key at line 2 that YAML reads as neither"),
    "list as a key": ("? [a]\n: 1", r"a key at line 1 that YAML reads as neither"),
    "set": ("b: !!set {x, y}", r"a set for the key 'b'"),
    "bytes": ("b: !!binary aGVsbG8=", r"binary data for the key 'b'"),
    "ordered map": ("b: !!omap [x: 1]", r"an ordered map for the key 'b'"),
    "pairs": ("b: !!pairs [x: 1]", r"a list of pairs for the key 'b'"),
    "list in itself": ("a: 1\nb: &b [1, *b]", r"for the key 'b' at line 2 that holds itself through an alias"),
    "mapping in itself": ("b: &b {c: {d: *b}}", r"for the key 'd' at line 1 that holds itself"),
    "merged into itself": ("b: &b {<<: *b}", r"that holds itself"),
    "merge of a number": ("b: {<<: 3}", r"merges with << at line 1"),
    "no such anchor": ("a: 1\nb: *c", r"is not valid YAML at line 2"),
    "unknown tag": ("a: !thing 3", r"is not valid YAML at line 1"),
    "number that is none": ("a: !!int x", r"is not valid YAML$"),
    "two documents": ("--- a\n--- b", r"is not valid YAML at line 2"),
    "bottomless": ("[" * 5000 + "]" * 5000, r"nests too deeply"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused_with_its_place(case: str) -> None:
    text, message = REFUSED[case]
    with pytest.raises(ConfigError, match=f"^the file .*{message}"):
        parse_yaml(text, "the file")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "a: &a [1, 2.5, null, true, x]\nb: {c: *a}",
            {"a": [1, 2.5, None, True, "x"], "b": {"c": [1, 2.5, None, True, "x"]}},
        ),
        ("a: &a {k: 1, longer: 1}\nb: {<<: *a, k: 2}", {"a": {"k": 1, "longer": 1}, "b": {"k": 2, "longer": 1}}),
        # The first of merged mappings wins, and what replaces a merged value is merged on; short keys and long ones.
        ("a: {<<: [{k: 1}, {k: 2}], longer: 3}", {"a": {"k": 1, "longer": 3}}),
        ("a: {<<: [{longer: 1}, {longer: 2}]}", {"a": {"longer": 1}}),
        ("a: &a {<<: {k: 1}, k: 2}\nb: {<<: *a}", {"a": {"k": 2}, "b": {"k": 2}}),
        ("0.4: a\n1: {2: b}", {"0.4": "a", "1": {"2": "b"}}),
        ("a: '2024-01-01'\n'2024-01-01': a", {"a": "2024-01-01", "2024-01-01": "a"}),
        ("a: {x: 1}\nb: {x: 1}", {"a": {"x": 1}, "b": {"x": 1}}),
        ("", None),
    ],
)
def test_everything_else_is_what_it_says(text: str, value: object) -> None:
    assert parse_yaml(text, "the file") == value
    assert json.loads(json.dumps(value)) == value


def test_a_file_gives_its_values_and_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: ä # why\n", encoding="utf-8")
    assert read_yaml_file(path, "the file") == ({"a": "ä"}, "a: ä # why\n")
    path.write_text("# nothing\n")
    assert read_yaml_file(path, "the file")[0] == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"\xff\xfe\x81", "cannot be read"), (b"- a", "must hold keys and values, not a list")],
)
def test_a_file_without_keys_and_values_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^the grid file .*a\.yaml {message}"):
        read_yaml_file(path, "the grid file")
