import ast
import itertools
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import overread
from overread.arrays.acquisition import list_samplers, sampler_needs
from overread.config import (
    PRESETS,
    Config,
    DataFormat,
    LnlMethod,
    NoiseKind,
    Sampler,
    did_you_mean,
    known_keys,
    load_config,
)
from overread.data.formats import list_formats
from overread.errors import ConfigError
from overread.learn.methods import list_methods
from overread.run import open_run

# A valid value of every key that is not its default, given what OTHER_PARTS sets.
ALTERNATIVES: dict[str, Any] = {
    "precision": "bfloat16",
    "preset": "paper",
    "seed": 7,
    "out": "elsewhere",
    "device": "cpu",
    "threads": 3,
    "checkpoint_seconds": 1.5,
    "cluster": "ray",
    "data.path": "other.npz",
    "data.format": "csv",
    "data.image_size": 64,
    "data.classes": ["a", "b"],
    "data.image_root": "images",
    "data.id_column": "id",
    "data.path_column": "file",
    "data.path_suffix": ".jpg",
    "data.label_column": "diagnosis",
    "data.one_hot_columns": ["A", "B"],
    "data.given_column": "given",
    "data.group_column": "lesion",
    "data.split_column": "split",
    "data.metadata": "meta.csv",
    "data.metadata_key": "isic_id",
    "data.test_path": "test.npz",
    "data.val_fraction": 0.2,
    "data.test_fraction": 0.3,
    "data.imbalance_factor": 50,
    "data.max_train": 500,
    "data.min_class_items": 5,
    "data.on_error": "skip",
    "data.cache": "cache",
    "noise.kind": "instance-dependent",
    "noise.rate": 0.3,
    "noise.exempt": ["a"],
    "noise.pairs": [["a", "b"]],
    "noise.matrix": [[0.9, 0.1], [0.2, 0.8]],
    "noise.column": "reader 2",
    "model.name": "resnet18",
    "model.mode": "finetune",
    "model.weights": "none",
    "model.head": "mlp",
    "model.hidden": 64,
    "model.dropout": 0.5,
    "model.input_size": 64,
    "model.self_epochs": 7,
    "model.beside": "packaged",
    "lnl.method": "co-teaching",
    "lnl.epochs": 7,
    "lnl.batch_size": 64,
    "lnl.mix_ratio": 0.5,
    "lnl.forget_rate": 0.25,
    "lnl.forget_ramp_epochs": 3,
    "lnl.warmup_epochs": 4,
    "lnl.vog_window": 3,
    "lnl.optimizer": "adamw",
    "lnl.prior_adjustment": 0.25,
    "lnl.noise_matrix": "free",
    "lnl.reader_error": 0.05,
    "lnl.vog_normalise": "class",
    "lnl.vog_source": "evaluation",
    "lnl.clean_set": "last-epoch",
    "lnl.learning_rate": 0.1,
    "lnl.momentum": 0.5,
    "lnl.weight_decay": 0.001,
    "lnl.augment": False,
    "active.sampler": "margin",
    "active.rounds": 3,
    "active.budget": 11,
    "active.audit": 4,
    "active.until": "gain<0.002",
    "active.epochs": 2,
    "active.start": "scratch",
    "active.train_on": "bought",
    "active.oracle_error": 0.1,
    "active.label_leak": True,
    "active.draws": 5,
}
OTHER_PARTS = {
    "noise.pairs": {"noise.kind": "class-dependent"},
    "noise.matrix": {"noise.kind": "class-dependent"},
    "noise.column": {"noise.kind": "given"},
    "model.self_epochs": {"model.weights": "self"},
    "model.beside": {"model.weights": "self", "model.mode": "frozen"},
    # In mode auto the preset sets these.
    "model.weights": {"model.mode": "frozen"},
    "lnl.batch_size": {"model.mode": "frozen"},
    "lnl.optimizer": {"model.mode": "frozen"},
}
# These cannot change a result.
NO_PART_OF_THE_IDENTITY = {"out", "checkpoint_seconds", "cluster", "data.cache"}
CONTRACT = {
    "preset",
    "seed",
    "data.path",
    "data.format",
    "data.image_size",
    "data.imbalance_factor",
    "data.max_train",
    "noise.kind",
    "noise.rate",
    "model.name",
    "model.mode",
    "model.weights",
    "lnl.method",
    "lnl.epochs",
    "lnl.batch_size",
    "lnl.mix_ratio",
    "lnl.forget_rate",
    "active.sampler",
    "active.rounds",
    "active.budget",
    "active.epochs",
    "device",
    "out",
}


def said(values: dict[str, Any]) -> list[str]:
    """`--set` texts that say `values`."""
    return [f"{key}={value if isinstance(value, str) else yaml.safe_dump(value)}" for key, value in values.items()]


def written(folder: Path, values: dict[str, Any]) -> Path:
    """A YAML file that says the same, with sections."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        section, _, leaf = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[leaf] = value
    (folder / "study.yaml").write_text(yaml.safe_dump(nested))
    return folder / "study.yaml"


def value_of(config: Config, key: str) -> Any:
    section, _, leaf = key.rpartition(".")
    return (config.settings()[section] if section else config.settings())[leaf]


def test_there_is_an_alternative_for_every_key() -> None:
    assert sorted(ALTERNATIVES) == known_keys()


@pytest.mark.parametrize("key", sorted(ALTERNATIVES))
def test_every_key_is_heard_on_the_command_line_and_in_a_file(key: str, tmp_path: Path) -> None:
    values = {**OTHER_PARTS.get(key, {}), key: ALTERNATIVES[key]}
    config = load_config(settings=said(values))
    assert value_of(config, key) == ALTERNATIVES[key]
    assert value_of(config, key) != value_of(Config(), key)
    assert load_config(written(tmp_path, values)) == config
    assert (
        config.model_copy(update={"out": None}).settings()
        == load_config(written(tmp_path, {**values, "out": None})).settings()
    )


@pytest.mark.parametrize("key", sorted(ALTERNATIVES))
def test_the_identity_changes_with_everything_that_can_change_a_result(key: str) -> None:
    others = OTHER_PARTS.get(key, {})
    without, with_it = (load_config(settings=said(values)) for values in (others, {**others, key: ALTERNATIVES[key]}))
    assert (without.identity() == with_it.identity()) == (key in NO_PART_OF_THE_IDENTITY)


def test_keys_of_the_contract_are_known() -> None:
    assert set(known_keys()) >= CONTRACT


def test_every_key_is_read_somewhere() -> None:
    package = Path(overread.__file__).parent
    read = {
        node.attr
        for file in package.rglob("*.py")
        if file.name != "config.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert {key.rpartition(".")[2] for key in known_keys()} - read == set()


def test_names_equal_the_registries() -> None:
    assert sorted(Sampler.__args__) == list_samplers()  # type: ignore[attr-defined]
    assert sorted(LnlMethod.__args__) == list_methods()  # type: ignore[attr-defined]
    assert sorted(DataFormat.__args__) == list_formats()  # type: ignore[attr-defined]
    assert set(NoiseKind.__args__) == {"symmetric", "class-dependent", "instance-dependent", "given"}  # type: ignore[attr-defined]
    assert "draws" in sampler_needs("bald")


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_are_valid_and_say_who_they_are(preset: str) -> None:
    config = load_config(settings=[f"preset={preset}"])
    assert config.preset == preset
    for key, value in PRESETS[preset].items():
        assert value_of(config, key) == value


def test_presets_are_what_the_contract_says() -> None:
    assert sorted(PRESETS) == ["cross-entropy", "default", "paper", "paper-as-published"]
    published = load_config(settings=["preset=paper-as-published"])
    assert (published.active.label_leak, published.lnl.forget_rate) == (True, "true")
    paper = load_config(settings=["preset=paper"])
    assert (paper.active.label_leak, paper.lnl.forget_rate) == (False, "estimate")
    assert load_config(settings=["preset=cross-entropy"]).lnl.method == "cross-entropy"


def test_later_words_win(tmp_path: Path) -> None:
    file = written(tmp_path, {"preset": "paper-as-published", "lnl.forget_rate": 0.1, "seed": 4})
    assert load_config(file).lnl.forget_rate == 0.1
    assert load_config(file).lnl.clean_set == "last-epoch"
    assert load_config(file, ["lnl.forget_rate=0.3"]).lnl.forget_rate == 0.3
    assert load_config(file, ["seed=5", "seed=6"]).seed == 6
    # A preset of the command line replaces that of the file, and still yields to the file's own keys.
    other = load_config(file, ["preset=cross-entropy"])
    assert (other.lnl.method, other.lnl.clean_set, other.lnl.forget_rate) == ("cross-entropy", "whole-set", 0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lnl:\n  epochs: 3\n  mix_ratio: 0.5\n  epochs: 5\n", r"the key 'epochs' twice, at line 2 and at line 4"),
        ("seed: 1\nlnl: {epochs: 3}\nseed: 2\n", r"the key 'seed' twice, at line 1 and at line 3"),
        ("lnl: {epochs: 3}\nlnl.epochs: 5\n", r"the key 'lnl.epochs' twice, within its section and with a dot"),
        ("data:\n  label_column: 2024-01-01\n", r"a date for the key 'label_column' at line 2"),
        ("noise: {exempt: &e [*e]}\n", r"for the key 'exempt' at line 1 that holds itself"),
        ("noise: {exempt: !!set {a}}\n", r"a set for the key 'exempt' at line 1"),
    ],
)
def test_a_file_in_which_a_value_would_be_lost_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"the configuration file .*study\.yaml has .*{message}"):
        load_config(tmp_path / "study.yaml")


def test_aliases_and_merges_are_heard_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        "active: &few {epochs: 3}\nlnl: {<<: *few, mix_ratio: &half 0.5}\nnoise: {rate: *half}\n"
    )
    config = load_config(tmp_path / "study.yaml")
    assert (config.active.epochs, config.lnl.epochs, config.lnl.mix_ratio, config.noise.rate) == (3, 3, 0.5, 0.5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2024-01-01", "a date"),
        ("&a [*a]", "holds itself"),
        ("{a: 1, a: 2}", "the key 'a' twice"),
        ("[a", "valid YAML"),
    ],
)
def test_a_setting_is_read_as_strictly_as_a_file(value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^the value of noise.exempt, .*{message}"):
        load_config(settings=[f"noise.exempt={value}"])


def test_true_is_an_option_of_the_forget_rate(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("lnl:\n  forget_rate: true\n")
    assert load_config(tmp_path / "study.yaml").lnl.forget_rate == "true"
    assert load_config(settings=["lnl.forget_rate=true"]).lnl.forget_rate == "true"
    assert load_config(settings=["lnl.forget_rate=estimate"]).lnl.forget_rate == "estimate"
    whole = load_config(settings=["lnl.forget_rate=0"]).lnl.forget_rate
    assert (whole, type(whole)) == (0.0, float)


@pytest.mark.parametrize(
    "path",
    ["C:/sets/ham.npz", "2024", "a: b", "[x]/{y}.npz", "# no comment", "true", "1e3", "ä ö/ü.npz", "a=b", "0123"],
)
def test_paths_and_names_are_taken_as_they_stand(path: str) -> None:
    config = load_config(settings=[f"data.path={path}", f"data.label_column={path}", "noise.kind=given"])
    assert str(config.data.path) == path
    assert config.data.label_column == path


def test_a_home_folder_is_expanded_in_paths_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_config(settings=["out=~/run", "model.weights=~/net.pth", "data.label_column=~/x"])
    assert config.out == tmp_path / "run"
    assert config.model.weights == str(tmp_path / "net.pth")
    assert config.data.label_column == "~/x"


def test_null_and_nothing_unset_a_path() -> None:
    assert load_config(settings=["data.path=null", "out="]).data.path is None


def test_weights_and_device_may_be_words_of_yaml() -> None:
    config = load_config(settings=["model.weights=none", "device=cuda:1"])
    assert (config.model.weights, config.device) == ("none", "cuda:1")


@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.floats(0, 1, exclude_max=True),
    learning_rate=st.floats(0, 1000, exclude_min=True),
    column=st.text(min_size=1),
    names=st.lists(st.text(), max_size=3),
    sampler=st.sampled_from(list_samplers()),
    forget=st.floats(0, 1, exclude_max=True) | st.sampled_from(["estimate", "true"]),
)
@settings(deadline=None, max_examples=60)
def test_a_written_configuration_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], column: str, **values: Any
) -> None:
    config = Config.model_validate(
        {
            "seed": values["seed"],
            "data": {"label_column": column, "path": "set.npz"},
            "noise": {"rate": values["rate"], "exempt": names},
            "lnl": {"learning_rate": values["learning_rate"], "forget_rate": values["forget"]},
            "active": {"sampler": values["sampler"]},
        }
    )
    config = config.model_copy(update={"out": tmp_path_factory.mktemp("run")})
    for _ in range(2):  # the second time it is compared with what was written
        with open_run(config) as run:
            again = load_config(run / "config.yaml")
    assert again == config.model_copy(update={"out": None})
    assert again.identity() == config.identity()


@given(st.text(alphabet=string.ascii_lowercase + "._", max_size=25))
@settings(deadline=None, max_examples=100)
def test_any_key_is_known_or_refused_in_one_sentence(key: str) -> None:
    if key in known_keys():
        return
    with pytest.raises(ConfigError) as error:
        load_config(settings=[f"{key}=1"])
    assert "\n" not in str(error.value)
    assert "Traceback" not in str(error.value)


@given(st.sampled_from(known_keys()), st.text(max_size=20) | st.integers().map(str) | st.floats().map(str))
@settings(deadline=None, max_examples=200)
def test_any_value_is_valid_or_refused_with_its_key(key: str, text: str) -> None:
    try:
        load_config(settings=[f"{key}={text}"])
    except ConfigError as refusal:
        sentence = str(refusal)
    else:
        return
    assert key in sentence


def test_any_misspelt_key_is_recognised() -> None:
    for key, position in itertools.product(known_keys(), (-1, -2)):
        misspelt = key[:position] + key[position + 1 :] if position < -1 else key[:-1]
        if misspelt in known_keys() or len(key) < 6:
            continue
        with pytest.raises(ConfigError, match="did you mean"):
            load_config(settings=[f"{misspelt}=1"])


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("sampler", "active.sampler"),
        ("lnl.sampler", "active.sampler"),
        ("rate", "noise.rate"),
        ("noise.rat", "noise.rate"),
        ("data.seed", "seed"),
        ("active.round", "active.rounds"),
    ],
)
def test_the_key_that_was_meant(key: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown: did you mean {meant}\\?$"):
        load_config(settings=[f"{key}=1"])


def test_without_a_near_name_all_are_named() -> None:
    assert did_you_mean("qqq", ["b", "a"]) == "known are a, b"
    with pytest.raises(ConfigError, match=r"known are noise\.column, noise\.exempt"):
        load_config(settings=["noise.qqqqqqqqq=1"])


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]
