"""The commands as a user meets them: help, exit codes, and every kind of bad input."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from locks import lock_held_elsewhere
from PIL import Image
from safetensors.torch import save_file
from tiny import write_tiny_set

from overread import __version__
from overread.cli import main, summary
from overread.config import known_keys

COMMANDS = ("demo", "simulate", "bench", "doctor")
QUICK = [
    "model.input_size=32",
    "lnl.epochs=2",
    "lnl.warmup_epochs=1",
    "lnl.vog_window=2",
    "lnl.batch_size=32",
    "active.rounds=2",
    "active.budget=5",
    "active.epochs=1",
    "threads=1",
]


class Outcome(NamedTuple):
    code: object
    out: str
    err: str


Call = Callable[..., Outcome]
Prepare = Callable[[Path], object]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Run the command line in this process, in the folder `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["overread", *arguments])
            with pytest.raises(SystemExit) as end:
                main()
        captured = capsys.readouterr()
        return Outcome(end.value.code or 0, captured.out, captured.err)

    return run


def settings(*texts: str) -> list[str]:
    return [part for text in texts for part in ("--set", text)]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below `folder` with its content, and every folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def assert_refused(outcome: Outcome, *fragments: str) -> None:
    """Exit code 2 and exactly one line on stderr, a sentence with all the fragments."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.endswith("\n")
    assert outcome.err.startswith("overread: ")
    assert "Traceback" not in outcome.err
    assert len(outcome.err) < 700
    for fragment in fragments:
        assert fragment in outcome.err


# --- bad configuration -----------------------------------------------------------------------------------------------

SETTINGS: dict[str, tuple[list[str], list[str]]] = {
    "misspelt key": (["noise.rat=0.2"], ["noise.rat", "did you mean noise.rate?"]),
    "key in the wrong section": (["lnl.sampler=margin"], ["lnl.sampler", "did you mean active.sampler?"]),
    "key that resembles none": (["qqqqqqqq=1"], ["qqqqqqqq", "unknown"]),
    "section for a key": (["noise=0.2"], ["noise is a section", "noise.column"]),
    "no equals sign": (["noise.rate"], ["noise.rate", "key.path=value"]),
    "no key": (["=3"], ["=3", "key.path=value"]),
    "misspelt preset": (["preset=papr"], ["papr", "did you mean paper?"]),
    "misspelt sampler": (["active.sampler=entropi"], ["entropi", "did you mean entropy?"]),
    "misspelt method": (["lnl.method=coteaching"], ["coteaching", "did you mean co-teaching?"]),
    "misspelt noise": (["noise.kind=symetric"], ["symetric", "did you mean symmetric?"]),
    "misspelt format": (["data.format=nzp"], ["nzp", "did you mean npz?"]),
    "misspelt mode": (["model.mode=finetuned"], ["finetuned", "did you mean finetune?"]),
    "rate 1": (["noise.rate=1"], ["noise.rate=1", "less than 1"]),
    "rate below 0": (["noise.rate=-0.1"], ["noise.rate=-0.1", "greater than or equal to 0"]),
    "rate NaN": (["noise.rate=.nan"], ["noise.rate=nan", "finite"]),
    "rate in words": (["noise.rate=half"], ["noise.rate='half'", "number"]),
    "rate as a date that there is not": (["noise.rate=2020-13-45"], ["noise.rate", "2020-13-45"]),
    "rate without information": (["noise.rate=0.67"], ["rate 0.67", "3 classes", "stay below"]),
    "budget 0": (["active.budget=0"], ["active.budget=0", "greater than or equal to 1"]),
    "budget with a fraction": (["active.budget=2.5"], ["active.budget=2.5", "integer"]),
    "budget yes": (["active.budget=yes"], ["active.budget=True"]),
    "rounds below 0": (["active.rounds=-1"], ["active.rounds=-1", "greater than or equal to 0"]),
    "reader always wrong": (["active.oracle_error=1"], ["active.oracle_error=1", "less than 1"]),
    "forget rate 1": (["lnl.forget_rate=1"], ["lnl.forget_rate=1", "less than 1"]),
    "forget rate misspelt": (["lnl.forget_rate=estimat"], ["estimat", "did you mean estimate?"]),
    "forget rate false": (["lnl.forget_rate=false"], ["lnl.forget_rate=False"]),
    "no epochs": (["lnl.epochs=0"], ["lnl.epochs=0"]),
    "mix ratio above 1": (["lnl.mix_ratio=1.5"], ["lnl.mix_ratio=1.5", "less than or equal to 1"]),
    "window of one epoch": (["lnl.vog_window=1"], ["lnl.vog_window=1"]),
    "infinite learning rate": (["lnl.learning_rate=.inf"], ["lnl.learning_rate=inf", "finite"]),
    "learning rate that overflows": (["lnl.learning_rate=1e300"], ["lnl.learning_rate='1e300'", "1000"]),
    "more threads than a machine has": (["threads=100000"], ["threads=100000", "1024"]),
    "head that fits no memory": (["model.head=mlp", "model.hidden=100000000"], ["model.hidden=100000000"]),
    "seed below 0": (["seed=-1"], ["seed=-1"]),
    "seed too large": (["seed=4294967296"], ["seed=4294967296", "4294967296"]),
    "value that is no YAML": (["noise.exempt=[disc"], ["noise.exempt", "[disc"]),
    "list wanted": (["noise.exempt=disc"], ["noise.exempt='disc'"]),
    "exempt class unknown": (["noise.exempt=[dics]"], ["dics", "did you mean disc?"]),
    "pair of an unknown class": (
        ["noise.kind=class-dependent", "noise.pairs=[[disc, strip]]"],
        ["strip", "did you mean stripe?"],
    ),
    "pairs for symmetric noise": (["noise.pairs=[[disc, stripe]]"], ["noise.pairs", "noise.kind=class-dependent"]),
    "matrix of the wrong size": (
        ["noise.kind=class-dependent", "noise.matrix=[[1, 0], [0, 1]]"],
        ["noise matrix", "3 rows"],
    ),
    "matrix row that is no distribution": (
        ["noise.kind=class-dependent", "noise.matrix=[[1, 0, 0], [0, 0.5, 0.4], [0, 0, 1]]"],
        ["row 1", "0.9", "sum to 1"],
    ),
    "singular matrix": (
        ["noise.kind=class-dependent", "noise.matrix=[[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]"],
        ["classes 0 and 1", "no label tells them apart"],
    ),
    "given labels that there are not": (["noise.kind=given"], ["noise.kind=given", "data.given_column"]),
    "column without given labels": (["noise.column=x"], ["noise.column", "noise.kind=given"]),
    "bald without dropout": (["active.sampler=bald", "model.dropout=0"], ["bald", "model.dropout"]),
    "dropout of everything": (["model.dropout=0.999"], ["model.dropout=0.999", "less than or equal to 0.99"]),
    "device that is not there": (["device=cuda:99"], ["cuda:99", "use auto or cpu"]),
    "device unknown": (["device=gpu"], ["'gpu'", "auto, cpu, cuda"]),
    "model unknown": (["model.mode=finetune", "model.name=resnet19"], ["resnet19", "did you mean resnet1"]),
    "no packaged weights for the model": (
        ["model.name=resnet18"],
        ["resnet18", "model.name=tf_efficientnet_lite0", "model.weights=hub"],
    ),
    "weight file missing": (["model.weights=absent.pth"], ["absent.pth"]),
    "weights misspelt": (["model.weights=packagd"], ["packagd", "tf_efficientnet_lite0"]),
    "imbalance below 1": (["data.imbalance_factor=0.5"], ["data.imbalance_factor=0.5"]),
    "imbalance that empties a class": (["data.imbalance_factor=60"], ["data.min_class_items", "noise"]),
    "too few items for the classes": (["data.max_train=2"], ["data.max_train=2", "3 classes"]),
    "tiny images": (["data.image_size=4"], ["data.image_size=4"]),
    "class left out": (["data.classes=[disc, stripe]"], ["'noise'", "outside the classes", "data.on_error=skip"]),
    "class without items": (["data.classes=[disc, stripe, noise, spot]"], ["'spot'", "no items", "data.classes"]),
    "no classes": (["data.classes=[]"], ["data.classes=[]", "at least 2"]),
    "class named twice": (["data.classes=[disc, disc, stripe, noise]"], ["'disc' is named twice"]),
    "pair of a class with itself": (
        ["noise.kind=class-dependent", "noise.pairs=[[disc, disc]]"],
        ["disc -> disc", "two different"],
    ),
    "ragged matrix": (["noise.kind=class-dependent", "noise.matrix=[[1, 0], [1]]"], ["noise matrix", "equal length"]),
    "no model": (["model.name="], ["model.name"]),
    "device of another kind": (["device=meta"], ["'meta'", "use auto, cpu"]),
    "data of another format": (["data.format=csv"], ["tiny.npz", "cannot be read as UTF-8"]),
    "MedMNIST that is none": (["data.format=medmnist"], ["tiny.npz", "no MedMNIST file", "train_images"]),
    "file in place of a folder": (["data.format=folder"], ["tiny.npz is not a folder", "one folder a class"]),
    "second test split": (["data.test_path=tiny.npz"], ["test split already", "data.test_path"]),
    "data missing": (["data.path=absent.npz"], ["data.path=absent.npz", "does not exist"]),
    "no data": (["data.path="], ["data.path is not set"]),
    "packaged data set misspelt": (["data.path=dermamnst", "data.format=medmnist"], ["dermamnst"]),
    "run folder in place of a file": (["out=tiny.npz"], ["tiny.npz is a file", "--out"]),
    "run folder below a file": (["out=tiny.npz/run"], ["tiny.npz/run", "--out"]),
    "cache that is a file": (["data.cache=tiny.npz"], ["tiny.npz", "data.cache"]),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_bad_setting_is_refused_before_anything_is_written(case: str, call: Call, tmp_path: Path) -> None:
    texts, fragments = SETTINGS[case]
    write_tiny_set(tmp_path / "tiny.npz")
    before = tree(tmp_path)
    outcome = call("simulate", *settings("data.path=tiny.npz", "out=run/of/mine", *QUICK, *texts))
    assert_refused(outcome, *fragments)
    assert tree(tmp_path) == before


# --- bad files -------------------------------------------------------------------------------------------------------


def npz(**changes: Any) -> Prepare:
    """The tiny set with other arrays; None leaves one out."""

    def write(folder: Path) -> None:
        with np.load(write_tiny_set(folder / "tiny.npz")) as stored:
            arrays = {**stored, **changes}
        np.savez(folder / "tiny.npz", **{name: array for name, array in arrays.items() if array is not None})

    return write


def text(name: str, content: str | bytes) -> Prepare:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def both(*steps: Prepare) -> Prepare:
    def write(folder: Path) -> None:
        for step in steps:
            step(folder)

    return write


def pictures(folder: Path) -> None:
    """Eight images of two classes in folders, and a table of them."""
    lines = ["path,label"]
    for index in range(8):
        name = f"{'ab'[index % 2]}/{index}.png"
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 20 * index, dtype=np.uint8)).save(folder / "set" / name)
        lines.append(f"{name},{name[0]}")
    (folder / "set.csv").write_text("\n".join(lines) + "\n")


def weights(content: dict[str, Any], name: str) -> Prepare:
    def write(folder: Path) -> None:
        if name.endswith(".safetensors"):
            save_file(content, folder / name)
        else:
            torch.save(content, folder / name)

    return both(write_tiny, write)


def write_tiny(folder: Path) -> None:
    write_tiny_set(folder / "tiny.npz")


ROWS = 132
BROKEN_PNG = both(pictures, text("set/a/0.png", b"\x89PNG\r\n\x1a\nand then nothing"))
TINY = settings("data.path=tiny.npz")
TABLE = settings("data.path=set.csv", "data.image_root=set")
FILES: dict[str, tuple[Prepare, list[str], list[str]]] = {
    "configuration missing": (write_tiny, ["study.yaml"], ["study.yaml", "does not exist"]),
    "configuration is a folder": (lambda folder: (folder / "study.yaml").mkdir(), ["study.yaml"], ["study.yaml"]),
    "configuration is a list": (text("study.yaml", "- seed: 1\n"), ["study.yaml"], ["study.yaml", "not a list"]),
    "configuration is a word": (text("study.yaml", "seed"), ["study.yaml"], ["study.yaml", "not a str"]),
    "configuration broken": (text("study.yaml", "seed: 1\nnoise: {rate: 0.2\n"), ["study.yaml"], ["YAML", "line 3"]),
    "configuration binary": (text("study.yaml", b"\xff\xfe\x00\x81"), ["study.yaml"], ["study.yaml", "cannot be read"]),
    "configuration with control characters": (text("study.yaml", "seed: \x01"), ["study.yaml"], ["not valid YAML"]),
    "configuration with an object": (
        text("study.yaml", "seed: !!python/object/apply:os.getpid []"),
        ["study.yaml"],
        ["study.yaml", "not valid YAML"],
    ),
    "configuration empty": (text("study.yaml", ""), ["study.yaml"], ["data.path is not set"]),
    "configuration with a misspelt key": (
        text("study.yaml", "active:\n  bugdet: 3\n"),
        ["study.yaml"],
        ["active.bugdet", "did you mean active.budget?"],
    ),
    "configuration with a value for a section": (
        text("study.yaml", "noise: 0.2\n"),
        ["study.yaml"],
        ["noise is a section"],
    ),
    "configuration with a list for a preset": (
        text("study.yaml", "preset: [paper]\n"),
        ["study.yaml"],
        ["preset ['paper'] is unknown"],
    ),
    "data is an empty folder": (
        lambda folder: (folder / "empty").mkdir(),
        settings("data.path=empty"),
        ["empty", "one folder a class"],
    ),
    "data is an empty file": (text("tiny.npz", ""), TINY, ["tiny.npz", "cannot be read"]),
    "data is text": (text("tiny.npz", "images"), TINY, ["tiny.npz", "cannot be read"]),
    "data of an unknown suffix": (text("set.mat", "x"), settings("data.path=set.mat"), ["set.mat", "data.format"]),
    "data cut short": (
        lambda folder: (folder / "tiny.npz").write_bytes(write_tiny_set(folder / "tiny.npz").read_bytes()[:9000]),
        TINY,
        ["tiny.npz", "damaged"],
    ),
    "labels are pickled objects": (npz(labels=np.array([{}] * ROWS)), TINY, ["tiny.npz", "pickle"]),
    "no labels": (npz(labels=None), TINY, ["tiny.npz", "'labels'"]),
    "too few labels": (npz(labels=np.zeros(5, dtype=int)), TINY, ["labels", "(5,)", "132"]),
    "labels outside the classes": (npz(labels=np.full(ROWS, 9)), TINY, ["132 items", "9", "data.on_error=skip"]),
    "labels not finite": (npz(labels=np.full(ROWS, np.nan)), TINY, ["nan", "data.on_error=skip"]),
    "one class": (npz(labels=np.zeros(ROWS, dtype=int), class_names=np.array(["disc"])), TINY, ["one class", "'disc'"]),
    "images are floats": (npz(images=np.zeros((ROWS, 16, 16, 3))), TINY, ["images", "float64", "uint8"]),
    "images are vectors": (npz(images=np.zeros((ROWS, 9), np.uint8)), TINY, ["images", "(132, 9)"]),
    "no images": (npz(images=np.zeros((0, 8, 8, 3), np.uint8), labels=np.zeros(0, int), split=None), TINY, ["tiny"]),
    "no test split": (npz(split=np.array(["train", "val"] * 66)), TINY, ["test split", "data.test_path"]),
    "unknown split": (npz(split=np.array(["train", "exam"] * 66)), TINY, ["'exam'", "train, val, test"]),
    "group in two splits": (npz(group=np.array(["patient 1"] * ROWS)), TINY, ["patient 1", "train", "test"]),
    "id twice": (npz(image_id=np.array(["x", "x", *map(str, range(ROWS - 2))])), TINY, ["'x'", "2 times"]),
    "table without labels": (both(pictures, text("set.csv", "path,dx\na/0.png,a\n")), TABLE, ["label", "set.csv"]),
    "table of a missing image": (
        both(pictures, text("set.csv", "path,label\na/77.png,a\nb/1.png,b\n")),
        TABLE,
        ["a/77.png", "data.on_error=skip"],
    ),
    "table with a header alone": (both(pictures, text("set.csv", "path,label\n")), TABLE, ["set.csv", "no rows"]),
    "folder of images missing": (pictures, settings("data.path=set.csv", "data.image_root=x"), ["data.image_root=x"]),
    "broken image": (BROKEN_PNG, settings("data.path=set"), ["a/0.png", "data.on_error=skip"]),
    "too few images": (
        pictures,
        settings("data.path=set", "data.min_class_items=20"),
        ["fewer than 20", "data.min_class_items"],
    ),
    "weights are code": (
        weights({"state": Path("x")}, "w.pth"),
        [*TINY, *settings("model.mode=finetune", "model.name=resnet18", "model.weights=w.pth")],
        ["w.pth", "tensors", "state_dict"],
    ),
    "weights do not fit": (
        weights({"conv1.weight": torch.zeros(2, 2)}, "w.safetensors"),
        [*TINY, *settings("model.mode=finetune", "model.name=resnet18", "model.weights=w.safetensors")],
        ["w.safetensors", "resnet18", "conv1.weight"],
    ),
    "weights are text": (
        both(write_tiny, text("w.safetensors", "no weights")),
        [*TINY, *settings("model.weights=w.safetensors")],
        ["w.safetensors", "cannot be read"],
    ),
    "folder with other files": (
        both(write_tiny, text("run/thesis.tex", "results")),
        TINY,
        ["run holds other files", "--out"],
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_refused_and_nothing_is_written(case: str, call: Call, tmp_path: Path) -> None:
    prepare, arguments, fragments = FILES[case]
    prepare(tmp_path)
    before = tree(tmp_path)
    assert_refused(call("simulate", *arguments, *settings(*QUICK), "--out", "run"), *fragments)
    assert tree(tmp_path) == before


# --- damaged and foreign runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny set and a complete run of it in `run`."""
    folder = tmp_path_factory.mktemp("finished")
    write_tiny_set(folder / "tiny.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["overread", *SAME])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code in (0, None)
    return folder


SAME = ["simulate", *settings("data.path=tiny.npz", *QUICK), "--out", "run"]


def interrupted(folder: Path, rounds: int = 2) -> None:
    """Make the run in `folder` one that was killed after `rounds` entries."""
    results = json.loads((folder / "run" / "results.json").read_text())
    results.update(complete=False, rounds=results["rounds"][:rounds])
    (folder / "run" / "results.json").write_text(json.dumps(results))


def overwrite(name: str, content: bytes) -> Prepare:
    def write(folder: Path) -> None:
        (target,) = (folder / "run").glob(name)
        target.write_bytes(content)

    return write


def edit(name: str, change: Callable[[dict[str, Any]], object]) -> Prepare:
    def write(folder: Path) -> None:
        path = folder / "run" / name
        values = yaml.safe_load(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return write


def lose(name: str) -> Prepare:
    def remove(folder: Path) -> None:
        (folder / "run" / name).unlink()

    return remove


def other_data(folder: Path) -> None:
    npz(labels=np.roll(np.repeat([0, 1, 2], 44), 5))(folder)


RUNS: dict[str, tuple[Prepare, list[str], list[str]]] = {
    "another configuration": (lambda folder: None, ["noise.rate=0.2"], ["run", "noise.rate", "differ", "--out"]),
    "another preset": (lambda folder: None, ["preset=paper"], ["run", "preset", "differ", "--out"]),
    "data changed": (other_data, [], ["data", "changed", "another folder"]),
    "configuration damaged": (overwrite("config.yaml", b"\x80\x81"), [], ["config.yaml is damaged", "--out"]),
    "configuration of another version": (
        edit("config.yaml", lambda values: values["lnl"].update(gone=1)),
        [],
        ["config.yaml", "cannot be used by this version", "lnl.gone"],
    ),
    "configuration lost": (lose("config.yaml"), [], ["run holds a run that lost its config.yaml", "put", "--out"]),
    "results empty": (overwrite("results.json", b""), [], ["results.json is damaged", "remove it"]),
    "results cut short": (overwrite("results.json", b'{"schema": 1, "rou'), [], ["results.json is damaged"]),
    "results binary": (overwrite("results.json", b"\xff\xfe\x80"), [], ["results.json is damaged"]),
    "results of another schema": (edit("results.json", lambda values: values.update(schema=2)), [], ["schema 1"]),
    "results without rounds": (edit("results.json", lambda values: values.pop("rounds")), [], ["no rounds"]),
    "reads damaged": (both(interrupted, overwrite("reads.parquet", b"PAR1")), [], ["reads.parquet", "another folder"]),
    "checkpoint damaged": (
        both(interrupted, overwrite("checkpoints/round-001.safetensors", b"\0" * 64)),
        [],
        ["round-001.safetensors", "damaged"],
    ),
    "checkpoint lost": (
        both(interrupted, lose("checkpoints/round-001.safetensors")),
        [],
        ["'checkpoints/round-001.safetensors' of the run in run is lost", "put it back", "--out"],
    ),
    "checkpoint of a complete run lost": (
        lose("checkpoints/round-000.safetensors"),
        [],
        ["'checkpoints/round-000.safetensors' of the run in run is lost", "put it back", "--out"],
    ),
    "reads of a complete run lost": (lose("reads.parquet"), [], ["'reads.parquet' of the run in run is lost", "--out"]),
    "reads and scores lost": (both(lose("reads.parquet"), lose("scores/round-001.parquet")), [], ["reads.parquet"]),
    "phase 1 damaged": (
        both(interrupted, overwrite("checkpoints/phase1-*.safetensors", b"not tensors")),
        [],
        ["phase1-", "damaged", "another folder"],
    ),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_run_that_cannot_go_on_is_refused_and_left_as_it_is(
    case: str, call: Call, finished: Path, tmp_path: Path
) -> None:
    prepare, texts, fragments = RUNS[case]
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    prepare(tmp_path)
    before = tree(tmp_path)
    assert_refused(call(*SAME, *settings(*texts)), *fragments)
    assert tree(tmp_path) == before


def test_a_run_that_another_process_holds_is_refused(call: Call, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = tree(tmp_path)
    with lock_held_elsewhere(tmp_path / "run" / "run.lock"):
        assert_refused(call(*SAME), "another process is working in run", "--out")
    assert tree(tmp_path) == before


def test_the_same_command_again_changes_nothing_and_says_the_same(call: Call, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = tree(tmp_path)
    outcome = call(*SAME)
    assert outcome.code == 0
    assert [line.split()[:2] for line in outcome.out.splitlines()[1:4]] == [["0", "0"], ["1", "5"], ["2", "10"]]
    assert outcome.out.endswith("report: run/report.html\n")
    assert tree(tmp_path) == before


LOST = ("scores/round-000.parquet", "scores/round-001.parquet", "test/round-002.parquet", "noise.json", "gallery.npz")


@pytest.mark.parametrize("names", [*((name,) for name in LOST), LOST], ids=[*LOST, "all"])
def test_a_complete_run_makes_again_what_it_lost(
    names: tuple[str, ...], call: Call, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = tree(tmp_path)
    for name in names:
        lose(name)(tmp_path)
    outcome = call(*SAME)
    assert outcome.code == 0
    for name in names:
        assert name in outcome.err.replace("\n", "")
    assert tree(tmp_path) == before


def test_a_lost_report_is_made_again_without_a_word(call: Call, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = tree(tmp_path)
    lose("report.html")(tmp_path)
    outcome = call(*SAME)
    assert (outcome.code, outcome.err) == (0, "the run in run is complete already\n")
    assert tree(tmp_path) == before


def test_a_run_that_goes_on_makes_again_what_it_lost(call: Call, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = tree(tmp_path)
    interrupted(tmp_path)
    for name in LOST:
        lose(name)(tmp_path)
    assert call(*SAME).code == 0
    after = tree(tmp_path)
    assert after.keys() == before.keys()
    # Times are in the results and so in the report.
    timed = {"run/results.json", "run/report.html"}
    assert {name for name in after if after[name] != before[name]} <= timed


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("scores/round-001.parquet", lambda results: results["rounds"][1].update(label_accuracy=0.125)),
        ("test/round-002.parquet", lambda results: results["rounds"][2]["test"].update(macro_f1=0.125)),
        ("noise.json", lambda results: results["noise"].update(estimated_rate=0.125)),
    ],
)
def test_what_would_come_out_differently_is_not_made_again(
    name: str, change: Callable[[dict[str, Any]], object], call: Call, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    edit("results.json", change)(tmp_path)
    lose(name)(tmp_path)
    before = tree(tmp_path)
    outcome = call(*SAME)
    assert outcome.code == 2
    assert f"overread: '{name}' of the run in run is lost" in outcome.err
    assert "would not agree with results.json" in outcome.err
    assert "--out" in outcome.err.splitlines()[-1]
    assert tree(tmp_path) == before


def test_other_code_that_goes_on_is_said_and_recorded(
    call: Call, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    first = json.loads((tmp_path / "run" / "results.json").read_text())
    assert first["code_changes"] == []
    for rounds, code in ((1, "2.0+b"), (2, "2.0+b"), (2, "3.0+c")):
        interrupted(tmp_path, rounds)
        monkeypatch.setattr("overread.header.code_id", lambda code=code: code)
        outcome = call(*SAME)
        assert outcome.code == 0
        said = (rounds, code) != (2, "2.0+b")
        assert outcome.err == ("the code has changed since this run began; results.json will name both\n" * said)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["code"] == first["code"]
    assert results["code_changes"] == [{"round": 1, "code": "2.0+b"}, {"round": 2, "code": "3.0+c"}]
    report = (tmp_path / "run" / "report.html").read_text()
    assert all(code in report for code in (first["code"], "2.0+b", "3.0+c"))
    assert "From round 2 on this run was made by other code, 3.0+c." in report


def test_a_complete_run_is_that_of_the_code_that_made_it(
    call: Call, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = tree(tmp_path)
    monkeypatch.setattr("overread.header.code_id", lambda: "2.0+b")
    outcome = call(*SAME)
    assert (outcome.code, outcome.err) == (0, "the run in run is complete already\n")
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (settings("data.path=."), "runs/"),
        ([*settings("data.path=set"), "--out", "set/run"], "set/run"),
        ([*settings("data.path=set"), "--out", "set"], "set"),
        (settings("data.path=set", "out=elsewhere/../set/a/run"), "elsewhere/../set/a/run"),
        ([*settings("data.path=link"), "--out", "set/run"], "set/run"),
        ([*settings("data.path=set"), "--out", "link/run"], "link/run"),
        (settings("data.path=set.csv", "data.image_root=set", "data.test_path=set", "out=set/run"), "set/run"),
    ],
)
def test_a_run_folder_in_the_data_folder_is_refused(
    arguments: list[str], named: str, call: Call, tmp_path: Path
) -> None:
    pictures(tmp_path)
    (tmp_path / "link").symlink_to("set")
    before = tree(tmp_path)
    assert_refused(call("simulate", *arguments), f"the run folder {named}", "in the data folder", "--out")
    assert tree(tmp_path) == before


def test_the_same_command_goes_on_from_where_a_run_was_killed(call: Call, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    before = tree(tmp_path)
    interrupted(tmp_path)
    (tmp_path / "run" / "scores" / "round-002.parquet").unlink()
    (tmp_path / "run" / "scores" / ".round-002.parquet.0123.tmp").write_bytes(b"PAR1")
    assert call(*SAME).code == 0
    after = tree(tmp_path)
    assert after.keys() == before.keys()
    # Times are in the results and so in the report.
    timed = {"run/results.json", "run/report.html"}
    assert {name for name in after if after[name] != before[name]} <= timed


# --- the other commands, help and exit codes -------------------------------------------------------------------------

USAGE: dict[str, tuple[list[str], list[str]]] = {
    "unknown command": (["simulat"], ["simulat", "Did you mean 'simulate'?", "overread --help"]),
    "unknown option": (["simulate", "--rounds", "3"], ["--rounds", "overread simulate --help"]),
    "option without value": (["simulate", "--out"], ["--out", "requires an argument"]),
    "two configurations": (["simulate", "a.yaml", "b.yaml"], ["b.yaml", "overread simulate --help"]),
    "bench without a grid": (["bench"], ["GRID.yaml", "overread bench --help"]),
    "bench with no workers": (["bench", "grid.yaml", "--workers", "0"], ["--workers", "overread bench --help"]),
    "bench with workers in words": (["bench", "grid.yaml", "--workers", "two"], ["--workers", "integer"]),
    "grid missing": (["bench", "grid.yaml"], ["grid.yaml", "cannot be read"]),
    "doctor with a misspelt key": (["doctor", "--set", "sed=1"], ["sed", "did you mean seed?"]),
    "run folder that is no UTF-8": (["simulate", "--out", "r\udcffn"], ["'r\\udcffn'", "UTF-8", "another name"]),
    "data that is no UTF-8": (["simulate", "--set", "data.path=\udce9.npz"], ["'data.path=\\udce9.npz'", "UTF-8"]),
    "run folder with a NUL": (["simulate", "--out", "r\0n"], ["'r\\x00n'", "NUL", "another name"]),
    "data with a NUL": (["simulate", "--set", "data.path=a\0.npz"], ["'data.path=a\\x00.npz'", "NUL"]),
    "grid that is no UTF-8": (["bench", "\udcff.yaml"], ["'\\udcff.yaml'", "UTF-8"]),
    "doctor of a missing file": (["doctor", "study.yaml"], ["study.yaml", "does not exist"]),
}


@pytest.mark.parametrize("case", USAGE)
def test_a_command_that_cannot_be_understood_is_refused(case: str, call: Call, tmp_path: Path) -> None:
    arguments, fragments = USAGE[case]
    outcome = call(*arguments)
    assert_refused(outcome, *fragments)
    assert "?;" not in outcome.err
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example_that_is_understood(command: str, call: Call) -> None:
    outcome = call(command, "--help")
    assert outcome.code == 0
    words = " ".join(outcome.out.split())
    _, colon, examples = words.partition("Example: " if "Example: " in words else "Examples: ")
    assert colon
    assert f"overread {command} " in examples
    for option in [word for word in examples.split() if word.startswith("--")]:
        assert option in words.partition("Example")[0]
    keys = [word.partition("=")[0] for word in examples.split() if "=" in word]
    assert set(keys) <= set(known_keys())


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_manual_names_every_command(arguments: list[str], call: Call) -> None:
    outcome = call(*arguments)
    assert outcome.code == 0
    assert outcome.err == ""
    for command in COMMANDS:
        assert f"\n  {command} " in outcome.out
    # Nothing is cut off.
    assert "..." not in outcome.out.replace("[OPTIONS] COMMAND [ARGS]...", "")
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_the_version(call: Call) -> None:
    assert call("--version") == Outcome(0, f"overread {__version__}\n", "")


def test_an_interruption_ends_with_130_and_can_be_resumed(call: Call, tmp_path: Path) -> None:
    write_tiny_set(tmp_path / "tiny.npz")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("overread.refine.choose", interrupt)
        outcome = call(*SAME)
    assert outcome.code == 130
    assert outcome.err.endswith("overread: interrupted; the same command goes on with whatever is done by now\n")
    assert "Traceback" not in outcome.err
    assert [entry["round"] for entry in json.loads((tmp_path / "run" / "results.json").read_text())["rounds"]] == [0]
    assert call(*SAME).code == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["complete"]


def test_an_error_of_the_system_is_one_sentence(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "run/scores/round-000.parquet")

    monkeypatch.setattr("overread.doctor.examine", full)
    assert_refused(call("doctor"), "No space left on device", "run/scores/round-000.parquet")


def test_a_mistake_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("overread.doctor.examine", wrong)
    monkeypatch.setattr(sys, "argv", ["overread", "doctor"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_scores_that_are_not_defined_are_a_dash() -> None:
    entry = {
        "round": 0,
        "oracle_reads": 0,
        "test": {"macro_f1": None, "balanced_accuracy": 0.5},
        "label_accuracy": 1.0,
        "pool": 3,
    }
    results = {"rounds": [entry], "label_leak": False, "noise": {"warnings": []}, "notes": []}
    lines = summary(results).splitlines()
    assert len(lines) == 2
    assert lines[1].split() == ["0", "0", "-", "0.500", "1.000"]
    assert "leak" in summary({**results, "label_leak": True})


def test_what_was_unusual_is_said_below_the_table() -> None:
    entry = {"round": 0, "oracle_reads": 0, "test": {"macro_f1": 0.5, "balanced_accuracy": 0.5}, "label_accuracy": 1.0}
    rounds = [{**entry, "round": number, "pool": pool} for number, pool in enumerate([9, 0, 0])]
    noise = {"warnings": ["the labels say little"]}
    text = summary({"rounds": rounds, "label_leak": False, "noise": noise, "notes": ["VOG was never used"]})
    assert text.splitlines()[4:] == [
        "The pool was empty after round 1: nothing was left to buy.",
        "Note: the labels say little.",
        "Note: VOG was never used.",
    ]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ([Path(sys.executable).with_name("overread")], "overread"),
        ([sys.executable, "-m", "overread"], "python -m overread"),
    ],
)
@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["--version"], 0, ""),
        (
            ["simulate", "--set", "active.sampler=entropi"],
            2,
            "overread: active.sampler=entropi is not one of its values: did you mean entropy?\n",
        ),
        (["bench"], 2, "overread: Missing argument 'GRID.yaml'; see {name} bench --help\n"),
        (
            ["simulate", "--out", "\udcff"],
            2,
            "overread: the argument '\\udcff' holds a NUL character or a byte that is not UTF-8; "
            "give the file or folder another name\n",
        ),
    ],
)
def test_the_installed_command_and_the_module_do_the_same(
    command: list[str], name: str, arguments: list[str], code: int, error: str, tmp_path: Path
) -> None:
    done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, error.format(name=name))
    assert list(tmp_path.iterdir()) == []


def test_the_help_of_the_module_imports_no_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "overread", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "overread.cli" in imported
    assert "torch" not in imported
