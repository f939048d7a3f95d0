import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from overread.progress import FIRST_LINE, NEXT_LINE, Bars, Silent


def test_bars_count_on_a_terminal() -> None:
    bars, screen = Bars(), io.StringIO()
    bars.console = Console(file=screen, force_terminal=True, width=100)
    with bars.task("embedding", 10, done=4) as advance:
        advance(3)
        advance(2)
    assert "embedding" in screen.getvalue()
    assert "9/10" in screen.getvalue()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is, to be moved by the test."""
    now = [1000.0]
    monkeypatch.setattr("overread.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_short_work_leaves_nothing_in_a_log(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Bars().task("embedding", 10) as advance:
        clock[0] += FIRST_LINE - 0.1
        advance(10)
    assert capsys.readouterr() == ("", "")


def test_long_work_is_told_of_now_and_then_in_a_log(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Bars().task("without [labels], 561 images", 400, done=100) as advance:
        for _ in range(300):
            clock[0] += 1
            advance(1)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[:2] == [
        "without [labels], 561 images: 110 of 400, 0:00:10 spent, about 0:04:50 left",
        "without [labels], 561 images: 140 of 400, 0:00:40 spent, about 0:04:20 left",
    ]
    assert len(lines) == 1 + 290 // NEXT_LINE


def test_a_terminal_that_cannot_draw_gets_lines(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    bars, screen = Bars(), io.StringIO()
    bars.console = Console(file=screen, force_terminal=True, width=40)
    with bars.task("a description that is longer than this line", 10) as advance:
        clock[0] += FIRST_LINE
        advance(0)
        advance(5)
        clock[0] += NEXT_LINE
        advance(5)
    assert (
        screen.getvalue() == "a description that is longer than this line: 5 of 10, 0:00:10 spent, about 0:00:10 left\n"
    )


def test_notes_are_shown_as_they_stand_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Bars().note("[bold]set[/bold] [1]: 3 images")
    assert capsys.readouterr() == ("", "[bold]set[/bold] [1]: 3 images\n")


def test_an_error_inside_a_task_comes_out() -> None:
    for reporter in (Bars(), Silent()):
        with pytest.raises(ValueError, match="inside"), reporter.task("embedding", 2):
            raise ValueError("inside")


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Silent()
    silent.note("nobody looks")
    with silent.task("embedding", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")
