"""Embeddings: what they are, when they are computed anew, and what an interruption leaves."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import overread.learn.embed as module
from overread.config import ModelConfig
from overread.learn.embed import embed, embedding_key
from overread.learn.sources import PixelSource
from overread.learn.weights import load_backbone
from overread.progress import Advance, Silent

CPU = torch.device("cpu")
MODEL = ModelConfig(name="mobilenetv3_small_050", weights="none", input_size=32)


class Counting(Silent):
    """Remembers what was reported."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.behind: list[int] = []
        self.steps = 0
        self.stop_after = stop_after

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        self.behind.append(done)

        def advance(steps: int) -> None:
            self.steps += steps
            if self.steps > self.stop_after:
                raise KeyboardInterrupt

        yield advance


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)
    monkeypatch.setattr(module, "BATCH", 2)


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (11, 16, 16, 3), dtype=np.uint8)


def test_embeddings_are_the_pooled_features_in_order() -> None:
    model = ModelConfig(input_size=32)
    images = np.random.default_rng(0).integers(0, 256, (11, 16, 16, 3), dtype=np.uint8)
    backbone, preprocess = load_backbone(model.name, "packaged")
    source = PixelSource(images, 32, preprocess, augment=False, device=CPU)
    with torch.inference_mode():
        expected = backbone.eval()(source.eval_batch(np.arange(11))).numpy()
    found = embed(images, model, None, "digest", CPU, Silent())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_some_rows_are_those_of_the_whole_and_kept_apart(images: NDArray[np.uint8], tmp_path: Path) -> None:
    whole = embed(images, MODEL, tmp_path, "digest", CPU, Silent())
    rows, others = np.array([9, 0, 3, 4, 10]), np.array([9, 0, 3, 4, 8])
    for folder in (tmp_path, None):
        for wanted in (rows, others):
            found = embed(images, MODEL, folder, "digest", CPU, Silent(), rows=wanted)
            # The network sees them in other batches, so the last bit may differ.
            np.testing.assert_allclose(found, whole[wanted], rtol=1e-5, atol=1e-6)
    assert len(list(tmp_path.iterdir())) == 3
    again = Counting()
    embed(images, MODEL, tmp_path, "digest", CPU, again, rows=rows)
    assert again.behind == []


def test_the_cache_is_used_again_and_read_only(images: NDArray[np.uint8], tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    computed = embed(images, MODEL, tmp_path, "digest", CPU, first)
    kept = embed(images, MODEL, tmp_path, "digest", CPU, second)
    assert (first.steps, second.steps) == (11, 0)
    assert isinstance(kept, np.memmap)
    np.testing.assert_array_equal(kept, computed)
    np.testing.assert_array_equal(kept, embed(images, MODEL, None, "digest", CPU, Silent()))
    with pytest.raises(ValueError, match="read-only"):
        kept[0, 0] = 1.0
    assert len(list(tmp_path.iterdir())) == 1


def test_everything_that_matters_is_in_the_key(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(b"one")
    keys = [
        embedding_key(MODEL, "digest", 11, 32),
        embedding_key(MODEL, "other", 11, 32),
        embedding_key(MODEL, "digest", 12, 32),
        embedding_key(MODEL, "digest", 11, 64),
        embedding_key(MODEL.model_copy(update={"name": "resnet18"}), "digest", 11, 32),
        embedding_key(MODEL.model_copy(update={"weights": "hub"}), "digest", 11, 32),
        embedding_key(MODEL.model_copy(update={"weights": str(file)}), "digest", 11, 32),
    ]
    file.write_bytes(b"two")
    keys.append(embedding_key(MODEL.model_copy(update={"weights": str(file)}), "digest", 11, 32))
    assert len(set(keys)) == len(keys)
    head = MODEL.model_copy(update={"head": "mlp", "dropout": 0.5, "hidden": 3})
    assert embedding_key(head, "digest", 11, 32) == keys[0]


def test_an_interruption_costs_one_chunk(images: NDArray[np.uint8], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        embed(images, MODEL, tmp_path, "digest", CPU, Counting(stop_after=7))
    again = Counting()
    resumed = embed(images, MODEL, tmp_path, "digest", CPU, again)
    assert (again.behind, again.steps) == ([4], 7)
    np.testing.assert_array_equal(resumed, embed(images, MODEL, tmp_path / "other", "digest", CPU, Silent()))


def test_another_process_may_finish_first(
    images: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = module._save
    raced: list[Path] = []

    def save(file: Path, values: NDArray[np.float32]) -> None:
        plain(file, values)
        if file.name.endswith("part-4.npy") and not raced:
            raced.append(file)
            embed(images, MODEL, tmp_path, "digest", CPU, Silent())

    monkeypatch.setattr(module, "_save", save)
    found = embed(images, MODEL, tmp_path, "digest", CPU, Silent())
    assert raced
    np.testing.assert_array_equal(found, embed(images, MODEL, None, "digest", CPU, Silent()))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_cache_is_computed_anew(images: NDArray[np.uint8], tmp_path: Path) -> None:
    expected = np.array(embed(images, MODEL, tmp_path, "digest", CPU, Silent()))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    np.testing.assert_array_equal(embed(images, MODEL, tmp_path, "digest", CPU, Silent()), expected)


@pytest.mark.parametrize("kept", [False, True])
def test_no_images_give_no_rows(tmp_path: Path, kept: bool) -> None:
    nothing = np.empty((0, 16, 16, 3), dtype=np.uint8)
    assert embed(nothing, MODEL, tmp_path if kept else None, "digest", CPU, Silent()).shape == (0, 1024)


def test_random_backbones_are_always_the_same(images: NDArray[np.uint8]) -> None:
    torch.manual_seed(1)
    first = embed(images, MODEL, None, "digest", CPU, Silent())
    torch.manual_seed(2)
    np.testing.assert_array_equal(embed(images, MODEL, None, "digest", CPU, Silent()), first)
