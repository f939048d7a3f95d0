"""YAML of keys and values, read strictly: what YAML drops in silence, or makes of a word unasked, is an error."""

from pathlib import Path
from typing import Any

import yaml

from overread.errors import ConfigError

__all__ = ["parse_yaml", "read_yaml_file"]

TAG = "tag:yaml.org,2002:"
# What JSON has no word for, so that no setting can hold it and no file of a run could be written.
FOREIGN = {
    f"{TAG}timestamp": "a date",
    f"{TAG}binary": "binary data",
    f"{TAG}set": "a set",
    f"{TAG}omap": "an ordered map",
    f"{TAG}pairs": "a list of pairs",
}
NAMES = (f"{TAG}str", f"{TAG}int", f"{TAG}float")


class _StrictLoader(yaml.SafeLoader):
    """The safe loader; it refuses double keys, values that hold themselves, and what JSON cannot hold."""

    def __init__(self, text: str, what: str) -> None:
        super().__init__(text)
        self.what = what
        self.settled: set[int] = set()

    def get_single_node(self) -> yaml.Node | None:
        # Before anything is constructed: afterwards a double key looks like one that replaces a merged one (<<).
        node = super().get_single_node()
        if node is not None:
            self._settle(node, "", ())
        return node

    def _settle(self, node: yaml.Node, key: str, above: tuple[int, ...]) -> None:
        where = f"{f'for the key {key!r} ' if key else ''}at line {_line(node)}"
        if id(node) in above:
            raise ConfigError(f"{self.what} has a value {where} that holds itself through an alias: write it out")
        if node.tag in FOREIGN:
            raise ConfigError(
                f"{self.what} has {FOREIGN[node.tag]} {where}, which no key can hold: put it in quotes if text is meant"
            )
        if id(node) in self.settled:
            return
        self.settled.add(id(node))
        above = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            for entry in node.value:
                self._settle(entry, key, above)
        elif isinstance(node, yaml.MappingNode):
            self._settle_keys(node, above)

    def _settle_keys(self, node: yaml.MappingNode, above: tuple[int, ...]) -> None:
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        inherited: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if key.tag == f"{TAG}merge":
                self._settle(value, key.value, above)
                # Merged here, earlier mappings first: PyYAML 6.0.4 asks for identical keys, not for equal ones, so that
                # which value it takes depends on the length of the key.
                for base in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(base, yaml.MappingNode):
                        raise ConfigError(
                            f"{self.what} merges with << at line {_line(base)} what holds no keys and values"
                        )
                    for pair in base.value:
                        inherited.setdefault(pair[0].value, pair)
                continue
            if key.tag not in NAMES:
                raise ConfigError(
                    f"{self.what} has a key at line {_line(key)} that YAML reads as neither text nor a number: "
                    "put it in quotes"
                )
            # A key names something, so it is text, also where it looks like a number: 1 and "1" are one key.
            name = str(self.construct_object(key))
            if name in own:
                raise ConfigError(
                    f"{self.what} has the key {name!r} twice, at line {_line(own[name][0])} and at line {_line(key)}: "
                    "remove one of them"
                )
            own[name] = (yaml.ScalarNode(f"{TAG}str", name, key.start_mark, key.end_mark), value)
            self._settle(value, name, above)
        node.value = list({**inherited, **own}.values())


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def parse_yaml(text: str, what: str) -> Any:
    """The value that the YAML `text` holds, of the types that JSON has, every key as text; `what` begins every message.

    ConfigError: no YAML, a key that stands twice in one mapping, a value that holds itself, a date or another type
    that JSON has not; it names the key and the line.

    >>> parse_yaml("{rate: 0.4, names: [a, b]}", "the example")
    {'rate': 0.4, 'names': ['a', 'b']}
    """
    try:
        return _StrictLoader(text, what).get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: !!int x
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(f"{what} is not valid YAML{f' at line {mark.line + 1}' if mark else ''}") from None
    except RecursionError:
        raise ConfigError(f"{what} nests too deeply to be read as YAML: write it flatter") from None


def read_yaml_file(file: Path, what: str) -> tuple[dict[str, Any], str]:
    """Keys and values of the YAML `file`, and its text; an empty file holds none.  `what`: such as "the grid file".

    ConfigError: no such file, no text, no keys and values, or what `parse_yaml` refuses.
    """
    what = f"{what} {file}"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{what} does not exist, so it cannot be read: check its path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} cannot be read: {error}") from None
    values = parse_yaml(text, what)
    if values is None:
        return {}, text
    if not isinstance(values, dict):
        raise ConfigError(f"{what} must hold keys and values, not a {type(values).__name__}")
    return values, text
