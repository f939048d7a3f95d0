"""Measure the product against the naive published way and against the limit of the machine.

    python bench/run.py --list
    python bench/run.py coreset --size 50000
    python bench/run.py all --json > bench.jsonl

A benchmark is a file in `benchmarks/` with a `BENCHMARK`.  Times are wall seconds; CPU seconds stand beside them.
"""

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import Benchmark, Times, median_ratio, peak_mb, spread, take_turns

FOLDER = Path(__file__).with_name("benchmarks")
ROUNDS = 5


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0, or 2 for a name or size that cannot be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="a name of --list; all = every one, at every size of --list")
    parser.add_argument("--list", action="store_true", help="names, sizes and what they measure")
    parser.add_argument("--size", type=int, help="another size than the default, in the unit of --list")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often each way is timed (default: {ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and one round: shows that it runs, no more")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    names = benchmark_names()
    if options.list:
        print_list(names)
        return 0
    if options.name != "all" and options.name not in names:
        parser.error(f"there is no benchmark {options.name}: known are all, {', '.join(names)}")
    if options.name == "all" and options.size is not None:
        parser.error("--size needs the name of one benchmark")
    if options.rounds < 1 or (options.size is not None and options.size < 1):
        parser.error("--rounds and --size must be 1 or more")
    for name in names if options.name == "all" else [options.name]:
        benchmark = load(name)
        if options.size is not None and options.size < benchmark.quick_size:
            parser.error(f"--size of {name} must be {benchmark.quick_size} or more")
        sizes = benchmark.sizes if options.name == "all" else benchmark.sizes[:1]
        if options.quick:
            sizes = (benchmark.quick_size,)
        for size in sizes if options.size is None else [options.size]:
            result = measure(name, benchmark, size, 1 if options.quick else options.rounds, options.quick)
            print(json.dumps(result) if options.json else as_text(result), flush=True)
    return 0


def benchmark_names() -> list[str]:
    """Names of all benchmarks, sorted."""
    return sorted(file.stem.replace("_", "-") for file in FOLDER.glob("*.py") if file.stem != "__init__")


def load(name: str) -> Benchmark[Any]:
    """The benchmark `name`; what it needs is imported now."""
    benchmark: Benchmark[Any] = importlib.import_module(f"benchmarks.{name.replace('-', '_')}").BENCHMARK
    return benchmark


def measure(name: str, benchmark: Benchmark[Any], size: int, rounds: int, quick: bool) -> dict[str, Any]:
    """The outcome as it is printed.  `speedup` = naive / value, `of_limit` = limit / value."""
    inputs = benchmark.inputs(size, quick)
    ways = {"naive": benchmark.naive, "value": benchmark.value, "limit": benchmark.limit, **benchmark.also}
    if quick:
        ways = {way: prepare for way, prepare in ways.items() if way not in benchmark.slow}
    steps = {way: prepare(inputs) for way, prepare in ways.items()}
    times = take_turns(steps, rounds, warm_up=benchmark.warm_up and not quick)
    wall, cpu = figures(times, "wall"), figures(times, "cpu")
    details: dict[str, Any] = {
        "what": benchmark.what,
        "size": size,
        "size_is": benchmark.size_is,
        **benchmark.facts(inputs),
        "limit_is": benchmark.limit_is,
        "clock": "wall seconds, medians; ratios are medians of the ratios within a round",
        "rounds": rounds,
        "quick": quick,
        "seconds": wall,
        "cpu_seconds": cpu,
    }
    if benchmark.memory:
        del inputs, steps  # two children need the room
        measured = ("naive", "value", *benchmark.memory_also)
        details["peak_mb_above_inputs"] = {way: peak_mb(name, way, size, quick) for way in measured}
    return {
        "name": name,
        "unit": benchmark.unit,
        **{way: wall[way]["median"] for way in ("value", "naive", "limit")},
        "speedup": wall["ratios"]["naive / value"],
        "of_limit": wall["ratios"]["limit / value"],
        "machine": machine(),
        "details": details,
    }


def figures(times: Times, clock: str) -> dict[str, dict[str, float]]:
    """Spread of every way, and under `ratios` the ratio of every way to the value."""
    seconds = {way: [getattr(entry, clock) for entry in entries] for way, entries in times.items()}
    ratios = {f"{way} / value": median_ratio(own, seconds["value"]) for way, own in seconds.items() if way != "value"}
    return {**{way: spread(own) for way, own in seconds.items()}, "ratios": ratios}


def machine() -> dict[str, Any]:
    """What the numbers depend on beside the code."""
    import torch  # Here, so that a wrong name is said at once.

    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }


def cpu_model() -> str:
    """The name that the processor gives itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def as_text(result: dict[str, Any]) -> str:
    """A short table for people."""
    details, host = result["details"], result["machine"]
    title = f"{result['name']}, {details['size']} {details['size_is']}: {details['what']}, {result['unit']}"
    lines = [title, f"  {'':<18}{'wall (from, to)':<32}{'of value':>9}{'CPU':>11}{'of value':>10}"]
    wall, cpu = details["seconds"], details["cpu_seconds"]
    for way in (way for way in wall if way != "ratios"):
        took = f"{wall[way]['median']:.4g} ({wall[way]['min']:.4g}, {wall[way]['max']:.4g})"
        ratios = [1.0 if way == "value" else clock["ratios"][f"{way} / value"] for clock in (wall, cpu)]
        lines.append(f"  {way:<18}{took:<32}{ratios[0]:9.3g}{cpu[way]['median']:11.4g}{ratios[1]:10.3g}")
    lines.append(f"  speedup {result['speedup']:.3g}, of the limit {result['of_limit']:.3g} ({details['limit_is']})")
    for way, peak in details.get("peak_mb_above_inputs", {}).items():
        lines.append(f"  memory of {way}: {'unknown' if peak is None else f'{peak:.0f} MiB'} above the inputs")
    lines.append(
        f"  {host['cpu']}, {host['cores']} cores, {host['threads']} threads, load {host['load_average']:.1f}, "
        f"python {host['python']}, numpy {host['numpy']}, torch {host['torch']}, {details['rounds']} rounds"
    )
    return "\n".join(lines)


def print_list(names: list[str]) -> None:
    """Print a line for every benchmark."""
    for name in names:
        benchmark = load(name)
        sizes = ", ".join(map(str, benchmark.sizes))
        print(f"{name:<12} {benchmark.what}; {benchmark.size_is}: {sizes}")


if __name__ == "__main__":
    sys.exit(main())
