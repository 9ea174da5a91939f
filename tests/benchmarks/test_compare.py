"""`whymask compare`: what is called a regression, what cannot be told, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
typer = pytest.importorskip("typer")
from onnx_models import write_classifier, write_fused  # noqa: E402
from quadrant import explainer, oracle, pictures  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from whymask.benchmarks.bench import run_bench  # noqa: E402
from whymask.benchmarks.compare import compare_files  # noqa: E402
from whymask.benchmarks.compare_cli import compare  # noqa: E402
from whymask.benchmarks.compare_findings import judge_count, judge_pictures, share_from_text  # noqa: E402
from whymask.benchmarks.faithfulness import FaithfulnessConfig, measure_faithfulness  # noqa: E402
from whymask.benchmarks.latency import BenchSettings  # noqa: E402
from whymask.benchmarks.latency_stats import paired_ratio  # noqa: E402
from whymask.benchmarks.records import report_from_measurements  # noqa: E402
from whymask.runtime.errors import ArtefactError, InputError  # noqa: E402

QUICK = BenchSettings(
    seconds=0.2, pictures=4, warmup_seconds=0.0, warmup_pairs=2, min_pairs=10, resamples=50, phase_calls=5
)
COST = {"macs": 1.6e8, "nodes": 233.0}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A true record, whose figures the tests replace."""
    folder = tmp_path_factory.mktemp("record")
    write_classifier(folder / "tiny.classifier.onnx")
    return json.loads(run_bench(write_fused(folder / "tiny.onnx"), threads=1, settings=QUICK).to_json())


@pytest.fixture
def bench_file(record: dict, tmp_path: Path):
    """Writes a valid record of 400 pairs in which the classifier took 10 ms; `changes` replace fields."""

    def write(name: str, ratio: float = 1.1, noise: float = 0.02, slower: float = 1.0, **changes) -> Path:
        random = np.random.default_rng(len(name))
        classifier = 10.0 * slower * random.normal(1.0, noise, 400)
        fused = ratio * 10.0 * slower * random.normal(1.0, noise, 400)
        made = copy.deepcopy(record)
        told = paired_ratio(fused, classifier, 0.95, 50, 0)
        made["ratio"]["value"] = told.value
        for graph, times in {"fused": fused, "classifier": classifier}.items():
            made["samples"][f"{graph}_ms"] = times.tolist()
            made[graph]["p50_ms"] = float(np.median(times))
        made |= {"verdict": {"valid": True, "reasons": []}, "cost": COST, **changes}
        (tmp_path / name).write_text(json.dumps(made), encoding="utf-8")
        return tmp_path / name

    return write


def run(*arguments: object):
    app = typer.Typer()
    app.command()(compare)
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(argument) for argument in arguments])


def verdicts(*files: Path, limit: float = 0.05, allow: tuple[str, ...] = ()) -> dict[str, str]:
    result = compare_files(files, limit, allow)
    return {finding.figure: finding.verdict for pair in result.pairs for finding in pair.findings}


RATIO, FUSED = "fused / classifier, p50", "fused graph, p50"


@pytest.mark.parametrize(
    ("after", "expected"),
    [(1.1, "held"), (1.0, "held"), (1.1 * 1.2, "regressed"), (1.1 * 1.05, "cannot tell")],
    ids=["as before", "faster", "much slower", "slower by the limit itself"],
)
def test_latency_regresses_only_where_the_interval_says_so(bench_file, after: float, expected: str):
    found = verdicts(bench_file("a.json"), bench_file("after.json", after))
    assert found[RATIO] == expected
    assert found[FUSED] == expected


def test_the_interval_of_the_change_grows_with_the_noise_of_both_runs(bench_file):
    def width(noise: float) -> float:
        files = bench_file("a.json", noise=noise), bench_file("after.json", 1.2, noise=noise)
        finding = compare_files(files, 0.05).pairs[0].findings[0]
        assert finding.low < finding.worse < finding.high
        return finding.high - finding.low

    assert width(0.1) == pytest.approx(5 * width(0.02), rel=0.4)


def test_noise_makes_a_regression_something_that_cannot_be_told(bench_file):
    files = bench_file("a.json", noise=0.5), bench_file("after.json", 1.18, noise=0.5)
    assert verdicts(*files)[RATIO] == "cannot tell"


def test_a_slower_machine_leaves_the_ratio_and_withholds_the_verdict_on_the_time_itself(bench_file):
    result = compare_files([bench_file("a.json"), bench_file("after.json", slower=1.5)], 0.05)
    ratio, fused = result.pairs[0].findings[:2]
    assert ratio.verdict == "held"
    assert (fused.verdict, fused.low > 0.4) == ("cannot tell", True)
    assert "the very same classifier's p50 moved by +" in fused.reason


def test_another_classifier_file_is_no_control_of_the_machine(bench_file, record: dict):
    other = record["classifier_file"] | {"sha256": "0" * 64}
    found = verdicts(bench_file("a.json"), bench_file("after.json", slower=1.5, classifier_file=other))
    assert found[FUSED] == "regressed"


@pytest.mark.parametrize(
    ("cost", "multiply_adds", "nodes"),
    [
        ({"macs": 1.6e8, "nodes": 233.0}, "held", "held"),
        ({"macs": 1.7e8, "nodes": 200.0}, "regressed", "held"),
        ({"macs": 1.5e8, "nodes": 300.0}, "held", "regressed"),
    ],
)
def test_what_is_counted_has_no_noise(bench_file, cost: dict, multiply_adds: str, nodes: str):
    found = verdicts(bench_file("a.json"), bench_file("after.json", cost=cost))
    assert (found["multiply-adds"], found["nodes"]) == (multiply_adds, nodes)


def test_what_a_record_does_not_tell_is_said_not_to_be_judged(bench_file, record: dict):
    images = record["images"] | {"name": "others"}
    result = compare_files([bench_file("a.json"), bench_file("after.json", cost={}, images=images)], 0.05)
    text = "\n".join(result.pairs[0].notes)
    assert "not judged: multiply-adds, which the cards of both graphs do not tell" in text
    assert "not judged: top-1 agreement, of other pictures: 4 of " in text
    assert [finding.figure for finding in result.pairs[0].findings] == [RATIO, FUSED]


def test_a_lost_agreement_with_the_classifier_is_a_regression(bench_file):
    found = verdicts(bench_file("a.json"), bench_file("after.json", top1_agreement=0.9))
    assert found["top-1 as the classifier alone"] == "regressed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 2}, r"threads 1 and 2\. Measure both alike, or compare all the same with --allow threads$"),
        ({"batch": 4}, r"batch 1 and 4"),
        ({"provider": "CUDAExecutionProvider"}, r"provider CPUExecutionProvider and CUDAExecutionProvider"),
        ({"height": 999}, r"height \d+ and 999"),
        ({"precision": "fp16"}, r"precision fp32 and fp16"),
        (
            {"versions": {"python": "3.1", "onnxruntime": "9.9"}},
            r"versions .*onnxruntime \d.* and python 3\.1, onnxrun",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_unlike_runs_are_refused_with_the_field_and_both_values(bench_file, changes: dict, message: str):
    files = bench_file("a.json"), bench_file("after.json", **changes)
    with pytest.raises(ArtefactError, match=rf"a\.json and .*after\.json are of unlike runs: {message}"):
        compare_files(files, 0.05)
    (name,) = changes
    (note,) = compare_files(files, 0.05, (name,)).pairs[0].notes
    assert note.startswith(f"unlike, as allowed: {name} ")


def test_another_processor_is_refused_and_another_version_of_whymask_is_not(bench_file, record: dict):
    machine = record["machine"] | {"cpu": "abacus"}
    with pytest.raises(ArtefactError, match=r"cpu .* and abacus"):
        compare_files([bench_file("a.json"), bench_file("after.json", machine=machine)], 0.05)
    versions = record["versions"] | {"whymask": "99.0"}
    assert verdicts(bench_file("a.json"), bench_file("after.json", versions=versions))[RATIO] == "held"


def test_a_record_that_is_not_valid_is_refused_with_its_reasons(bench_file):
    invalid = {"valid": False, "reasons": ["the interval of the ratio is ±9 %"]}
    with pytest.raises(ArtefactError, match=r"after\.json: not valid, so it proves nothing: the interval of the ratio"):
        compare_files([bench_file("a.json"), bench_file("after.json", verdict=invalid)], 0.05)


def test_records_of_the_first_schema_are_compared_with_new_ones(bench_file):
    file = bench_file("a.json")
    old = json.loads(file.read_text())
    for name in ("backend", "gpu", "device_phases", "memory", "energy"):
        del old[name]
    file.write_text(json.dumps(old))
    assert verdicts(file, bench_file("after.json"))[RATIO] == "held"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", r"no record of whymask bench, evaluate or verify; write one with -o other\.json"),
        ('{"kind": "whymask.bench"}', r"a record of whymask\.bench that lacks or garbles 'machine'; measure again"),
    ],
)
def test_a_file_that_is_no_record_is_named(bench_file, tmp_path: Path, text: str, message: str):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ArtefactError, match=rf"other\.json: {message}"):
        compare_files([bench_file("a.json"), tmp_path / "other.json"], 0.05)


def test_a_record_without_samples_is_refused(bench_file):
    with pytest.raises(ArtefactError, match=r"lacks or garbles 'fused_ms'; measure again"):
        compare_files([bench_file("a.json"), bench_file("after.json", samples={})], 0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "valid"}, "lacks or garbles string indices must be integers"),
        ({"samples": {"fused_ms": ["x"], "classifier_ms": [1.0]}}, "lacks or garbles could"),
        ({"samples": {"fused_ms": [], "classifier_ms": []}}, "0 samples of the fused graph and 0 of the classifier"),
        ({"samples": {"fused_ms": [1.0], "classifier_ms": [1.0, 2.0]}}, "1 samples of the fused graph and 2 of the cl"),
    ],
    ids=["verdict", "text", "no samples", "no pairs"],
)
def test_a_damaged_record_is_one_clear_error_and_no_verdict(bench_file, changes: dict, message: str):
    with pytest.raises(ArtefactError, match=message):
        compare_files([bench_file("a.json"), bench_file("after.json", **changes)], 0.05)


def test_json_nested_without_end_is_one_clear_error(bench_file, tmp_path: Path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ArtefactError, match=r"deep\.json: cannot be read as JSON"):
        compare_files([bench_file("a.json"), tmp_path / "deep.json"], 0.05)


def test_files_come_in_pairs_and_fields_by_their_names(bench_file):
    file = bench_file("a.json")
    with pytest.raises(InputError, match=r"1 files, expected pairs: whymask compare BEFORE\.json AFTER\.json"):
        compare_files([file], 0.05)
    with pytest.raises(InputError, match=r"--allow version: no such field, expected one of .*threads.*versions"):
        compare_files([file, file], 0.05, ["version"])


def evaluation(tmp_path: Path, name: str, keep: float = 1.0, lost: int = 0, count: int = 60, **card: object) -> Path:
    """A report of true pictures; the last `lost` of them lost their class at the threshold, areas are scaled."""
    graph = tmp_path / "fused.onnx"
    graph.write_bytes(b"a graph")
    config = FaithfulnessConfig(areas=(0.1, 0.5), fills=("fill",))
    measured = measure_faithfulness(explainer(oracle()), pictures(count, 0), config, name="photos")
    report = report_from_measurements(graph, explainer(oracle()), config, [measured], "whymask evaluate")
    (only,) = report["sets"]
    only["outcomes"]["area"] = [keep * area for area in only["outcomes"]["area"]]
    for case in only["outcomes"]["kept"]:
        if (case["map"], case["area"]) == ("explainer", "threshold"):
            case["bits"] = "1" * (count - lost) + "0" * lost
    report["graph"]["card"] |= card
    (tmp_path / name).write_text(json.dumps(report), encoding="utf-8")
    return tmp_path / name


@pytest.mark.parametrize(("lost", "expected"), [(0, "held"), (30, "regressed"), (4, "cannot tell")])
def test_faithfulness_is_judged_picture_by_picture(tmp_path: Path, lost: int, expected: str):
    found = verdicts(evaluation(tmp_path, "a.json"), evaluation(tmp_path, "b.json", lost=lost))
    assert found["photos: retention at the threshold, fill"] == expected
    assert found["photos: retention over all areas, fill"] == "held"


def test_a_mask_that_grew_is_a_regression_though_it_keeps_every_class(tmp_path: Path):
    found = verdicts(evaluation(tmp_path, "a.json"), evaluation(tmp_path, "b.json", keep=2.0))
    assert found["photos: area at the threshold"] == "regressed"


def test_other_pictures_or_another_classifier_are_refused(tmp_path: Path):
    before = evaluation(tmp_path, "a.json")
    with pytest.raises(ArtefactError, match=r"photos: 60 and 50 pictures, and not the same ones; evaluate both graphs"):
        compare_files([before, evaluation(tmp_path, "b.json", count=50)], 0.05)
    with pytest.raises(ArtefactError, match=r"classifier \S+ and resnet; precision fp32 and fp16"):
        compare_files([before, evaluation(tmp_path, "b.json", classifier="resnet", precision="fp16")], 0.05)


def verification(tmp_path: Path, name: str, iou: float, passes: bool = True) -> Path:
    side = {"name": "x", "kind": "ONNX", "precision": "fp16", "provider": "CPU", "sha256": ""}
    figures = [{"name": "mask_iou_min", "measured": iou, "allowed": 0.98, "passes": passes}]
    images = {"count": 64, "source": "photos", "is_synthetic": False}
    record = {"schema": 1, "passed": passes, "reference": side, "measured": side, "images": images, "figures": figures}
    (tmp_path / name).write_text(json.dumps(record), encoding="utf-8")
    return tmp_path / name


def test_parity_is_held_to_its_own_bounds(tmp_path: Path):
    good, less = verification(tmp_path, "a.json", 0.999), verification(tmp_path, "b.json", 0.985)
    bad = verification(tmp_path, "c.json", 0.9, passes=False)
    assert verdicts(good, less) == {"parity: mask_iou_min": "held"}
    assert verdicts(good, bad) == {"parity: mask_iou_min": "regressed"}
    assert compare_files([good, bad], 0.05).pairs[0].findings[0].reason == "out of its bound, 0.98"
    with pytest.raises(ArtefactError, match=r"c\.json: did not pass, so it is nothing to hold another to"):
        compare_files([bad, good], 0.05)


def test_a_parity_figure_that_is_no_longer_told_is_not_said_to_hold(tmp_path: Path):
    good, less = verification(tmp_path, "a.json", 0.999), verification(tmp_path, "b.json", 0.999)
    other = json.loads(less.read_text())
    other["figures"] = [other["figures"][0] | {"name": "top1_agreement"}]
    less.write_text(json.dumps(other))
    assert verdicts(good, less) == {"parity: mask_iou_min": "cannot tell"}
    done = run(good, less)
    assert done.exit_code == 3
    assert "· parity: mask_iou_min: the second record does not tell it" in done.stdout
    other["figures"] = []
    less.write_text(json.dumps(other))
    with pytest.raises(ArtefactError, match="no figure is in both, so nothing is judged"):
        compare_files([less, less], 0.05)


def test_what_to_do_about_a_verdict_that_is_withheld_fits_what_was_measured(bench_file, tmp_path: Path):
    timed = run(bench_file("a.json"), bench_file("after.json", 1.155)).stdout.splitlines()[-1]
    judged = run(evaluation(tmp_path, "c.json"), evaluation(tmp_path, "d.json", lost=4)).stdout.splitlines()[-1]
    assert timed.endswith("; measure longer: bench --pairs 1000")
    assert judged.endswith("; evaluate more pictures")


def test_two_kinds_are_no_pair(bench_file, tmp_path: Path):
    with pytest.raises(InputError, match=r"is of whymask\.bench and .* of whymask\.evaluate; give two of a kind"):
        compare_files([bench_file("a.json"), evaluation(tmp_path, "b.json")], 0.05)


@pytest.mark.parametrize(
    ("ratio", "code", "sentence"),
    [
        (1.1, 0, "no figure regressed by more than 5 %"),
        (1.4, 1, "regressed by more than 5 %, or out of bounds: fused / classifier, p50, fused graph, p50"),
        (1.155, 3, "cannot tell whether these regressed by more than 5 %: fused / classifier, p50"),
    ],
)
def test_the_command_says_its_verdict_and_exits_by_it(
    bench_file, tmp_path: Path, ratio: float, code: int, sentence: str
):
    graphs = evaluation(tmp_path, "c.json"), evaluation(tmp_path, "d.json")
    done = run(bench_file("a.json"), bench_file("after.json", ratio), *graphs, "--max-regress", "5%")
    assert done.exit_code == code, done.output
    assert done.stdout.splitlines()[-1].startswith(sentence)
    assert "photos: area at the threshold" in done.stdout


def test_with_json_standard_output_holds_the_comparison_alone(bench_file):
    done = run(bench_file("a.json"), bench_file("after.json", 1.4), "--json")
    assert done.exit_code == 1
    read = json.loads(done.stdout)
    assert (read["kind"], read["verdict"], read["max_regress"]) == ("whymask.compare", "regressed", 0.05)
    first = read["pairs"][0]["findings"][0]
    assert (first["figure"], first["verdict"]) == (RATIO, "regressed")
    assert 0.2 < first["low"] < first["worse"] < first["high"]


def test_a_figure_that_is_not_finite_is_null_in_json(tmp_path: Path):
    good, bad = verification(tmp_path, "a.json", 0.999), verification(tmp_path, "b.json", None, passes=False)
    done = run(good, bad, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["pairs"][0]["findings"][0]["after"] is None
    assert "not finite" in run(good, bad).stdout


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("5 %", 0.05), ("0.05", 0.05), (".5%", 0.005), ("0", 0.0)])
def test_a_share_is_a_percentage_or_a_number(text: str, share: float):
    assert share_from_text(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", r"'5' may mean 5% or 500%; write the percent sign, or a number below 1"),
        ("five", r"'five' is no share, expected a percentage such as 5%, or a number such as 0\.05"),
        ("-5%", r"'-5%' is no share"),
        ("", "'' is no share"),
    ],
)
def test_what_is_no_share_is_refused(text: str, message: str):
    with pytest.raises(InputError, match=message):
        share_from_text(text)


def test_a_count_may_grow_by_the_limit_and_a_share_may_fall_by_as_many_points():
    assert judge_count("nodes", "nodes", 100, 105, 0.05).verdict == "held"
    assert judge_count("nodes", "nodes", 100, 106, 0.05).verdict == "regressed"
    assert judge_count("agreement", "share", 0.90, 0.86, 0.05).verdict == "held"
    assert judge_count("agreement", "share", 0.90, 0.84, 0.05).verdict == "regressed"


@pytest.mark.parametrize(("count", "verdict"), [(1, "cannot tell"), (5, "cannot tell"), (6, "regressed")])
def test_no_change_is_told_of_pictures_so_few_that_chance_explains_it(count: int, verdict: str):
    found = judge_pictures("kept", np.ones(count), np.zeros(count), 0.05, more_is_better=True)
    assert found.verdict == verdict
    assert ("at least 6 are needed" in found.reason) == (count < 6)
    assert judge_pictures("kept", np.ones(count), np.ones(count), 0.05, more_is_better=True).verdict == "held"


def test_the_interval_over_pictures_is_the_normal_one_on_many_of_them():
    random = np.random.default_rng(0)
    before, after = random.random(500), random.random(500)
    finding = judge_pictures("area", before, after, 0.05, more_is_better=False)
    half_width = 1.96 * (after - before).std() / np.sqrt(500)
    assert finding.worse == pytest.approx((after - before).mean())
    assert (finding.high - finding.low) / 2 == pytest.approx(half_width, rel=0.1)
