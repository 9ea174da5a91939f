"""trtexec beside our own timing: what its summary says, with which switches it is called, and what its failures say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from engine_files import engine_card

from whymask.benchmarks import trtexec
from whymask.benchmarks.trtexec import (
    TrtexecCheck,
    find_trtexec,
    run_trtexec,
    switches,
    times_from_output,
    trtexec_command,
)
from whymask.runtime.errors import BackendError

DOCUMENTED = """\
[I] === Performance summary ===
[I] Throughput: 1133.1 qps
[I] Latency: min = 0.877441 ms, max = 0.886963 ms, mean = 0.881485 ms,
median = 0.881592 ms, percentile(90%) = 0.883606 ms,
percentile(95%) = 0.883789 ms, percentile(99%) = 0.885010 ms
[I] Enqueue Time: min = 0.004639 ms, max = 0.020630 ms, mean = 0.005356 ms,
median = 0.005249 ms, percentile(90%) = 0.005859 ms,
percentile(95%) = 0.006104 ms, percentile(99%) = 0.007324 ms
[I] GPU Compute Time: min = 0.877441 ms, max = 0.886963 ms,
mean = 0.881485 ms, median = 0.881592 ms,
percentile(90%) = 0.883606 ms, percentile(95%) = 0.883789 ms,
percentile(99%) = 0.885010 ms
"""
"""From NVIDIA's documentation of TensorRT-RTX ("Performance benchmarking", expected summary of ResNet-50), which wraps
the lines; its tool shares trtexec's reporter. No trtexec has run here."""
STAMPED = """\
[04/25/2024-23:57:45] [I] === Performance summary ===
[04/25/2024-23:57:45] [I] Throughput: 507.399 qps
[04/25/2024-23:57:45] [I] Latency: min = 1.96301 ms, max = 1.97534 ms, mean = 1.96921 ms, median = 1.96917 ms, \
percentile(90%) = 1.97122 ms, percentile(95%) = 1.97229 ms, percentile(99%) = 1.97424 ms
"""
"""From the ResNet-50 example of NVIDIA's documentation of TensorRT 10, as quoted by others without the other lines."""
COMPUTE = "[04/25/2024-23:57:45] [I] GPU Compute Time: min = 1.5 ms, max = 1.9 ms, mean = 1.6 ms, median = 1.578 ms\n"


def test_the_documented_summary_is_read_line_by_line() -> None:
    times = times_from_output(DOCUMENTED)
    assert times.queries_per_second == 1133.1
    assert list(times.parts_ms) == ["latency", "enqueue", "compute"]
    assert times.parts_ms["compute"] == {
        "min": 0.877441,
        "max": 0.886963,
        "mean": 0.881485,
        "median": 0.881592,
        "p90": 0.883606,
        "p95": 0.883789,
        "p99": 0.88501,
    }
    assert (times.parts_ms["enqueue"]["min"], times.parts_ms["enqueue"]["p99"]) == (0.004639, 0.007324)


def test_lines_with_a_time_of_day_and_transfers_are_told_apart() -> None:
    transfer = COMPUTE.replace("GPU Compute Time", "H2D Latency").replace("1.578", "0.2")
    times = times_from_output(STAMPED + transfer + COMPUTE)
    medians = {name: span["median"] for name, span in times.parts_ms.items()}
    assert medians == {"latency": 1.96917, "h2d": 0.2, "compute": 1.578}


@pytest.mark.parametrize(
    ("text", "missing"), [("", "Throughput"), (STAMPED, "GPU Compute Time")], ids=["nothing", "no compute"]
)
def test_an_output_without_a_summary_is_refused(text: str, missing: str) -> None:
    with pytest.raises(BackendError, match=f"trtexec's output has no {missing}, expected its performance summary"):
        times_from_output(text)


@pytest.mark.parametrize(
    ("library", "expected"),
    [("8.6.1", ()), ("10.3.0", ()), ("11.4.1", ("--includeDataTransfers", "--noCudaGraph"))],
)
def test_every_version_times_with_transfers_and_without_cuda_graph(library: str, expected: tuple[str, ...]) -> None:
    assert switches(engine_card(builder_version=library)) == expected


def test_an_engine_is_loaded_by_trtexec_as_it_is_loaded_here() -> None:
    card = engine_card(version_compatible=True, flags={"dla_core": 0})
    assert switches(card) == ("--versionCompatible", "--useDLACore=0")
    assert switches(engine_card(flags={"dla_core": None})) == ()


def test_the_command_names_engine_input_and_shape(tmp_path: Path) -> None:
    inputs = {"image": (Path("image.bin"), (2, 32, 32, 3)), "target": (Path("target.bin"), (2,))}
    card = engine_card(min_batch=1, max_batch=8)
    command = trtexec_command(Path("trtexec"), Path("fused.plan"), card, inputs, 3.0)
    assert command[:3] == ["trtexec", "--loadEngine=fused.plan", "--shapes=image:2x32x32x3,target:2"]
    assert "--loadInputs=image:image.bin,target:target.bin" in command and "--duration=3" in command
    fixed = trtexec_command(
        Path("trtexec"), Path("fused.plan"), engine_card(min_batch=8, opt_batch=8, max_batch=8), inputs, 3.0
    )
    assert not any(word.startswith("--shapes") for word in fixed)


def stand_in(folder: Path, body: str) -> Path:
    program = folder / "trtexec"
    program.write_text(f"#!{sys.executable}\nimport pathlib, sys\n{body}\n")
    program.chmod(0o755)
    return program


def test_the_program_gets_the_very_input_and_its_summary_comes_back(tmp_path: Path) -> None:
    image = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    body = f"""
file = next(word for word in sys.argv if word.startswith("--loadInputs=")).partition("image:")[2]
assert list(pathlib.Path(file).read_bytes()) == list(range(96)), file
print({STAMPED + COMPUTE!r})"""
    times = run_trtexec(stand_in(tmp_path, body), tmp_path / "fused.plan", engine_card(), {"image": image}, 1.0)
    assert times.parts_ms["compute"]["median"] == 1.578


def test_a_failing_program_is_told_with_its_last_lines(tmp_path: Path) -> None:
    program = stand_in(tmp_path, 'print("first\\n" * 9 + "[E] cannot load the engine")\nsys.exit(1)')
    with pytest.raises(BackendError, match=r"trtexec ended with 1; its last lines:\n(first\n)+\[E\] cannot load the"):
        run_trtexec(program, tmp_path / "fused.plan", engine_card(), {}, 1.0)
    with pytest.raises(BackendError, match=r"absent: .*No such file.*run it by hand: "):
        run_trtexec(tmp_path / "absent", tmp_path / "fused.plan", engine_card(), {}, 1.0)


def test_without_trtexec_the_error_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(trtexec, "JETPACK", tmp_path / "jetpack")
    with pytest.raises(
        BackendError, match=r"trtexec: not on PATH and not at .*it comes with TensorRT's Debian and tar"
    ):
        find_trtexec()
    (tmp_path / "jetpack").write_text("")
    assert find_trtexec() == tmp_path / "jetpack"
    program = stand_in(tmp_path, "")
    assert find_trtexec() == program


@pytest.mark.parametrize(
    ("here", "apart", "agrees"), [(1.02, 0.02, True), (0.98, -0.02, True), (1.04, 0.04, False), (0.96, -0.04, False)]
)
def test_both_agree_within_three_per_cent(here: float, apart: float, agrees: bool) -> None:
    check = TrtexecCheck(here, 1.0, 500, 8, "10.3.0", ())
    assert check.apart == pytest.approx(apart) and check.agrees == agrees
    assert ("they agree" in str(check)) == agrees
