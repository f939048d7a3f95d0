"""The validated configuration of a run: defaults, presets, a YAML file and `--set key.path=value`, in this order.

Every key has one meaning and is read by the code; an unknown key or value ends in one sentence with the nearest
known name.  Nothing here imports torch: names of torch-side registries are listed below and a test compares them.
"""

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from overread.errors import ConfigError
from overread.stopping import parse_rule
from overread.yaml_files import parse_yaml, read_yaml_file

__all__ = [
    "PRESETS",
    "ActiveConfig",
    "Cluster",
    "Config",
    "DataConfig",
    "LnlConfig",
    "ModelConfig",
    "NoiseConfig",
    "did_you_mean",
    "load_config",
]

Cluster = Literal["none", "ray"]
DataFormat = Literal["npz", "folder", "csv", "hdf5", "medmnist"]
NoiseKind = Literal["symmetric", "class-dependent", "instance-dependent", "given"]
LnlMethod = Literal["cross-entropy", "co-teaching", "co-teaching-vog", "noise-model"]
Sampler = Literal[
    "random",
    "entropy",
    "least-confidence",
    "margin",
    "bald",
    "coreset",
    "posterior-entropy",
    "posterior-least-confidence",
    "disagreement",
    "label-quality",
    "macro-f1",
]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Pydantic takes true for 1, and YAML takes yes and on for true.
        assert info.field_name
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("it is not a switch that is true or false")
        return value


class DataConfig(_Section):
    """Where images and labels are and which part of them is used."""

    path: Path | None = Field(None, description="file or folder; a name such as dermamnist for medmnist")
    format: DataFormat | None = Field(None, description="taken from the path where it is not given")
    image_size: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        None, description="pixels a side; images of other sizes are resized; none = as they are"
    )
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = Field(
        None, description="class names in order; none = those found, sorted"
    )
    image_root: Path | None = Field(None, description="csv: folder that image paths are relative to")
    id_column: str | None = Field(None, description="csv: stable id; none = the path")
    path_column: str = Field("path", description="csv: image path or name")
    path_suffix: str = Field("", description="csv: added to the path column, such as .jpg")
    label_column: str = Field("label", description="csv: reference label")
    one_hot_columns: tuple[str, ...] = Field((), description="csv: one 0/1 column a class, instead of label_column")
    given_column: str | None = Field(None, description="csv: second label column, for noise.kind=given")
    group_column: str | None = Field(None, description="csv: items of one group stay in one split")
    split_column: str | None = Field(None, description="csv: train, val or test")
    metadata: Path | None = Field(None, description="csv: second table with the groups")
    metadata_key: str = Field("image", description="csv: column of the second table that holds the image path or name")
    test_path: Path | None = Field(None, description="a second source of the same format that becomes the test split")
    val_fraction: Share = Field(
        0.0, description="share kept aside as val where the data brings no split; nothing uses it, so none by default"
    )
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.2, description="share kept aside as test where the data brings no split"
    )
    imbalance_factor: Annotated[float, Field(ge=1.0)] | None = Field(
        None, description="exponential long tail on the training split: largest over smallest class"
    )
    max_train: Annotated[int, Field(ge=2)] | None = Field(None, description="at most so many training items")
    min_class_items: Count = Field(2, description="a class with fewer training items is an error")
    on_error: Literal["stop", "skip"] = Field("stop", description="skip: leave out bad items and list them")
    cache: Path | None = Field(None, description="folder of decoded images and embeddings; none = the user's cache")


class NoiseConfig(_Section):
    """How given labels are made from reference labels."""

    kind: NoiseKind = Field("symmetric", description="symmetric, class-dependent, instance-dependent, or given")
    rate: Rate = Field(0.4, description="share of labels that become wrong; not used by kind=given or beside matrix")
    exempt: tuple[str, ...] = Field((), description="symmetric: classes whose labels stay right")
    pairs: tuple[tuple[str, str], ...] = Field((), description="class-dependent: from -> to; none = next class")
    matrix: tuple[tuple[float, ...], ...] | None = Field(
        None, description="class-dependent: T, instead of pairs and rate"
    )
    column: str | None = Field(None, description="given: name of the label column or annotator; none = the first")


class ModelConfig(_Section):
    """The classifier."""

    name: str = Field("tf_efficientnet_lite0", description="any timm model")
    mode: Literal["auto", "finetune", "frozen"] = Field(
        "frozen",
        description="finetune: the whole network; frozen: a head on stored embeddings; auto, for noise-model: frozen, "
        "and networks beside it where that takes minutes and unseen given labels are more probable with them",
    )
    weights: str = Field(
        "packaged",
        description="packaged, none, hub, a timm/hub tag, a file, or self: learnt from the training images alone, "
        "without labels; where mode auto tries networks and that takes more than minutes, they begin from none",
    )
    self_epochs: Count = Field(40, description="weights=self: passes over the training images")
    beside: Literal["none", "packaged"] = Field(
        "none", description="frozen: packaged = embeddings of the packaged ImageNet network beside those of model.name"
    )
    head: Literal["linear", "mlp"] = Field("linear", description="frozen: head trained on the embeddings")
    hidden: Annotated[int, Field(ge=1, le=65536)] = Field(256, description="frozen: width of the mlp head")
    dropout: Annotated[float, Field(ge=0.0, le=0.99)] = Field(
        0.2, description="dropout before the last layer; bald samples it"
    )
    input_size: Annotated[int, Field(ge=8, le=2048)] | None = Field(
        None, description="pixels the network sees; none = data.image_size (finetune), 112 at least (frozen)"
    )

    def on_embeddings(self) -> "ModelConfig":
        """The frozen backbones that a noise model looks at beside networks of this model, without these networks."""
        if self.weights == "self":
            return self.model_copy(update={"mode": "frozen", "beside": "packaged"})
        return ModelConfig(mode="frozen", dropout=self.dropout)


class LnlConfig(_Section):
    """Phase 1: learning with noisy labels."""

    method: LnlMethod = Field(
        "co-teaching-vog", description="cross-entropy, co-teaching, co-teaching-vog or noise-model"
    )
    epochs: Count = Field(50, description="passes over the training items")
    batch_size: Annotated[int, Field(ge=2)] = Field(256, description="items of a step, over all processes")
    mix_ratio: Share = Field(0.2, description="share of the picks made by VOG: 0 = loss only, 1 = VOG only")
    forget_rate: Rate | Literal["estimate", "true"] = Field(
        "estimate", description="share of labels thought wrong; true = the injected rate (simulation only)"
    )
    forget_ramp_epochs: Annotated[int, Field(ge=0)] = Field(10, description="epochs until the forget rate is reached")
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(11, description="epochs that pick by loss alone")
    vog_window: Annotated[int, Field(ge=2)] = Field(5, description="epochs of gradients")
    vog_normalise: Literal["none", "class"] = Field("none", description="class: compared within a given class")
    vog_source: Literal["training", "evaluation"] = Field(
        "training",
        description="gradients from the training forward pass, or from one evaluation pass per epoch",
    )
    clean_set: Literal["whole-set", "last-epoch"] = Field(
        "whole-set",
        description="one selection over all items under the evaluation transform, or the last epoch's batch picks",
    )
    prior_adjustment: Share = Field(
        0.5,
        description="noise-model: how much rare classes are favoured: 0 = as frequent as they are, 1 = all equally",
    )
    noise_matrix: Literal["chosen", "free", "symmetric", "none"] = Field(
        "chosen",
        description="noise-model: how labels go wrong: chosen by the reads, always free, always symmetric, or none = "
        "every label is believed",
    )
    reader_error: Rate | Literal["estimate"] = Field(
        "estimate", description="noise-model: share of reads thought wrong; what is exported is the read all the same"
    )
    optimizer: Literal["sgd", "adamw"] = Field(
        "sgd", description="adamw learns a network from scratch in fewer epochs; its learning rate is about 0.003"
    )
    learning_rate: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(0.01, description="at the start of a cosine")
    momentum: Rate = Field(0.9, description="of sgd")
    weight_decay: Annotated[float, Field(ge=0.0, le=1000.0)] = Field(
        1e-4, description="of sgd and adamw, which wants more of it, about 0.05"
    )
    augment: bool = Field(True, description="finetune: random crop, flip, rotation, blur and colour jitter")


class ActiveConfig(_Section):
    """Phase 2: active label refinement."""

    sampler: Sampler = Field(
        "entropy",
        description="random, entropy, least-confidence, margin, bald, coreset, or made for re-labelling: "
        "posterior-entropy, posterior-least-confidence, disagreement, label-quality, macro-f1",
    )
    rounds: Annotated[int, Field(ge=0)] = Field(8, description="of select, read, update")
    budget: Count = Field(70, description="reads per round")
    audit: Annotated[int, Field(ge=0)] = Field(
        0, description="reads per round beside the budget, drawn at random from all unread items, for the estimates"
    )
    until: str | None = Field(
        None,
        description="stop early: label_accuracy=X or macro_f1=X, where the lower end of its interval is X or more, or "
        "gain<X, where the next 100 reads are expected to add less to label accuracy and to macro-F1; "
        "none = all rounds",
    )
    epochs: Count = Field(25, description="epochs of fine-tuning per round")
    start: Literal["warm", "scratch"] = Field("warm", description="weights at the start of each round")
    train_on: Literal["clean+bought", "bought"] = Field(
        "clean+bought", description="presumed clean and bought items, or bought ones alone"
    )
    oracle_error: Rate = Field(0.0, description="share of reads that a simulated reader gets wrong")
    label_leak: bool = Field(
        False, description="reveal the truth of every presumed-clean item, as the published code does"
    )
    draws: Annotated[int, Field(ge=2)] = Field(20, description="bald: forward passes with dropout")

    @field_validator("until")
    @classmethod
    def _is_a_rule(cls, value: str | None) -> str | None:
        if value is not None:
            parse_rule(value)
        return value


class Config(_Section):
    """Everything that a run depends on."""

    preset: str = Field("default", description="a set of defaults, see below")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="of every draw: noise, weights, batches, picks")
    out: Path | None = Field(None, description="run folder")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of matrix products in networks; weights and losses stay float32"
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(None, description="CPU threads; none = all cores")
    checkpoint_seconds: Annotated[float, Field(ge=0.0)] = Field(30.0, description="least time between checkpoints")
    cluster: Cluster = Field(
        "none", description="ray: large sets are embedded and scored by the cluster at RAY_ADDRESS"
    )
    data: DataConfig = DataConfig()
    noise: NoiseConfig = NoiseConfig()
    model: ModelConfig = ModelConfig()
    lnl: LnlConfig = LnlConfig()
    active: ActiveConfig = ActiveConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> "Config":
        if self.noise.kind != "class-dependent" and (self.noise.pairs or self.noise.matrix):
            raise ValueError("noise.pairs and noise.matrix belong to noise.kind=class-dependent")
        if self.noise.pairs and self.noise.matrix:
            raise ValueError("give noise.pairs or noise.matrix, not both")
        if self.noise.kind != "symmetric" and self.noise.exempt:
            raise ValueError("noise.exempt belongs to noise.kind=symmetric")
        if self.noise.kind != "given" and self.noise.column:
            raise ValueError("noise.column belongs to noise.kind=given")
        if self.active.sampler == "bald" and self.model.dropout < 0.01:
            raise ValueError("active.sampler=bald samples dropout masks, so model.dropout must be 0.01 at least")
        if self.lnl.method == "noise-model" and self.model.mode != "finetune" and self.model.head != "linear":
            raise ValueError(
                "lnl.method=noise-model fits a linear head to frozen embeddings: set model.head=linear, "
                "model.mode=finetune or another lnl.method"
            )
        if self.lnl.method == "noise-model" and self.active.label_leak:
            raise ValueError(
                "active.label_leak reveals what is presumed clean, which lnl.method=noise-model does not train on"
            )
        if self.model.mode == "auto" and self.lnl.method != "noise-model":
            raise ValueError(
                f"model.mode=auto belongs to lnl.method=noise-model, and lnl.method is {self.lnl.method}: "
                "set model.mode=frozen or model.mode=finetune"
            )
        if self.model.weights != "self" and self.model.self_epochs != ModelConfig.model_fields["self_epochs"].default:
            raise ValueError(f"model.self_epochs belongs to model.weights=self, and it is {self.model.weights}")
        if self.model.beside != "none" and (self.model.mode != "frozen" or self.model.weights == "packaged"):
            raise ValueError(
                "model.beside=packaged adds the packaged network to the embeddings of another: "
                "set model.mode=frozen, and model.weights=self, none, hub or a file"
            )
        self._check_noise_model()
        return self

    def _check_noise_model(self) -> None:
        """ValueError where keys of the noise model would not be read, or would leave the sampler nothing to see."""
        lnl, sampler = self.lnl, self.active.sampler
        for key, value in (("noise_matrix", "chosen"), ("reader_error", "estimate")):
            if lnl.method != "noise-model" and getattr(lnl, key) != value:
                raise ValueError(f"lnl.{key} belongs to lnl.method=noise-model, and lnl.method is {lnl.method}")
        if lnl.noise_matrix == "none" and lnl.reader_error != "estimate":
            raise ValueError("lnl.reader_error is not read with lnl.noise_matrix=none, which believes every read")
        if lnl.noise_matrix == "none" and sampler in ("posterior-entropy", "posterior-least-confidence", "macro-f1"):
            raise ValueError(
                f"with lnl.noise_matrix=none no label is doubted, so that active.sampler={sampler} has nothing to go "
                "by: set active.sampler=entropy, disagreement or label-quality"
            )

    def settings(self) -> dict[str, Any]:
        """Every value as plain JSON types, for files."""
        return self.model_dump(mode="json")

    def identity(self) -> str:
        """A short digest of everything that can change a result; `settings_of_results` says what cannot."""
        return hashlib.sha256(json.dumps(self.settings_of_results(), sort_keys=True).encode()).hexdigest()[:16]

    def settings_of_results(self) -> dict[str, Any]:
        """The settings without those that cannot change a result: where it is kept, and who computes it."""
        values = self.settings()
        for key in ("out", "checkpoint_seconds", "cluster"):
            values.pop(key)
        values["data"].pop("cache")
        return values


PRESETS: dict[str, dict[str, Any]] = {
    # The best that the project has; `_preset_values` says what becomes of it where some of it is said otherwise.
    "default": {
        "lnl.method": "noise-model",
        "active.sampler": "macro-f1",
        "model.mode": "auto",
        "model.name": "small_resnet",
        "model.weights": "self",
        "lnl.optimizer": "adamw",
        "lnl.learning_rate": 0.004,
        "lnl.weight_decay": 0.05,
        "lnl.batch_size": 64,
        "lnl.epochs": 14,
        "active.epochs": 4,
    },
    # The published method, corrected: no label leak, forget rate estimated, one selection over the whole set.
    "paper": {"lnl.method": "co-teaching-vog", "lnl.forget_rate": "estimate", "lnl.clean_set": "whole-set"},
    # For comparison only: every presumed-clean item silently gets its true label, and the noise rate is known.
    "paper-as-published": {
        "lnl.method": "co-teaching-vog",
        "lnl.forget_rate": "true",
        "lnl.clean_set": "last-epoch",
        "active.label_leak": True,
    },
    "cross-entropy": {"lnl.method": "cross-entropy", "active.sampler": "random"},
}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence fragment with the nearest known name, or all of them.

    >>> did_you_mean("entropi", ["entropy", "margin"])
    'did you mean entropy?'
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def load_config(file: Path | None = None, settings: Sequence[str] = ()) -> Config:
    """The configuration from defaults, preset, YAML `file` and `key.path=value` settings; later ones win.

    Errors: ConfigError, one sentence that names the key, the value and the nearest known name.

    >>> load_config(settings=["preset=paper", "seed=3"]).seed
    3
    """
    flat = _read_flat(file) if file else {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {setting!r} has not the form key.path=value")
        _check_key(key.strip())
        flat[key.strip()] = _parse_value(key.strip(), text)
    preset = flat.get("preset", "default")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"preset {preset!r} is unknown: {did_you_mean(str(preset), PRESETS)}")
    nested: dict[str, Any] = {}
    for key, value in {**_preset_values(preset, flat), **flat}.items():
        _check_key(key)
        section, _, leaf = key.rpartition(".")
        target = nested.setdefault(section, {}) if section else nested
        if isinstance(value, str) and value.startswith("~/") and (Path in _types(key) or key == "model.weights"):
            # Paths in YAML files and behind an equals sign are not expanded by a shell.
            value = str(Path(value).expanduser())
        # YAML reads a bare `true` as a boolean; for the forget rate it is the name of an option.
        target[leaf] = "true" if key == "lnl.forget_rate" and value is True else value
    try:
        return Config.model_validate(nested)
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error)) from None


def _preset_values(preset: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What `preset` sets beside the keys that were `said`.

    The default is the noise model where no other method is asked for, nor what it cannot do; elsewhere it sets nothing.
    Who says another model means its embeddings, or says `finetune`.  How a network learns is set for one that no label
    has shaped.
    """
    values = PRESETS[preset]
    if preset != "default":
        return values
    needed = {"lnl.method": "noise-model", "model.head": "linear", "active.label_leak": False}
    if any(said.get(key, value) != value for key, value in needed.items()):
        return {}
    unlabelled = said.get("model.weights", "none") in ("none", "self")
    same = {"model.name": values["model.name"], "model.beside": "none", "model.input_size": None}
    another = not unlabelled or any(said.get(key, value) != value for key, value in same.items())
    mode = said.get("model.mode", "frozen" if another else "auto")
    if mode == "auto" or (mode == "finetune" and unlabelled and "model.weights" in said):
        return values
    kept = {"lnl.method", "active.sampler"}
    if said.get("model.weights") == "self":
        # What learns from the set alone is the network that is small enough for it.
        kept.add("model.name")
    return {key: value for key, value in values.items() if key in kept}


def _read_flat(file: Path) -> dict[str, Any]:
    """Every value of the configuration `file` under its key path."""
    values, _ = read_yaml_file(file, "the configuration file")
    flat: dict[str, Any] = {}
    for key, value in _flatten(values):
        if key in flat:
            raise ConfigError(
                f"the configuration file {file} has the key {key!r} twice, within its section and with a dot: "
                "remove one of them"
            )
        flat[key] = value
    return flat


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name in _sections():
            yield from _flatten(value, f"{name}.")
        else:
            yield name, value


def _parse_value(key: str, text: str) -> Any:
    if _is_text_key(key):
        # Paths and names are taken as they stand: colons, brackets and leading zeros are common in them.
        return None if text.strip() in ("", "null") else text.strip()
    return parse_yaml(text, f"the value of {key}, {text!r},")


def _is_text_key(key: str) -> bool:
    return bool({str, Path} & _types(key))


def _types(key: str) -> set[Any]:
    section, _, leaf = key.rpartition(".")
    owner = _sections()[section] if section else Config
    annotation = owner.model_fields[leaf].annotation
    return set(typing.get_args(annotation)) if isinstance(annotation, types.UnionType) else {annotation}


def _sections() -> dict[str, type[_Section]]:
    return {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section)
    }


def known_keys() -> list[str]:
    """Every key path that a configuration understands, sections included."""
    sections = _sections()
    keys = [name for name in Config.model_fields if name not in sections]
    return sorted(keys + [f"{name}.{leaf}" for name, section in sections.items() for leaf in section.model_fields])


def _check_key(key: str) -> None:
    known = known_keys()
    if key in _sections():
        raise ConfigError(
            f"{key} is a section: set one of its keys, such as {next(k for k in known if k.startswith(key + '.'))}"
        )
    if key not in known:
        raise ConfigError(f"the key {key!r} is unknown: {_nearest_key(key, known)}")


def _nearest_key(key: str, known: Sequence[str]) -> str:
    """A sentence fragment with the key that was meant; sixty keys in one sentence would help nobody."""
    section, _, leaf = key.rpartition(".")
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    # The right name in the wrong section, or in none, is the commonest slip.
    near = near or [name for name in known if name.rpartition(".")[2] == leaf]
    near = near or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    if section in _sections():
        return f"known are {', '.join(name for name in known if name.startswith(f'{section}.'))}"
    return f"known are {', '.join(Config.model_fields)} and the keys of the sections among them"


def _explain(error: pydantic.ValidationError) -> str:
    """One sentence for the first thing that is wrong."""
    first = error.errors()[0]
    # Union members add their own names to the location; keep what a user can type.
    location = [str(part) for part in first["loc"]]
    key = ".".join(location[:2]) if location and location[0] in _sections() else ".".join(location[:1])
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return message
    value = first["input"]
    choices = _choices(key)
    if choices and isinstance(value, str):
        return f"{key}={value} is not one of its values: {did_you_mean(value, choices)}"
    reason = message[0].lower() + message[1:]
    return f"{key}={value!r} cannot be used: {reason}"


def _choices(key: str) -> list[str]:
    section, _, leaf = key.rpartition(".")
    owner = _sections()[section] if section else Config
    return _literals(owner.model_fields[leaf].annotation)


def _literals(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is Literal:
        return [str(value) for value in typing.get_args(annotation)]
    return [name for part in typing.get_args(annotation) for name in _literals(part)]
