import io

import pytest
from rich.console import Console

from overread.progress import Bars, Silent


def test_bars_count_on_a_terminal() -> None:
    bars, screen = Bars(), io.StringIO()
    bars.console = Console(file=screen, force_terminal=True, width=100)
    with bars.task("embedding", 10, done=4) as advance:
        advance(3)
        advance(2)
    assert "embedding" in screen.getvalue()
    assert "9/10" in screen.getvalue()


def test_no_bars_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars().task("embedding", 10) as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")


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
