import os
import subprocess
import sys
from pathlib import Path

import pytest
from locks import lock_held_elsewhere

import overread
from overread.config import Config, load_config
from overread.errors import RunError
from overread.run import code_id, default_folder, folder_of, open_run


def config_for(out: Path | None, *settings: str) -> Config:
    return load_config(settings=[*settings, *([f"out={out}"] if out else [])])


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def begin(config: Config) -> Path:
    """A run that got as far as one file."""
    with open_run(config) as run:
        (run / "noise.json").write_text("{}")
    return run


def make_and_fail(config: Config, file: Path) -> None:
    """A run that makes a file and then ends in an error."""
    with open_run(config):
        file.write_text("{}")
        raise RunError("later")


def test_the_folder_holds_the_whole_configuration(tmp_path: Path) -> None:
    config = config_for(tmp_path / "a" / "run", "preset=paper", "seed=3", "data.path=x.npz", "noise.exempt=[a, 'no']")
    run = begin(config)
    assert run == tmp_path / "a" / "run"
    again = load_config(run / "config.yaml")
    assert again == config.model_copy(update={"out": None})
    assert again.identity() == config.identity()
    assert config.identity() in (run / "config.yaml").read_text().splitlines()[0]


def test_the_same_configuration_finds_its_run_again(tmp_path: Path) -> None:
    run = begin(config_for(tmp_path / "run"))
    before = tree(run)
    with open_run(config_for(tmp_path / "run", "checkpoint_seconds=1", "data.cache=elsewhere")):
        pass
    assert tree(run) == before


def test_another_configuration_is_refused_and_the_differing_keys_are_named(tmp_path: Path) -> None:
    run = begin(config_for(tmp_path / "run"))
    before = tree(tmp_path)
    other = config_for(run, "noise.rate=0.2", "active.sampler=margin")
    with pytest.raises(RunError, match=r"another configuration \(active\.sampler, noise\.rate differ\).*--out"):
        open_run(other).__enter__()
    many = config_for(run, *(f"active.{key}=2" for key in ("rounds", "budget", "epochs", "draws")), "seed=9")
    with pytest.raises(RunError, match=r"active\.rounds and 1 more differ"):
        open_run(many).__enter__()
    assert tree(tmp_path) == before


def test_one_process_at_a_time(tmp_path: Path) -> None:
    config = config_for(tmp_path / "run")
    run = begin(config)
    before = tree(tmp_path)
    with lock_held_elsewhere(run / "run.lock"), pytest.raises(RunError, match=r"another process.*run.*--out"):
        open_run(config).__enter__()
    assert tree(tmp_path) == before
    with open_run(config):
        pass


def test_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    config = config_for(tmp_path / "run")
    code = (
        "import os, sys\n"
        "from overread.config import load_config\n"
        "from overread.run import open_run\n"
        "with open_run(load_config(settings=['out=' + sys.argv[1]])):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(config.out)], check=False).returncode == -9
    with open_run(config) as run:
        assert (run / "config.yaml").exists()


def test_what_a_killed_process_left_half_written_is_in_nobodys_way(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".config.yaml.0123.tmp").write_text("pres")
    (run / "run.lock").touch()
    begin(config_for(run))
    assert sorted(tree(run)) == ["config.yaml", "noise.json", "run.lock"]
    (run / "scores").mkdir()
    (run / "scores" / ".round-001.parquet.0123.tmp").write_text("PAR1")
    begin(config_for(run))
    assert sorted(tree(run)) == ["config.yaml", "noise.json", "run.lock", "scores"]


@pytest.mark.parametrize("error", [RunError("no such model"), KeyboardInterrupt(), OSError("disk full")])
def test_a_new_run_that_made_nothing_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "run.lock").touch()
    before = tree(tmp_path)
    for out in (tmp_path / "deep" / "er" / "run", tmp_path / "empty", tmp_path / "locked"):
        with pytest.raises(type(error)), open_run(config_for(out)):
            raise error
        assert tree(tmp_path) == before


def test_an_error_keeps_what_was_made(tmp_path: Path) -> None:
    config = config_for(tmp_path / "run")
    run = tmp_path / "run"
    with pytest.raises(RunError, match="later"):
        make_and_fail(config, run / "noise.json")
    assert sorted(tree(run)) == ["config.yaml", "noise.json", "run.lock"]
    with pytest.raises(RunError, match="second"), open_run(config):
        raise RunError("second")
    assert sorted(tree(run)) == ["config.yaml", "noise.json", "run.lock"]


def test_a_neighbour_that_appeared_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="later"):
        make_and_fail(config_for(tmp_path / "runs" / "a"), tmp_path / "runs" / "b")
    assert sorted(tree(tmp_path)) == ["runs", "runs/b"]


@pytest.mark.parametrize(
    ("name", "content", "out", "fragment"),
    [
        ("file", b"x", "file", "is a file; give a folder"),
        ("file", b"x", "file/below", r"file/below cannot be used \(Not a directory\); give another"),
        ("photos/a.png", b"x", "photos", "photos holds other files and no run"),
        ("run/config.yaml", b"\xff\xfe\x00\x01", "run", r"config\.yaml is damaged"),
        ("run/config.yaml", b"a: [", "run", r"config\.yaml is damaged"),
        ("run/config.yaml", b"", "run", r"config\.yaml is damaged"),
        ("run/config.yaml", b"a: 1", "run", "cannot be used by this version"),
        ("run/results.json", b"{}", "run", r"run holds a run that lost its config\.yaml.*put the file back.*--out"),
        ("x", b"", "n" * 300, "File name too long"),
    ],
)
def test_a_folder_that_cannot_be_used_is_left_as_it_is(
    name: str, content: bytes, out: str, fragment: str, tmp_path: Path
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    if name.startswith("run/"):
        (tmp_path / "run" / "run.lock").touch()
    before = tree(tmp_path)
    with pytest.raises(RunError, match=fragment):
        open_run(config_for(tmp_path / out)).__enter__()
    assert tree(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunError, match=r"run cannot be used \(Permission denied\)"):
            open_run(config_for(tmp_path / "run")).__enter__()
    finally:
        tmp_path.chmod(0o700)


def test_a_run_from_before_a_key_was_added_goes_on(tmp_path: Path) -> None:
    config = config_for(tmp_path / "run")
    with open_run(config) as run:
        (run / "results.json").write_text("{}")
    file = tmp_path / "run" / "config.yaml"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("precision:")))
    assert "precision" not in file.read_text()
    with open_run(config):
        pass


def test_the_default_folder_is_stable_and_every_run_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_for(None, "data.path=sets/ham.npz", "preset=paper", "seed=1")
    assert default_folder(config) == Path("runs") / f"ham-paper-{config.identity()[:8]}"
    again = config_for(None, "seed=1", "data.path=sets/ham.npz", "preset=paper", "data.cache=x", "checkpoint_seconds=0")
    assert default_folder(again) == default_folder(config)
    other = config_for(None, "data.path=sets/ham.npz", "preset=paper")
    assert default_folder(other) != default_folder(config)
    assert default_folder(config_for(None)).name.startswith("data-default-")
    assert begin(config) == default_folder(config)


@pytest.mark.parametrize(
    ("path", "stem"),
    [(".", "skin"), ("./", "skin"), ("..", "sets"), ("inner/..", "skin"), ("/", "data"), ("a.npz", "a"), ("", "data")],
)
def test_the_default_folder_has_a_name_whatever_the_data_is_called(
    path: str, stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sets" / "skin" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "sets" / "skin")
    config = config_for(None, f"data.path={path}")
    assert default_folder(config) == Path("runs") / f"{stem}-default-{config.identity()[:8]}"


@pytest.mark.parametrize("key", ["data.path", "data.test_path"])
@pytest.mark.parametrize("out", ["set", "set/run", "set/a/b", "link/run", "set/../other/../set/run"])
@pytest.mark.parametrize("data", ["set", "link", "set/../link"])
def test_a_run_in_the_data_is_refused(key: str, out: str, data: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "link").symlink_to("set")
    config = config_for(tmp_path / out, f"{key}={tmp_path / data}")
    for refuse in (folder_of, lambda each: open_run(each).__enter__()):
        with pytest.raises(RunError, match=r"lies in the data folder .*--out"):
            refuse(config)
    assert sorted(tree(tmp_path)) == ["link", "set"]


@pytest.mark.parametrize("out", ["run", "set-run", "circle"])
@pytest.mark.parametrize("data", ["set", "set.npz", "absent", "circle", "run/set"])
def test_a_run_beside_or_around_the_data_is_not(out: str, data: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set.npz").touch()
    (tmp_path / "run" / "set").mkdir(parents=True)
    (tmp_path / "circle").symlink_to("circle")
    assert folder_of(config_for(tmp_path / out, f"data.path={tmp_path / data}")) == tmp_path / out


def test_the_code_has_a_name_that_says_its_version() -> None:
    version, _, digest = code_id().partition("+")
    assert version == overread.__version__
    assert len(digest) == 12
