"""Two processes make the picks of one, and end at the same network; gloo on CPUs."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torchrun import torchrun

from overread.config import ModelConfig
from overread.learn.models import build_network
from overread.learn.processes import Part, Processes, with_shared_batch_norm

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


@pytest.mark.slow
def test_more_processes_than_samples(tmp_path: Path) -> None:
    torchrun(3, str(SCRIPT), "two images", str(tmp_path / "three.npz")).check_returncode()
    with np.load(tmp_path / "three.npz") as together:
        assert together["processes"] == 3
        assert np.isfinite(together["probs"]).all()


def test_shared_batch_norm_keeps_the_activations_of_timm() -> None:
    model = ModelConfig(mode="finetune", name="tf_efficientnet_lite0", weights="none")
    plain = build_network(model, 3, None, 0).eval()
    shared = with_shared_batch_norm(build_network(model, 3, None, 0)).eval()
    assert any(isinstance(part, torch.nn.SyncBatchNorm) for part in shared.modules())
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(plain(images)[0], shared(images)[0])


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
