"""Weights learnt without labels: the loss against loops, what they depend on, and what an interruption leaves."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from locks import lock_held_elsewhere
from numpy.typing import NDArray
from tiny import tiny_config, write_tiny_set

from overread.config import Config, load_config
from overread.data.dataset import Dataset, load_dataset
from overread.doctor import examine
from overread.errors import ConfigError, DataError, ModelError, RunError
from overread.learn.augment import draw_view
from overread.learn.phase1 import phase1_identity
from overread.learn.processes import Processes
from overread.learn.self_supervised import nt_xent, with_own_weights
from overread.learn.sources import PixelSource
from overread.learn.task import Task, make_task
from overread.learn.weights import load_backbone
from overread.progress import Advance, Silent
from overread.refine import simulate

SELF = ("model.name=small_resnet", "model.weights=self", "model.self_epochs=3", "model.input_size=16")


def config_in(folder: Path, *settings: str) -> Config:
    folder.mkdir(exist_ok=True)
    # A cache of its own, so that weights are learnt anew in every folder.
    own = (f"data.cache={folder / 'cache'}", "precision=bfloat16", "checkpoint_seconds=0")
    return tiny_config(folder, *SELF, "model.mode=finetune", *own, *settings)


def data_of(config: Config) -> Dataset:
    return load_dataset(config.data, config.seed)


def weights_of(config: Config, dataset: Dataset | None = None, reporter: Silent | None = None) -> Path:
    processes = Processes(torch.device("cpu"), config.precision == "bfloat16")
    dataset = dataset or data_of(config)
    return Path(with_own_weights(dataset, config, reporter or Silent(), processes).weights)


def task_of(config: Config) -> Task:
    dataset = data_of(config)
    return make_task(dataset, dataset.reference[dataset.positions("train")], config, Silent(), Processes())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def change(config: Config, split: str, labels: bool = False) -> None:
    """Write the tiny set of `config` anew, with other pixels, or else other labels, in a split."""
    assert config.data.path is not None
    with np.load(config.data.path) as content:
        arrays: dict[str, NDArray[Any]] = dict(content)
    rows = arrays["split"] == split
    if labels:
        arrays["labels"][rows] = np.roll(arrays["labels"][rows], 7)
    else:
        arrays["images"][rows] = 255 - arrays["images"][rows]
    np.savez(config.data.path, **arrays)  # type: ignore[arg-type]


class Interrupts(Silent):
    """Ctrl-C after some epochs without labels; notes where each such training began."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.began: list[int] = []

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Advance]:
        if description.startswith("without labels"):
            self.began.append(done)

        def advance(steps: int) -> None:
            self.left -= steps
            if self.left == 0:
                raise KeyboardInterrupt

        yield advance


def test_the_loss_is_that_of_the_publication() -> None:
    rng = np.random.default_rng(0)
    views = rng.normal(size=(10, 4))
    unit = views / np.linalg.norm(views, axis=1, keepdims=True)
    losses = []
    for i in range(10):
        j = (i + 5) % 10
        others = sum(np.exp(unit[i] @ unit[k] / 0.3) for k in range(10) if k != i)
        losses.append(-np.log(np.exp(unit[i] @ unit[j] / 0.3) / others))
    first, second = torch.from_numpy(views).chunk(2)
    assert nt_xent(first, second, 0.3).item() == pytest.approx(np.mean(losses), rel=1e-12)
    assert nt_xent(2 * first, second, 0.3).item() == pytest.approx(np.mean(losses), rel=1e-12)


def test_views_have_their_ranges_and_shares() -> None:
    drawn = draw_view(4000, 28, np.random.default_rng(3))
    assert drawn.window.min() ** 2 == pytest.approx(0.3, abs=0.01)
    assert drawn.window.max() == pytest.approx(1.0, abs=0.01)
    assert (abs(drawn.offset) <= (1 - drawn.window)[:, None]).all()
    quarters = np.round(drawn.angle / 90)
    assert set(quarters) == {0, 1, 2, 3}
    assert abs(drawn.angle - 90 * quarters).max() <= 10
    for share, expected in (
        (drawn.flip.mean(), 0.5),
        ((drawn.sigma > 0).mean(), 0.3),
        ((drawn.colour[:, 2] == 0).mean(), 0.2),
        ((drawn.colour[:, 0] != 1).mean(), 0.8),
    ):
        assert share == pytest.approx(expected, abs=0.03)


def test_neither_labels_nor_seeds_nor_test_images_change_the_weights(tmp_path: Path) -> None:
    config = config_in(tmp_path / "a")
    first = weights_of(config)
    random, _ = load_backbone("small_resnet", "none")
    learnt, _ = load_backbone("small_resnet", str(first))
    assert learnt.state_dict()["conv1.weight"].std() != random.state_dict()["conv1.weight"].std()
    # The same file serves them all.
    for setting in ("seed=9", "noise.rate=0.2", "lnl.method=cross-entropy", "model.mode=frozen"):
        assert weights_of(config_in(tmp_path / "a", setting)) == first
    # Made again, of images that only look the same in training, it is the same to the bit.
    other = config_in(tmp_path / "b", "seed=3")
    change(other, "test")
    change(other, "train", labels=True)
    assert data_of(other).digest != data_of(config).digest
    second = weights_of(other)
    assert (second.name, digest(second)) == (first.name, digest(first))
    assert weights_of(config_in(tmp_path / "a", "model.self_epochs=2")).name != first.name
    change(config, "train")
    assert weights_of(config).name != first.name


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    expected = weights_of(config_in(tmp_path / "a"))
    reporter, config = Interrupts(after=2), config_in(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        weights_of(config, reporter=reporter)
    found = weights_of(config, reporter=reporter)
    # The epoch at whose end it was interrupted had been saved.
    assert reporter.began == [0, 2]
    assert digest(found) == digest(expected)
    assert not list(found.parent.glob("*in-progress*"))


def test_who_comes_second_waits_and_takes_the_same(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    dataset, path = data_of(config), weights_of(config)
    content = path.read_bytes()
    path.unlink()
    reporter = Interrupts(after=1)
    waiting = threading.Thread(target=weights_of, args=(config, dataset, reporter))
    with lock_held_elsewhere(path.with_suffix(".lock")):
        waiting.start()
        time.sleep(0.2)
        assert waiting.is_alive()
        path.write_bytes(content)
    waiting.join()
    assert reporter.began == []


@pytest.mark.parametrize("content", [b"", b"no tensors at all"], ids=["empty", "other"])
def test_damaged_files_of_the_cache_are_made_again(tmp_path: Path, content: bytes) -> None:
    config = config_in(tmp_path)
    path = weights_of(config)
    expected = digest(path)
    # As readable as any other new file.
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    path.write_bytes(content)
    path.with_name(f"{path.stem}-in-progress.safetensors").write_bytes(content)
    assert weights_of(config) == path
    assert digest(path) == expected


def test_several_processes_share_what_the_first_one_learns(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    dataset, second = data_of(config), Processes(torch.device("cpu"))
    second.rank = 1
    with pytest.raises(RunError, match=r"are not there though they were made.*OVERREAD_CACHE"):
        with_own_weights(dataset, config, Silent(), second)
    path = weights_of(config, dataset)
    assert with_own_weights(dataset, config, Silent(), second).weights == str(path)


def test_a_frozen_run_sees_features_of_the_weights_beside_the_packaged_ones(tmp_path: Path) -> None:
    frozen = ("model.mode=frozen", "model.beside=packaged")
    config = config_in(tmp_path, *frozen, "active.rounds=0", "preset=cross-entropy", "lnl.epochs=2")
    results = simulate(config)
    assert results["complete"]
    assert results["model"] == {"name": "small_resnet", "mode": "frozen", "weights": "self", "beside": "packaged"}
    backbone, preprocess = load_backbone("small_resnet", str(weights_of(config)))
    task, dataset = task_of(config), data_of(config)
    seen = PixelSource(dataset.images, 16, preprocess, augment=False, device=torch.device("cpu"))
    with torch.inference_mode():
        expected = backbone.eval()(seen.eval_batch(dataset.positions("train"))).numpy()
    expected /= np.sqrt(expected.var(axis=0).sum())
    assert task.input_dim == 128 + 1280
    np.testing.assert_allclose(task.noise_features[:][:, :128], expected[task.noise_items], rtol=1e-3, atol=1e-4)
    assert task.noise_features[:][:, 128:].var(axis=0).sum() == pytest.approx(1.0, rel=1e-3)


def test_networks_begin_with_the_weights_and_phase_1_is_named_by_them(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    learnt, _ = load_backbone("small_resnet", str(weights_of(config)))
    task = task_of(config)
    for seed in range(2):
        trunk = task.new_network(seed).trunk.state_dict()
        assert all(torch.equal(trunk[name], value) for name, value in learnt.state_dict().items())
    # The settings are equal, so that the weights alone make the difference.
    other = task_of(config_in(tmp_path, "model.self_epochs=2"))
    assert phase1_identity(config, task) != phase1_identity(config, other)


def test_what_cannot_be_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"model\.self_epochs belongs to model\.weights=self, and it is packaged"):
        load_config(settings=["model.self_epochs=3", "model.mode=frozen"])
    for settings in (["model.beside=packaged"], ["model.beside=packaged", *SELF, "model.mode=finetune"]):
        with pytest.raises(ConfigError, match=r"model\.beside=packaged adds the packaged network .* set model\.mode="):
            load_config(settings=settings)
    few = config_in(tmp_path, "data.max_train=20")
    with pytest.raises(DataError, match=r"from 32 training images at least, and there are 20: set model\.weights="):
        weights_of(few)
    odd = config_in(tmp_path, "model.name=test_convnext")
    with pytest.raises(ModelError, match=r"test_convnext cannot take 16x16 inputs .* set model\.input_size"):
        weights_of(odd)
    monkeypatch.setattr("overread.learn.self_supervised.nt_xent", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(ModelError, match=r"diverged in epoch 0 of model\.weights=self"):
        weights_of(config_in(tmp_path))


def test_doctor_tells_it(tmp_path: Path) -> None:
    text = examine(None, [f"data.path={write_tiny_set(tmp_path / 'tiny.npz')}", *SELF, "model.beside=packaged"])
    assert "small_resnet, frozen, weights self, beside the packaged network" in text
    assert "3 epochs on the training images without labels, where they are not in the cache" in text
