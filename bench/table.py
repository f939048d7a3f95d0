"""Print the Markdown table of docs/performance.md from what `run.py --json` printed.

python bench/run.py all --json > bench.jsonl
python bench/table.py bench.jsonl
"""

import argparse
import json
from pathlib import Path
from typing import Any

from run import ROUNDS

HEADER = ("work", "size", "here", "naive", "limit", "naive / here", "limit / here", "command")


def main(file: Path) -> None:
    """Print a row for each line of the file, then what was measured beside."""
    results = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    print(as_row(HEADER))
    print(as_row(["---"] * len(HEADER)))
    for result in results:
        print(as_row(cells(result)))
    print()
    for result in results:
        print(f"- `{result['name']}` {result['details']['size']:,}: {beside(result)}")


def cells(result: dict[str, Any]) -> list[str]:
    """One row of the table."""
    details = result["details"]
    command = f"`python bench/run.py {result['name']} --size {details['size']}`"
    if details["rounds"] != ROUNDS:
        command = command[:-1] + f" --rounds {details['rounds']}`"
    times = [seconds(result[way]) for way in ("value", "naive", "limit")]
    ratios = [f"{result['speedup']:.3g}", f"{result['of_limit']:.3g}"]
    return [
        f"`{result['name']}`: {details['what']}",
        f"{details['size']:,} {details['size_is']}",
        *times,
        *ratios,
        command,
    ]


def beside(result: dict[str, Any]) -> str:
    """Limit, further ways and memory in words."""
    details = result["details"]
    wall = details["seconds"]
    ways = [way for way in wall if way not in ("value", "naive", "limit", "ratios")]
    texts = [f"limit: {details['limit_is']}"]
    if "naive_is" in details:
        texts.append(f"naive: {details['naive_is']}")
    texts += [f"{way} {seconds(wall[way]['median'])}" for way in ways]
    for way, peak in details.get("peak_mb_above_inputs", {}).items():
        if peak is not None:
            texts.append(f"peak memory {'here' if way == 'value' else way} {peak:,.0f} MiB above the inputs")
    if "exponent" in details:
        steps = zip(details["sizes"], details["seconds_of_sizes"], details["peak_mb_of_sizes"], strict=True)
        texts += [f"{size:,} items {seconds(took['all'])} and {peak:,.0f} MiB" for size, took, peak in steps]
        texts.append(f"exponent {details['exponent']:.2f} (CPU seconds {details['cpu_exponent']:.2f})")
    if "start_mb_of_sizes" in details:
        texts.append(f"of the memory {max(details['start_mb_of_sizes']):,.0f} MiB are libraries")
    return "; ".join(texts)


def seconds(value: float) -> str:
    """Seconds with three digits and a unit.

    >>> seconds(0.01234), seconds(12.34), seconds(0.00001)
    ('12.3 ms', '12.3 s', '10 us')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * scale >= 1 or unit == "us":
            break
    number = value * scale
    return f"{number:.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"


def as_row(texts: list[str] | tuple[str, ...]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(texts)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what `run.py --json` printed")
    given = parser.parse_args().file
    try:
        main(given)
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"{given} is not what `run.py --json` printed ({type(error).__name__}: {error})")
