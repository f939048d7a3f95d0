"""Print the peak of memory of one way of one benchmark: `python bench/peak.py window naive 70000 full`."""

import importlib
import re
import sys
from pathlib import Path

from measure import Benchmark, Step


def main(name: str, way: str, size: str, quick: str) -> None:
    """Print MiB above the process with the inputs, or `unknown`."""
    module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
    benchmark: Benchmark[object] = module.BENCHMARK
    inputs = benchmark.inputs(int(size), quick == "quick")
    status = Path("/proc/self/status")
    try:
        # Sets the peak back to what is held now.  `ru_maxrss` will not do: a child inherits that of its parent.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        print("unknown")
        return
    base = _field(status, "VmRSS")
    prepare = benchmark.also[way] if way in benchmark.also else getattr(benchmark, way)
    step: Step = prepare(inputs)
    step()
    print((_field(status, "VmHWM") - base) / 1024)


def _field(status: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", status.read_text(encoding="ascii"), re.MULTILINE)
    assert found, f"{status} has no {name}"
    return int(found[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
