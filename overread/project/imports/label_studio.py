"""The answers in what Label Studio exports as JSON or as JSON-MIN, and in what we export for it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import ijson

from overread.errors import DataError
from overread.project.imports.answers import Answer
from overread.project.label_studio import COMMENT, DECIDES, DECISION, ITEM, LABEL, READER

__all__ = ["is_json", "task_answers"]

Fields = Mapping[str, Any]
# What Label Studio's own template for images calls the choice.
TEMPLATE_LABEL = "choice"
# Of what Label Studio exports no part lies deeper than ten; the time and memory to parse grow with the square.
DEEPEST = 50
BOM = b"\xef\xbb\xbf"
# As editors of Windows may write it: both orders of the bytes.
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def is_json(path: Path) -> bool:
    """Whether the file at `path` is JSON, by its name or its beginning; DataError where it cannot be read."""
    return path.suffix.lower() == ".json" or _first(path)[1] in (b"[", b"{")


def task_answers(path: Path) -> Iterator[Answer]:
    """The answers in the JSON file at `path`, a list of tasks, in bounded memory.

    A task with `annotations` (all that Label Studio knows) has an answer for each of them; its `data` name the item as
    `item`, else as `id`.  Else it is JSON-MIN, one annotation each, where `id` is Label Studio's own number.  The label
    is the choice called `label`, or the only one there is.  An annotation that was skipped says nothing.
    DataError: no JSON, no tasks, no item, several choices in one annotation.
    """
    skipped, first = _first(path)
    try:
        with path.open("rb") as stream:
            stream.seek(skipped)
            _check_depth(stream, path)
            stream.seek(skipped)
            prefix = "item" if first == b"[" else ""
            for i, task in enumerate(ijson.items(stream, prefix, use_float=True, multiple_values=True)):
                where = f"task {i + 1}"
                if not isinstance(task, dict):
                    raise DataError(f"{where} of {path} is no task: give what Label Studio exports as JSON")
                yield from _of_task(task, where, path)
    except (ijson.JSONError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}): export it again") from None


def _check_depth(stream: BinaryIO, path: Path) -> None:
    """DataError where the JSON is nested so deep that it is an attack."""
    depth = 0
    for event, _ in ijson.basic_parse(stream, use_float=True, multiple_values=True):
        depth += (event in ("start_map", "start_array")) - (event in ("end_map", "end_array"))
        if depth > DEEPEST:
            raise DataError(f"{path} is nested more than {DEEPEST} deep, which no export is: export it again")


def _first(path: Path) -> tuple[int, bytes]:
    """Bytes to skip, and the first that is no space."""
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): give a table or the JSON of Label Studio") from None
    if start.startswith(UTF16):
        raise DataError(f"{path} is UTF-16: save it as UTF-8")
    skipped = len(BOM) if start.startswith(BOM) else 0
    return skipped, start[skipped:].lstrip()[:1]


def _of_task(task: Fields, where: str, path: Path) -> Iterator[Answer]:
    annotations = task.get("annotations", task.get("completions"))
    if annotations is None and isinstance(task.get("data"), dict):
        return  # a task that nobody has seen
    if annotations is None:
        yield _of_record(task, where, path)
        return
    data = task.get("data")
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise DataError(f"{where} of {path} has no data or no list of annotations: export it again")
    item = _item(data.get(ITEM, data.get("id")), where, path)
    for annotation in annotations:
        if not isinstance(annotation, dict):
            raise DataError(f"an annotation of {where} of {path} is only named: export JSON with annotations")
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            yield Answer(where, item, "", "")
            continue
        choices, texts = _results(annotation, where, path)
        yield Answer(
            where,
            item,
            _label(choices, where, path),
            texts.get(READER) or _person(annotation.get("completed_by")),
            "\n".join(filter(None, [texts.get(COMMENT), *_remarks(annotation)])),
            _seconds(annotation, where, path),
            choices.get(DECIDES) == DECISION,
        )


def _of_record(record: Fields, where: str, path: Path) -> Answer:
    """The answer in a line of JSON-MIN, where results stand beside the data."""
    label = record.get(LABEL, record.get(TEMPLATE_LABEL))
    if label is None and record.get("annotation_id") is not None:
        raise DataError(
            f"{where} of {path} has neither {LABEL!r} nor {TEMPLATE_LABEL!r}: export JSON instead of JSON-MIN"
        )
    if ITEM not in record:
        raise DataError(
            f"{where} of {path} has no {ITEM!r}, and its id is Label Studio's own: give tasks that `overread export` "
            "made, or export JSON instead of JSON-MIN"
        )
    return Answer(
        where,
        _item(record[ITEM], where, path),
        "" if label is None else _choice(label, where, path),
        _lines(record.get(READER)) or _person(record.get("annotator")),
        _lines(record.get(COMMENT)),
        _seconds(record, where, path),
        record.get(DECIDES) == DECISION,
    )


def _item(value: object, where: str, path: Path) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"the data of {where} of {path} do not name the image: they need {ITEM!r}, its id")
    return str(value).strip()


def _results(annotation: Fields, where: str, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The choices and the texts of an annotation, by the name of the field."""
    choices: dict[str, str] = {}
    texts: dict[str, str] = {}
    results = annotation.get("result") or []
    if not isinstance(results, list):
        raise DataError(f"an annotation of {where} of {path} has no list of results: export it again")
    for result in results:
        kind, value = (result.get("type"), result.get("value")) if isinstance(result, dict) else (None, None)
        name = str(result.get("from_name")) if kind else ""
        if kind == "choices" and isinstance(value, dict):
            if name in choices:
                raise DataError(f"an annotation of {where} of {path} has {name!r} more than once: leave one")
            choices[name] = _choice(value.get("choices"), where, path)
        elif kind == "textarea" and isinstance(value, dict):
            texts[name] = _lines(value.get("text"))
    return choices, texts


def _label(choices: Mapping[str, str], where: str, path: Path) -> str:
    """The choice called label, or the only one."""
    others = [name for name in choices if name != DECIDES]
    if LABEL in choices or not others:
        return choices.get(LABEL, "")
    if len(others) > 1:
        raise DataError(f"{where} of {path} has the choices {', '.join(others)}: call the one that counts {LABEL!r}")
    return choices[others[0]]


def _choice(value: object, where: str, path: Path) -> str:
    """One choice, also as a list of one."""
    if isinstance(value, dict):
        value = value.get("choices")
    if isinstance(value, list) and len(value) < 2:
        value = value[0] if value else ""
    if not isinstance(value, str):
        raise DataError(f"{where} of {path} chooses several classes at once, or none: leave one in an annotation")
    return value.strip()


def _lines(value: object) -> str:
    """A text, or several as lines."""
    texts = value if isinstance(value, list) else [value]
    return "\n".join(text.strip() for text in texts if isinstance(text, str))


def _remarks(annotation: Fields) -> list[str]:
    """The texts of the discussion about an annotation."""
    comments = annotation.get("comments")
    return (
        [_lines(each.get("text")) for each in comments if isinstance(each, dict)] if isinstance(comments, list) else []
    )


def _person(who: object) -> str:
    """How we call a user of Label Studio: by e-mail address where it is known, else by number."""
    if isinstance(who, dict):
        texts = {key: value for key, value in who.items() if isinstance(value, str)}
        full = " ".join(filter(None, [texts.get("first_name"), texts.get("last_name")]))
        return texts.get("email") or texts.get("username") or full or _person(who.get("id"))
    if isinstance(who, int) and not isinstance(who, bool):
        return f"annotator {who}"
    return who if isinstance(who, str) else ""


def _seconds(fields: Fields, where: str, path: Path) -> float | None:
    took = fields.get("lead_time")
    if took is None:
        return None
    if isinstance(took, bool) or not isinstance(took, int | float) or not 0 <= took < float("inf"):
        raise DataError(f"the lead_time of {where} of {path} is {took!r}: it must be seconds")
    return float(took)
