"""The cleaned set as tasks of Label Studio, written one after another.

A task has what was said (`annotations`) and what the model suggests (`predictions`); of what later reads replaced
Label Studio has no notion of its own, and it stands in `meta`, which it keeps and exports again.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from overread.project.exports.rows import Labelled, Row
from overread.project.exports.tables import Write
from overread.project.folder import CANNOT_TELL
from overread.project.label_studio import COMMENT, DECIDES, DECISION, IMAGE, ITEM, LABEL, READER

__all__ = ["LOCAL_FILES", "tasks_file"]

LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves files of its own machine, relative to the folder that it was told."""


@contextmanager
def tasks_file(path: Path, images: str, model: str) -> Iterator[Write]:
    """A function that adds tasks to the JSON at `path`.

    images: what comes before the id of an item in the address of its image.  model: name of what suggests.
    """
    with path.open("w", encoding="utf-8") as stream:
        stream.write("[")
        separator = "\n"

        def write(items: Sequence[Labelled]) -> None:
            nonlocal separator
            for item in items:
                text = json.dumps(_task(item, images, model), ensure_ascii=False, allow_nan=False)
                stream.write(f"{separator}{text}")
                separator = ",\n"

        yield write
        stream.write("\n]\n")


def _task(item: Labelled, images: str, model: str) -> Row:
    name = item.row["id"]
    return {
        "id": item.position + 1,
        "data": {IMAGE: f"{images}{quote(name)}", ITEM: name, "given": item.row["given"]},
        "annotations": [_annotation(read) for read in item.reads if read["read"] in item.standing],
        "predictions": [
            {
                "model_version": model,
                # float32 sums may be above 1 by a hair.
                "score": min(1.0, item.suggested_probability),
                "result": [_choice(LABEL, item.row["suggested"])],
            }
        ],
        "meta": {
            "label": item.row["label"],
            "source": item.row["source"],
            "replaced": [read for read in item.reads if read["read"] not in item.standing],
        },
    }


def _annotation(read: Row) -> Row:
    decides = read["kind"] == "adjudication"
    result = [_choice(LABEL, CANNOT_TELL if read["label"] is None else read["label"])]
    result += [_choice(DECIDES, DECISION)] if decides else []
    result += [_text(COMMENT, read["comment"])] if read["comment"] else []
    who: dict[str, Any] = {}
    if "@" in read["reader"]:
        who["completed_by"] = {"email": read["reader"]}
    else:
        # Label Studio refuses a file that names a person whom it does not know.
        result.append(_text(READER, read["reader"]))
    return {
        **who,
        "result": result,
        "was_cancelled": False,
        "ground_truth": decides,
        "created_at": read["when"],
        "lead_time": read["seconds"],
    }


def _choice(field: str, value: str) -> Row:
    return {"id": field, "from_name": field, "to_name": IMAGE, "type": "choices", "value": {"choices": [value]}}


def _text(field: str, value: str) -> Row:
    return {"id": field, "from_name": field, "to_name": IMAGE, "type": "textarea", "value": {"text": [value]}}
