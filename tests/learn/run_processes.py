"""Trains a small task with the processes that it was launched with; the first one saves what came of it as .npz.

Not a test: `test_processes.py` starts it alone and under torchrun.  Arguments: kind of inputs, file to write.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from overread.config import LnlConfig, ModelConfig
from overread.learn.finetune import fine_tune
from overread.learn.infer import predict
from overread.learn.lnl import learn_with_noisy_labels
from overread.learn.models import build_network
from overread.learn.processes import launched_processes
from overread.learn.sources import FeatureSource, PixelSource, Source
from overread.learn.training import Checkpointer
from overread.learn.weights import Preprocess
from overread.progress import Silent

N, C, SIDE = 91, 3, 32


def inputs(kind: str) -> tuple[Source, ModelConfig, int | None]:
    rng = np.random.default_rng(1)
    truth = np.arange(N) % C
    if kind == "embeddings":
        features = (rng.normal(size=(C, 6))[truth] * 2 + rng.normal(size=(N, 6))).astype(np.float32)
        return FeatureSource(features, torch.device("cpu")), ModelConfig(dropout=0.3), 6
    images = (rng.integers(0, 60, (N, SIDE, SIDE, 3)) + truth[:, None, None, None] * 60).astype(np.uint8)
    source = PixelSource(images, SIDE, Preprocess((0.5,) * 3, (0.5,) * 3), augment=True, device=torch.device("cpu"))
    return source, ModelConfig(mode="finetune", name="test_convnext", weights="none", dropout=0.3), None


def main(kind: str, out: Path) -> None:
    torch.set_num_threads(1)
    processes = launched_processes("cpu")
    source, model, width = inputs(kind)
    given = np.where(np.arange(N) % 5 == 0, (np.arange(N) + 1) % C, np.arange(N) % C)
    networks = [build_network(model, C, width, seed) for seed in range(2)]
    config = LnlConfig(epochs=5, batch_size=32, warmup_epochs=2, vog_window=3, forget_ramp_epochs=2)
    nowhere = Checkpointer(None, 0.0, "")
    result = learn_with_noisy_labels(networks, source, given, C, 0.2, config, 7, nowhere, Silent(), processes)
    bought = np.arange(2) if kind == "two images" else np.arange(0, N, 2)
    fine_tune(networks[:1], source, given, [bought], 2, config, 7, 1, nowhere, Silent(), processes)
    scores = predict(networks[0], source, np.arange(N), batch_size=16, draws=3, processes=processes)
    assert scores.draws is not None
    if processes.is_first:
        np.savez(
            out,
            processes=processes.count,
            presumed_clean=result.presumed_clean,
            loss=result.loss,
            vog=result.vog,
            probs=scores.probs,
            features=scores.features,
            draws=scores.draws,
        )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
