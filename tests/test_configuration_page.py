"""docs/configuration.md lists every key; run this file as a script to write the page anew."""

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from overread.config import PRESETS, Config

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
HEAD = """# Configuration

Every key, its default and what it does. A key is set in a YAML file (`active: {budget: 50}` or `active.budget: 50`)
or as `--set active.budget=50`; what comes later wins: defaults, preset, file, `--set`. `overread doctor CONFIG.yaml`
says what a run would do.
"""


def page() -> str:
    """The text of the page, made of the configuration itself."""
    sections = [name for name, field in Config.model_fields.items() if hasattr(field.annotation, "model_fields")]
    parts = [HEAD, table({name: field for name, field in Config.model_fields.items() if name not in sections})]
    for name in sections:
        section: Any = Config.model_fields[name].annotation
        parts.append(f"## {name}\n\n{section.__doc__.splitlines()[0]}\n")
        parts.append(table({f"{name}.{key}": field for key, field in section.model_fields.items()}))
    parts.append(
        "## Presets\n\nWhat each sets; all of it can be set otherwise. `default` sets nothing where another "
        "`lnl.method`, an mlp head or a label leak is asked for. Where another `model.name`, other weights than `none` "
        "and `self`, `model.input_size` or `model.beside` is said, that is the frozen backbone, and the preset sets "
        "method and sampler alone, as it does for `model.mode=frozen`; for `model.mode=finetune` with "
        "`model.weights=none` or `self` all but the mode. The method `noise-model` is fitted, not trained, in frozen "
        "mode: of `lnl` it reads `prior_adjustment`, `noise_matrix` and `reader_error`, of `active` neither `epochs` "
        "nor `start` nor `train_on`. In the other modes two networks are trained beside it, for `lnl.epochs` and "
        "`active.epochs`, always from where they stand; where mode auto tries none, `model.name` and `model.weights` "
        "are not read.\n"
    )
    rows = [
        f"| `{name}` | {', '.join(f'`{key}={cell(value)}`' for key, value in keys.items())} |"
        for name, keys in PRESETS.items()
    ]
    parts.append("\n".join(["| preset | sets |", "| --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def table(fields: dict[str, FieldInfo]) -> str:
    rows = [f"| `{key}` | `{cell(field.default)}` | {field.description or ''} |" for key, field in fields.items()]
    return "\n".join(["| key | default | what |", "| --- | --- | --- |", *rows]) + "\n"


def cell(value: object) -> str:
    if value in ((), ""):
        return "none"
    return (
        {True: "true", False: "false", None: "none"}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )


def test_the_page_lists_every_key_as_it_is() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
