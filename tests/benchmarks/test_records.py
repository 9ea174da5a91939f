"""Measurements as files and tables: nothing is lost, and a map that is not beaten is said so."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from quadrant import explainer, oracle, pictures

from whymask.benchmarks.faithfulness import Case, Faithfulness, FaithfulnessConfig, measure_faithfulness
from whymask.benchmarks.records import (
    csv_from_report,
    json_from_report,
    measurement_from_record,
    read_report,
    record_from_measurement,
    report_from_measurements,
)
from whymask.benchmarks.tables import BEGIN, END, bar_line, readme_block, replace_block, results_page, verdict
from whymask.runtime.errors import ArtefactError, InputError

N = 100


def measured(kept: dict[tuple[str, float | None], int], name: str = "photos") -> Faithfulness:
    """A measurement in which the first so many of 100 pictures kept their class."""
    bits = {Case(map_, "fill", area): np.arange(N) < count for (map_, area), count in kept.items()}
    files = tuple(f"{i}.jpg" for i in range(N))
    return Faithfulness(name, files, (), np.zeros(N, np.int64), np.full(N, 0.25), bits, passes=100, seconds=2.0)


def curve(explainer_kept: int, random: int = 10, centre: int = 20, cam: int = 30) -> Faithfulness:
    counts = {"explainer": explainer_kept, "random": random, "centre": centre, "cam": cam}
    return measured({(name, area): count for area in (0.1, None) for name, count in counts.items()})


def report(tmp_path: Path) -> dict:
    graph = tmp_path / "fused.onnx"
    graph.write_bytes(b"a graph")
    config = FaithfulnessConfig(areas=(0.1, 0.5))
    judged = explainer(oracle())
    sets = [measure_faithfulness(judged, pictures(6, seed), config, name=f"set {seed}") for seed in (0, 1)]
    return report_from_measurements(graph, judged, config, sets, "whymask evaluate fused.onnx --data photos")


def test_a_report_comes_back_from_its_file_with_every_outcome(tmp_path: Path):
    made = report(tmp_path)
    path = tmp_path / "report.json"
    path.write_text(json_from_report(made), encoding="utf-8")
    read = read_report(path)
    assert read == json.loads(json.dumps(made))
    back = measurement_from_record(read["sets"][0])
    again = record_from_measurement(back)
    assert again["run"].pop("images_per_second") >= 0
    assert read["sets"][0]["run"].pop("images_per_second") >= 0
    assert again == read["sets"][0]
    assert back.kept[Case("explainer", "blur", 0.1)].dtype == np.bool_


def test_a_report_names_graph_card_command_and_method(tmp_path: Path):
    made = report(tmp_path)
    assert made["schema"] == 1
    assert made["graph"]["file"] == "fused.onnx"
    assert len(made["graph"]["sha256"]) == 64
    assert made["graph"]["card"]["threshold"] == 0.5
    assert made["method"]["fills"]["fill"].startswith("colour [124, 116, 104] of the card")
    assert made["method"]["fills"]["blur"] == "the picture after 3 passes of a 3-pixel box on each axis, edges repeated"
    assert set(made["method"]["maps"]) == {"explainer", "random", "centre", "all-ones", "all-zeros"}
    assert "numpy" in made["versions"]


def test_where_a_classifier_lies_on_this_machine_stays_out_of_a_report(tmp_path: Path):
    judged = explainer(oracle())
    card = judged.card.__class__(
        judged.card.classifier.__class__("/home/me/classifiers.py:net", "00", 3),
        judged.card.input,
        judged.card.explainer,
    )
    judged.card = card
    graph = tmp_path / "fused.onnx"
    graph.write_bytes(b"a graph")
    made = report_from_measurements(graph, judged, FaithfulnessConfig(), [curve(50)], "")
    assert made["graph"]["card"]["classifier"] == "classifiers.py:net"
    assert "/home" not in json_from_report(made)


def test_cells_that_hold_no_other_stand_on_one_line():
    assert json_from_report({"a": [1, 2], "b": [{"c": 1.5}, {"c": "é"}], "d": []}) == (
        '{\n "a": [1, 2],\n "b": [\n  {"c": 1.5},\n  {"c": "é"}\n ],\n "d": []\n}'
    )


def test_the_csv_has_a_row_a_cell_and_the_differences_of_baselines(tmp_path: Path):
    made = report(tmp_path)
    rows = list(csv.DictReader(io.StringIO(csv_from_report(made))))
    assert len(rows) == sum(len(each["cells"]) for each in made["sets"]) == 2 * 2 * (3 * 3 + 2)
    by_map = {row["map"]: row for row in rows}
    assert by_map["explainer"]["explainer_minus_map"] == ""
    assert float(by_map["random"]["difference_low"]) <= float(by_map["random"]["explainer_minus_map"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a faithfulness report; make it with: python -m whymask.benchmarks.imagenet evaluate"),
        ("[]", "not a faithfulness report"),
        ('{"schema": 99}', "schema 99, expected 1; evaluate again"),
    ],
)
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, text: str, message: str):
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtefactError, match=message):
        read_report(path)


def test_a_record_with_missing_outcomes_is_refused():
    record = json.loads(json.dumps(record_from_measurement(curve(50))))
    record["outcomes"]["kept"][0]["bits"] = "101"
    with pytest.raises(ArtefactError, match=r"3 outcomes of .* for 100 pictures"):
        measurement_from_record(record)
    del record["outcomes"]
    with pytest.raises(ArtefactError, match="lacks or garbles 'outcomes'; evaluate again"):
        measurement_from_record(record)


@pytest.mark.parametrize(
    ("kept", "mark"),
    [(60, ""), (32, "~"), (30, "✗ cam"), (25, "✗ cam"), (5, "✗ random, centre, cam")],
    ids=["clearly above", "above within the interval", "equal", "below one", "below all"],
)
def test_the_explainers_mark_says_what_it_does_not_beat(kept: int, mark: str):
    assert verdict(curve(kept), "fill", 0.1) == mark


def test_the_bar_counts_cells_and_names_those_not_met():
    line = bar_line([curve(60), curve(25)])
    assert line == "Bar: above random, centre, cam at each area. Met in 1 of 2 cells; not met: photos fill 10%."


def test_the_bar_claims_no_rival_that_was_not_measured():
    without = measured({(name, 0.1): count for name, count in (("explainer", 50), ("random", 10), ("centre", 20))})
    assert bar_line([without]) == "Bar: above random, centre at each area. Met in 1 of 1 cells."


def test_the_page_shows_intervals_baselines_and_an_absent_cam(tmp_path: Path):
    page = results_page([report(tmp_path)])
    assert "| map | 10% kept | 50% kept |" in page
    assert "| **100.0 (54–100)**" in page
    assert "No CAM row: it needs the classifier itself" in page
    assert "Area kept at the card's threshold: mean 25.0% (p5 25.0%" in page
    assert "The threshold carries no promise" in page


def test_the_front_table_has_a_row_a_rival(tmp_path: Path):
    made = report(tmp_path)
    made["sets"] = [json.loads(json.dumps(record_from_measurement(curve(60))))]
    lines = readme_block([made]).splitlines()
    assert "| classifier | pictures | map | 10% | at threshold (mean area) |" in lines
    assert "| quadrant | photos | explainer | **60** | **60** (25%) |" in lines
    assert "| quadrant | photos | cam | 30 | 30 (25%) |" in lines


def test_the_block_between_the_markers_is_replaced_and_the_rest_stays(tmp_path: Path):
    path = tmp_path / "README.md"
    path.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nend\n", encoding="utf-8")
    for _ in range(2):
        replace_block(path, "\nnew\n")
        assert path.read_text(encoding="utf-8") == f"# Title\n\n{BEGIN}\nnew\n{END}\n\nend\n"


@pytest.mark.parametrize(
    "text", ["nothing", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"], ids=["none", "one", "swapped", "twice"]
)
def test_a_readme_without_its_markers_is_left_alone(tmp_path: Path, text: str):
    path = tmp_path / "README.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="each once and in this order; put them in"):
        replace_block(path, "new")
    assert path.read_text(encoding="utf-8") == text


def test_an_absent_readme_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"README\.md: no such file"):
        replace_block(tmp_path / "README.md", "new")
