from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from colour_engine import ColourEngine
from colour_graph import write_graph
from PIL import Image
from typer.testing import CliRunner, Result

from whymask.runtime import cli, commands, trt
from whymask.runtime.errors import InputError
from whymask.runtime.images import Picture, rgb_from

BLOCKED = "import sys\nfor n in {names!r}: sys.modules[n] = None\nfrom whymask.runtime.cli import main\n"


@pytest.fixture
def whymask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the runtime's own commands."""
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    return lambda *arguments: CliRunner().invoke(cli.build_app(), [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path, red_square: Picture) -> Path:
    """A red and a green picture of one name in two folders, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(red_square.repeat(10, axis=0).repeat(8, axis=1)).save(folder / "a.png")
    Image.fromarray(np.roll(red_square, 1, axis=2)).save(folder / "sub" / "a.png")
    (folder / "broken.jpg").write_text("no picture")
    return folder


def test_explain_writes_overlays_and_records(whymask: Callable[..., Result], fused: Path, photos: Path, tmp_path: Path):
    out = tmp_path / "out"
    done = whymask("explain", fused, photos, "-o", out)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == ["a-2.png", "a.png", "explanations.jsonl"]
    assert rgb_from(out / "a.png").shape == (320, 256, 3)
    records = [json.loads(line) for line in (out / "explanations.jsonl").read_text("utf-8").splitlines()]
    assert [(Path(values["file"]).parent.name, values["overlay"], values["label"]) for values in records] == [
        ("photos", "a.png", "red"),
        ("sub", "a-2.png", "green"),
    ]
    assert "skipped" in done.stderr
    assert "broken.jpg: cannot be decoded" in done.stderr
    assert "2 explained on CPUExecutionProvider, 1 skipped" in done.stdout


def test_explain_prints_only_json(whymask: Callable[..., Result], fused: Path, photos: Path, tmp_path: Path):
    done = whymask("explain", fused, photos, "-o", tmp_path / "out", "--target", "blue", "--area", "0.1", "--json")
    values = json.loads(done.stdout)
    assert (values["explained"], len(values["skipped"]), values["provider"]) == (2, 1, "CPUExecutionProvider")
    assert [record["label"] for record in values["explanations"]] == ["blue", "blue"]


def test_explain_divides_into_instances(whymask: Callable[..., Result], fused: Path, tmp_path: Path):
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16, :8] = picture[:16, 24:] = (255, 0, 0)
    Image.fromarray(picture).save(tmp_path / "two.png")
    done = whymask("explain", fused, tmp_path / "two.png", "-o", tmp_path / "out", "--instances")
    assert done.exit_code == 0, done.output
    assert "two.png: red 99.7%, area 23.8%, instances 2\n" in done.stdout
    (line,) = (tmp_path / "out" / "explanations.jsonl").read_text("utf-8").splitlines()
    assert [each["box"] for each in json.loads(line)["instances"]] == [[0, 0, 8, 16], [24, 0, 32, 16]]


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that explains two classes at once, and one against another."""
    return write_graph(tmp_path_factory.mktemp("every") / "fused.onnx", top=2, contrast=True)


def test_explain_shows_the_likeliest_classes_side_by_side(
    whymask: Callable[..., Result], every: Path, photos: Path, tmp_path: Path
):
    out = tmp_path / "out"
    done = whymask("explain", every, photos / "a.png", "-o", out, "--top", "2")
    assert done.exit_code == 0, done.output
    assert "; likeliest: red 99.2% area 23.8%, blue " in done.stdout
    assert rgb_from(out / "a.png").shape == (320, 2 * 256, 3)
    (line,) = (out / "explanations.jsonl").read_text("utf-8").splitlines()
    classes = json.loads(line)["classes"]
    assert [(each["label"], each["mask"]["size"]) for each in classes] == [("red", [320, 256]), ("blue", [320, 256])]
    # The explained class has a place of its own where it is not among them by itself.
    done = whymask("explain", every, photos / "a.png", "-o", out, "--top", "2", "--target", "green")
    assert rgb_from(out / "a.png").shape == (320, 3 * 256, 3)


def test_explain_holds_one_class_against_another(
    whymask: Callable[..., Result], every: Path, photos: Path, tmp_path: Path
):
    done = whymask("explain", every, photos / "a.png", "-o", tmp_path, "--target", "red", "--against", "blue", "--json")
    (values,) = json.loads(done.stdout)["explanations"]
    assert (values["label"], values["target"], values["against"]) == ("red", 0, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--top", "3"), "--top 3: this graph explains 2 classes at once; export it again with"),
        (("--target", "red", "--against", "red"), "against: 'red' is the explained class itself"),
        (("--top", "2", "--refine", "5"), "--refine and --top were both given"),
        (("--against", "red", "--refine", "5"), "--refine and --against were both given"),
    ],
)
def test_wrong_wishes_for_classes_are_one_message(
    whymask: Callable[..., Result], every: Path, photos: Path, tmp_path: Path, options: tuple[str, ...], message: str
):
    done = whymask("explain", every, photos, "-o", tmp_path / "out", *options)
    assert done.exit_code == 1
    assert message in done.stderr


def test_inspect_lists_the_tensors_of_the_likeliest_classes(whymask: Callable[..., Result], every: Path):
    printed = whymask("inspect", every).stdout
    assert "against: int64 (B)" in printed
    assert "classes: int64 (B, 2)" in printed
    assert "class_mask: uint8 (B, 2, 32, 32)" in printed


def test_explain_runs_an_engine(
    whymask: Callable[..., Result],
    engine: Callable[..., ColourEngine],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    made = engine(batches=(1, 2))
    monkeypatch.setattr(trt, "open_cuda", lambda: made.cuda)
    done = whymask("explain", made.path, photos, "-o", tmp_path / "out", "--cuda-graph", "--json")
    values = json.loads(done.stdout)
    assert values["provider"] == "TensorRT 10.3.0 on Orin (8.7), fp16, CUDA graph"
    assert [record["label"] for record in values["explanations"]] == ["red", "green"]
    assert made.cuda.left() == []


def test_nothing_that_can_be_decoded_is_an_error(
    whymask: Callable[..., Result], fused: Path, photos: Path, tmp_path: Path
):
    done = whymask("explain", fused, photos / "broken.jpg", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "none of 1 files can be decoded; the first: " in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "rde"), "no class is called 'rde'; the nearest label is 'red'"),
        (("--threshold", "7"), "threshold: got 7.0, expected a number in [0, 1]"),
        (("--provider", "tpu"), "provider 'tpu' was asked for"),
        (("--cuda-graph",), "is no engine, which alone takes it"),
        (("--top", "2"), "--top 2: this graph explains one class at a time; export it again with: whymask export RUN"),
    ],
)
def test_wrong_options_are_one_message(
    whymask: Callable[..., Result], fused: Path, photos: Path, tmp_path: Path, options: tuple[str, ...], message: str
):
    done = whymask("explain", fused, photos, "-o", tmp_path / "out", *options)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_inspect_in_words_and_in_json(whymask: Callable[..., Result], fused: Path):
    assert "guarantee  No promise" in whymask("inspect", fused).stdout
    assert json.loads(whymask("inspect", fused, "--json").stdout)["cost"]["classifier_macs"] == 2e6


def test_doctor_in_words_and_in_json(whymask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("whymask.runtime.doctor._tensorrt", lambda *_: commands_finding())
    done = whymask("doctor")
    assert done.exit_code == 0
    assert 'pip install "whymask[tensorrt]"' in done.stdout
    names = [finding["name"] for finding in json.loads(whymask("doctor", "--json").stdout)]
    assert {"Python", "numpy", "CUDA", "JetPack", "onnxruntime", "CPUExecutionProvider", "torch"} <= set(names)


def commands_finding() -> object:
    from whymask.runtime.doctor import Finding

    return Finding("tensorrt", "absent", "not installed", 'pip install "whymask[tensorrt]"')


@pytest.mark.parametrize("function", [commands.explain, commands.inspect, commands.doctor])
def test_every_help_has_an_example(whymask: Callable[..., Result], function: Callable[..., None]):
    done = whymask(function.__name__, "--help")
    assert done.exit_code == 0
    assert f"Example:\n      whymask {function.__name__}" in done.stdout


def test_another_parts_command_is_added_and_a_broken_one_says_why(monkeypatch: pytest.MonkeyPatch):
    class Entry:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> Callable[[int], None]:
            if self.name == "train":
                raise ImportError("torch is not here")
            return lambda: interrupted() if self.name == "bench" else failing()

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Entry("train"), Entry("bench"), Entry("x")])
    app, run = cli.build_app(), CliRunner()
    broken = run.invoke(app, ["train"])
    assert (broken.exit_code, broken.stderr) == (1, "whymask train does not load here: torch is not here\n")
    assert (run.invoke(app, ["x"]).exit_code, run.invoke(app, ["x"]).stderr) == (1, "a wrong input\n")
    assert run.invoke(app, ["bench"]).exit_code == 130


def interrupted() -> None:
    raise KeyboardInterrupt


def failing() -> None:
    raise InputError("a wrong input")


def program(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    start = ["-c", f"{code}main()"] if code else ["-m", "whymask.runtime.cli"]
    return subprocess.run([sys.executable, *start, *arguments], capture_output=True, text=True, check=False)


def test_the_program_prints_an_errors_text_alone(tmp_path: Path):
    done = program("inspect", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{tmp_path}: a folder without card.json, expected a run directory made by whymask train\n"


def test_the_program_says_its_version():
    assert program("--version").stdout.strip() == importlib.metadata.version("whymask")


def test_without_typer_the_program_names_the_extra():
    done = program(code=BLOCKED.format(names=["typer"]))
    assert done.returncode == 1
    assert done.stderr.strip() == (
        'typer is needed to run the whymask command and is not installed. Run: pip install "whymask[cli]"'
    )


@pytest.mark.parametrize("command", ["explain", "inspect", "doctor"])
def test_help_works_where_nothing_heavy_is(command: str):
    heavy = ["torch", "onnx", "onnxruntime", "PIL", "rich", "scipy"]
    done = program(command, "--help", code=BLOCKED.format(names=heavy))
    assert done.returncode == 0, done.stderr
    assert f"whymask {command}" in done.stdout


@pytest.mark.parametrize("command", ["explain", "inspect"])
def test_a_path_that_the_system_refuses_is_one_clear_error(whymask: Callable[..., Result], fused: Path, command: str):
    name = "a" * 300
    result = whymask(command, *([fused] if command == "explain" else []), name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{name}: cannot be read (File name too long); give a path that exists and may be read\n"
