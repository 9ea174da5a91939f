from __future__ import annotations

import io

import pytest

from whymask.runtime import progress
from whymask.runtime.progress import PlainLines, duration, figures, track


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(total: float | None, steps: int, seconds: float) -> list[str]:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(total, "explaining", "images", stream, clock)
    for _ in range(steps):
        clock.now += seconds
        lines.advance()
    lines.finish()
    return stream.getvalue().splitlines()


def test_a_line_for_about_every_tenth():
    lines = run(40, 40, 1.0)
    assert lines[0] == "explaining: 4/40 (10 %), 1 images/s, 36 s left"
    assert lines[-1] == "explaining: 40/40 in 40 s"
    assert len(lines) == 11


def test_a_line_every_ten_seconds_when_nobody_knows_the_end():
    assert run(None, 30, 1.0)[:2] == ["explaining: 10, 1 images/s", "explaining: 20, 1 images/s"]


def test_a_quick_task_writes_one_line():
    assert run(1000, 1000, 1e-4) == ["explaining: 1000/1000 in 0 s"]


def test_notes_stay_until_the_next_and_fractions_count():
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(1.0, "timing", "", stream, clock)
    clock.now = 20.0
    lines.advance(0.25, "p50 3 ms")
    assert stream.getvalue() == "timing: 0.25/1 (25 %), 0.0125/s, 1 min 0 s left, p50 3 ms\n"


def test_nothing_done_yet_has_no_rate():
    assert figures(0, 10, 5.0) == "0/10 (0 %)"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (12_000, "3 h 20 min")])
def test_durations_for_people(seconds: float, text: str):
    assert duration(seconds) == text


def test_progress_leaves_standard_output_alone(capsys: pytest.CaptureFixture[str]):
    with track(2, "counting") as bar:
        bar.advance(2)
    assert capsys.readouterr() == ("", "counting: 2/2 in 0 s\n")


def test_a_failed_task_does_not_say_that_it_is_done(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match="stop"), track(2, "counting"):
        raise ValueError("stop")
    assert capsys.readouterr().err == ""


def test_bars_on_a_terminal_nest(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("rich")
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("sys.stderr", terminal)
    with track(1, "outside [bold]", "stages") as outer:
        with track(3, "inside", "steps") as inner:
            inner.advance(3, "loss 0.5")
        outer.advance()
    assert progress._open_bars == []
    assert all(text in terminal.getvalue() for text in ("outside [bold]", "inside", "3/3", "steps/s", "loss 0.5"))
