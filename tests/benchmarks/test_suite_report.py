"""An evaluation as CSV, Markdown, HTML and a table, from its record alone."""

from __future__ import annotations

import csv
import io
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from suite_fakes import RIGHT, WRONG, picture_set, record, suite

from whymask.benchmarks.intervals import Interval
from whymask.benchmarks.suite.charts import Dot, Line, dots_chart, histogram, lines_chart, round_ticks, spread_apart
from whymask.benchmarks.suite.gallery import example_rows, examples
from whymask.benchmarks.suite.record import record_from_measurements
from whymask.benchmarks.suite.sample import Cell, Column, Metric
from whymask.benchmarks.suite.suite_report import page_from_evaluation
from whymask.benchmarks.suite.suite_tables import csv_from_record, page_from_record, terminal_table, with_figures
from whymask.benchmarks.suite.summary import summaries

VOID = {"meta", "img", "path", "circle", "polyline", "polygon", "rect", "br"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed out of turn."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """A record with curves, a rival of each kind and a row that is no opponent; its summaries; pictures."""

    def curve(ask, sample, seed):
        n = len(sample.images)
        cells = {
            Cell(name, f"retention_{area:02d}"): np.full(n, float(name != "wrong" and area > 5))
            for name in sample.maps
            for area in (5, 10, 20)
        }
        rng = np.random.default_rng(sample.places[0])
        cells |= {Cell(name, "deletion"): rng.random(n) + (name != "explainer") for name in sample.maps}
        return cells | {Cell("all_ones", "deletion"): np.zeros(n)}

    columns = [Column(f"retention_{area:02d}", "higher", f"kept on {area} %") for area in (5, 10, 20)]
    metric = Metric("sweep", (*columns, Column("deletion", "lower", "area under <p> as pixels go")), curve)
    judge = suite([WRONG, RIGHT], [metric])
    file = tmp_path_factory.mktemp("graph") / "fused.onnx"
    file.write_bytes(b"graph")
    measured = judge.measure(picture_set(30, truth=True))
    written = record_from_measurements(file, judge, [measured], {"cam": "needs torch"}, "whymask evaluate <file>")
    return written, summaries(written), [examples(judge, measured)]


def test_csv_has_a_row_for_each_map_and_column(made):
    written, found, _ = made
    rows = list(csv.DictReader(io.StringIO(csv_from_record(found, written))))
    assert len(rows) == 3 * 4 + 1
    row = next(r for r in rows if (r["map"], r["column"]) == ("wrong", "retention_20"))
    assert (row["set"], row["better"], row["n"], row["verdict"]) == ("planted", "higher", "30", "apart")
    assert float(row["mean"]) == 0.0 and float(row["low"]) == 0.0 and 0 < float(row["high"]) < 0.2


def test_markdown_says_what_was_judged_how_and_how_fast(made):
    written, found, _ = made
    page = page_from_record(found, written)
    assert "explainer better than every other map in 1 of 4 columns with intervals apart; not in: retention_05" in page
    assert "| deletion ↓ | 0." in page
    assert "Left out: cam (needs torch)." in page
    assert "- right: the quadrant that decides; 2 passes an image" in page
    assert re.search(r"\| metric \| sweep \| 30 \| [\d.e+]+ \| [\d.]+ \| 0 \|", page)
    assert "Truth: the quadrant that decides." in page


def test_a_row_that_is_no_opponent_is_shown_and_not_judged(made):
    written, found, _ = made
    assert "| all_ones |" in page_from_record(found, written)
    assert "all_ones" not in str([f.cell.map for f in found[0].rivals("deletion")])


def test_the_record_carries_its_figures_for_other_readers(made):
    written, found, _ = made
    (each,) = with_figures(written, found)["sets"]
    figure = next(f for f in each["figures"] if (f["map"], f["column"]) == ("right", "deletion"))
    assert figure["verdict"] == "apart" and figure["difference_mean"] == pytest.approx(-1, abs=0.3)
    assert each["verdict"].startswith("planted, n = 30: explainer better")
    assert "figures" not in written["sets"][0]


def test_html_is_whole_needs_nothing_else_and_holds_every_part(made):
    written, found, shown = made
    page = page_from_evaluation(found, written, shown)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r"(src|href)=\"?(https?:|//)|@import|<script", page)
    assert "whymask evaluate &lt;file&gt;" in page and "area under &lt;p&gt;" in page
    assert "retention over pixels: explainer, wrong, right" in page
    assert page.count("<h3>") == 3 and page.count("data:image/png") == len(shown[0]) == 9
    assert "prefers-color-scheme: dark" in page


def test_html_is_made_from_the_record_alone(made):
    written, found, _ = made
    page = page_from_evaluation(found, written)
    assert "data:image/png" not in page and "deletion ↓" in page


def test_the_terminal_table_has_the_explainer_first_with_its_marks(made):
    from rich.console import Console

    (summary,) = made[1]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(terminal_table(summary))
    lines = console.export_text().splitlines()
    names = ("explainer", "wrong", "right", "all_ones")
    rows = [line for line in lines if line.strip().startswith(names)]
    assert [row.split()[0] for row in rows] == list(names)
    assert "1.000 ~" in rows[0]


def test_a_set_with_one_picture_and_no_other_map_has_a_report(tmp_path: Path):
    judge = suite([])
    file = tmp_path / "fused.onnx"
    file.write_bytes(b"graph")
    measured = judge.measure(picture_set(1))
    written = record_from_measurements(file, judge, [measured], {}, "whymask evaluate")
    found = summaries(written)
    assert "nothing to judge" in page_from_record(found, written)
    page = page_from_evaluation(found, written, [examples(judge, measured)])
    assert page.count("data:image/png") == 1
    assert csv_from_record(found, written).count("\n") == 3


def test_examples_are_the_best_the_middle_and_the_worst():
    kept = np.array([0.5, 0.9, 0.1, 0.7, 0.3, 0.6, 0.2])
    assert example_rows(kept, each=2) == {"best": [1, 3], "median": [5, 0], "worst": [6, 2]}
    for n in (1, 2, 3, 8, 9):
        rows = [row for part in example_rows(np.arange(float(n))).values() for row in part]
        assert len(rows) == len(set(rows)) and set(rows) <= set(range(n))


def test_examples_state_their_figures_and_show_three_pictures(made):
    example = made[2][0][0]
    assert example.kind == "best"
    assert re.search(r"image \d+: (green|blue) 100%, on the kept 25% of the pixels 100% · class kept", example.caption)
    assert example.strip.shape == (16, 3 * 16 + 2 * 4, 3)


def test_names_at_lines_never_cover_each_other():
    places = spread_apart([50.0, 10.0, 50.0, 51.0, 99.0], gap=12, low=0, high=100)
    assert places[1] == 10 and places[0] < places[2] < places[3] < places[4] <= 100
    ordered = sorted(places)
    assert min(b - a for a, b in itertools.pairwise(ordered)) >= 12 - 1e-9


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.303, 1.89, [0.5, 1.0, 1.5]),
        (-0.07, 0.45, [0.0, 0.1, 0.2, 0.3, 0.4]),
        (1.78, 1.83, [1.78, 1.79, 1.8, 1.81, 1.82, 1.83]),
        (12.0, 9000.0, [2000.0, 4000.0, 6000.0, 8000.0]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, expected: list[float]):
    assert round_ticks(low, high) == expected


def test_charts_follow_the_page_and_place_their_points():
    flat = [Interval(0.5, 0.4, 0.6), Interval(0.5, 0.4, 0.6)]
    chart = lines_chart([Line("mine", (0.1, 0.2), flat, True), Line("<b>", (0.1, 0.2), flat)], "pixels", "kept", "")
    ys = {pair.split(",")[1] for line in re.findall(r'<polyline points="([^"]+)"', chart) for pair in line.split()}
    assert len(ys) == 1
    assert "<b>" not in chart and "&lt;b&gt;" in chart and 'class="grid"' in chart
    dots = dots_chart([Dot("a", Interval(0, -1, 1)), Dot("b", Interval(2, 1.5, 2.5))], "x", "")
    first, second = (float(x) for x in re.findall(r'<circle cx="([\d.]+)"', dots))
    assert first < second
    bars = re.findall(r'height="([\d.]+)" fill', histogram(np.array([0.05, 0.95, 0.95]), "area", "", bins=2))
    assert float(bars[1]) == pytest.approx(2 * float(bars[0]), rel=0.01)


def test_the_page_of_a_plain_record_reads_well(tmp_path: Path):
    written = record(tmp_path)
    assert "columns with intervals apart." in page_from_record(summaries(written), written)
