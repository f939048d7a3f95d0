"""Two processes make the picks of one, and end at the same network; gloo on CPUs."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from torchrun import torchrun

from overread.learn.processes import Part, Processes

SCRIPT = Path(__file__).with_name("run_processes.py")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embeddings", "pixels"])
def test_two_processes_do_what_one_does(tmp_path: Path, kind: str) -> None:
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    subprocess.run([sys.executable, str(SCRIPT), kind, str(one)], check=True)
    torchrun(2, str(SCRIPT), kind, str(two)).check_returncode()
    with np.load(one) as alone, np.load(two) as together:
        assert (alone["processes"], together["processes"]) == (1, 2)
        np.testing.assert_array_equal(alone["presumed_clean"], together["presumed_clean"])
        # Products of other shapes are summed in another order.
        for name in ("loss", "vog", "probs", "features", "draws"):
            np.testing.assert_allclose(alone[name], together[name], rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("total", "count"), [(0, 1), (7, 3), (8, 2), (2, 4)])
def test_parts_make_the_whole(total: int, count: int) -> None:
    parts = []
    for rank in range(count):
        processes = Processes()
        processes.rank, processes.count = rank, count
        parts.append(processes.part(total))
    assert [parts[0].start, *(part.stop for part in parts)][-1] == total
    assert all(before.stop == after.start for before, after in pairwise(parts))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert parts[0] == Part(0, sizes[0], total)
