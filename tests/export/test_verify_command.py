"""`whymask verify` as a person meets it, and as a device does: without torch and onnx."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import colour_graph
import numpy as np
import pytest
import typer
from colour_graph import Options, card_of, write_graph
from PIL import Image
from typer.testing import CliRunner, Result

from whymask.export import verify_cli
from whymask.export.samples import synthetic_pictures
from whymask.runtime.cli import guarded, help_text
from whymask.runtime.golden import Golden, write_golden
from whymask.runtime.ort import OrtBackend
from whymask.runtime.parity import TOLERANCES, Tolerances

Command = Callable[..., Result]


@pytest.fixture
def command() -> Command:
    app = typer.Typer()
    app.command(help=help_text(verify_cli.verify))(guarded(verify_cli.verify))
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph that names the dominant colour."""
    return write_graph(tmp_path / "fused.onnx", certify="both")


@pytest.fixture
def same(tmp_path: Path) -> Path:
    """Another file of the same model."""
    return write_graph(tmp_path / "same.onnx")


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same model by its card, with another threshold in its graph."""
    card = card_of(Options()).to_json()
    with monkeypatch.context() as patched:
        patched.setattr(colour_graph, "THRESHOLD", 0.3)
        return write_graph(tmp_path / "wrong.onnx", metadata=card)


@pytest.fixture
def golden(graph: Path, tmp_path: Path) -> Path:
    """A bundle of the graph's own answers to six drawn pictures."""
    with OrtBackend(graph, "cpu") as backend:
        images = synthetic_pictures(backend.card.input, 6)
        feeds = {"image": images, "target": np.full(6, -1)}
        outputs = backend.run(feeds, ["logits", "saliency", "mask"])
        bundle = Golden(images, None, outputs, TOLERANCES, backend.card, "the graph itself", True)
    write_golden(tmp_path / "fused.golden.npz", bundle)
    return tmp_path / "fused.golden.npz"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        values = np.random.default_rng(number).integers(0, 256, (48, 40, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
    return folder


def test_the_table_says_what_was_compared_on_what_and_each_figure_with_its_bound(
    command: Command, graph: Path, same: Path
) -> None:
    done = command(graph, same)
    assert done.exit_code == 0, done.output
    head, table = done.stdout.split("\n\n")
    assert head.splitlines() == [
        "reference   fused.onnx (ONNX, fp32), CPUExecutionProvider",
        "measured    same.onnx (ONNX, fp32), CPUExecutionProvider",
        "images      64 synthetic images, give real ones with --data",
        "tolerances  fp32, of this version of whymask: no card records them",
    ]
    rows = [re.split(r"  +", line) for line in table.splitlines()]
    assert rows[:4] == [
        ["figure", "measured", "allowed"],
        ["top-1 agreement, near ties aside", "1", "≥ 1", "pass"],
        ["near ties, in images", rows[2][1]],
        ["logits, largest error", "0", "≤ 0.0001", "pass"],
    ]
    assert ["flipped pixels", "0"] in rows and ["mask IoU", "1", "≥ 0.999", "pass"] in rows
    assert "verifying: 128/128" in done.stderr


def test_every_figure_that_has_a_bound_has_a_row() -> None:
    fields = set(Tolerances.__dataclass_fields__) - {"classifier_max"}  # of the export's second file alone
    assert fields <= set(verify_cli.LABELS)


def test_a_failed_gate_is_in_the_table_and_in_the_message_and_exits_with_1(
    command: Command, graph: Path, wrong: Path, tmp_path: Path
) -> None:
    done = command(graph, wrong, "-o", tmp_path / "record.json")
    assert done.exit_code == 1
    assert re.search(r"^mask IoU +0\.\d+  ≥ 0\.999 +FAIL$", done.stdout, re.MULTILINE)
    assert done.stdout.count("FAIL") == 1
    assert re.search(
        r"^wrong\.onnx disagrees with fused\.onnx: mask_iou is 0\.\d+, allowed ≥ 0\.999\. Do", done.stderr, re.M
    )
    assert "make it again: whymask export RUN -o wrong.onnx" in done.stderr
    assert json.loads((tmp_path / "record.json").read_text("utf-8"))["passed"] is False


def test_json_is_all_that_stands_on_standard_output_also_on_failure(command: Command, graph: Path, wrong: Path) -> None:
    done = command(graph, wrong, "--json", "--images", 4)
    record = json.loads(done.stdout)
    assert done.exit_code == 1
    failed = [figure["name"] for figure in record["figures"] if not figure["passes"]]
    assert (record["passed"], failed) == (False, ["mask_iou_min"])


def test_the_record_has_images_versions_and_every_image(
    command: Command, graph: Path, same: Path, photos: Path, tmp_path: Path
) -> None:
    done = command(graph, same, "--data", photos, "--images", 4, "-o", tmp_path / "new" / "record.json")
    assert done.exit_code == 0, done.output
    assert "images      4 images of photos" in done.stdout
    record = json.loads((tmp_path / "new" / "record.json").read_text("utf-8"))
    assert record["schema"] == 1
    assert record["images"] == {"count": 4, "source": "photos", "is_synthetic": False}
    assert record["tolerances"]["precision"] == "fp32"
    assert (record["reference"]["name"], record["reference"]["provider"]) == ("fused.onnx", "CPUExecutionProvider")
    assert len(record["measured"]["sha256"]) == 64
    assert {"python", "numpy", "onnxruntime"} <= set(record["versions"])
    assert [row["same_top1"] for row in record["each_image"]] == [1.0] * 4
    assert str(tmp_path) not in json.dumps(record)


def test_a_bundle_is_the_reference_and_says_where_its_answers_come_from(
    command: Command, graph: Path, golden: Path
) -> None:
    done = command(graph, "--golden", golden)
    assert done.exit_code == 0, done.output
    assert "reference   fused.golden.npz (golden bundle, fp32), the graph itself" in done.stdout
    assert "images      6 synthetic images of fused.golden.npz\n" in done.stdout
    assert (
        "tolerances  fp32, of this version of whymask: no card records them, and no looser than the bundle's"
        in done.stdout
    )
    assert re.search(r"^certificate, largest error +\S+ +≤ 0\.0001 +pass$", done.stdout, re.MULTILINE)


def test_a_bundle_finds_the_wrong_graph(command: Command, wrong: Path, golden: Path) -> None:
    done = command(wrong, "--golden", golden)
    assert done.exit_code == 1
    assert "wrong.onnx disagrees with fused.golden.npz: mask_iou is 0." in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{graph}",), "fused.onnx was given alone; say what it is compared with: whymask verify "),
        (("{graph}", "{graph}", "--golden", "{golden}"), "--golden and a second artefact were both given"),
        (
            ("{graph}", "--golden", "{golden}", "--data", "x"),
            "--golden and --data were both given; a bundle has its own",
        ),
        (("{graph}", "--golden", "{golden}", "--images", "3"), "--golden and --images were both given"),
        (("{graph}", "{golden}"), "a golden bundle is given behind --golden"),
        (("{graph}", "--golden", "{graph}"), "fused.onnx: not a golden bundle"),
        (("{graph}", "{graph}", "--data", "nowhere"), "--data nowhere: no image there can be read"),
        (("{graph}", "{graph}", "--model", "x.py:f"), "--model x.py:f: belongs to a run directory, and none was given"),
        (("{graph}", "{graph}", "--provider", "tpu"), "provider 'tpu' was asked for, and onnxruntime"),
        (("x.plan", "y.plan", "--provider", "cpu"), "--provider cpu: belongs to an ONNX file, and none was given"),
    ],
    ids=["alone", "two", "data", "images", "place", "no bundle", "no image", "model", "provider", "engines"],
)
def test_a_wrong_request_is_one_clear_line(
    command: Command, graph: Path, golden: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = command(*(argument.format(graph=graph, golden=golden) for argument in arguments))
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_two_models_are_refused(command: Command, graph: Path, tmp_path: Path) -> None:
    other = write_graph(tmp_path / "other.onnx", height=64, width=64)
    done = command(graph, other)
    assert done.exit_code == 1
    assert "fused.onnx and other.onnx are forms of two models: " in done.stderr
    assert "input 32 × 32 (squash 1) against 64 × 64 (squash 1)" in done.stderr


ON_A_DEVICE = """
import sys
for name in {absent!r}:
    sys.modules[name] = None
from whymask.runtime.cli import main
sys.argv = ["whymask", "verify", *{arguments!r}]
main()
"""
ABSENT = ("torch", "torchvision", "timm", "onnx", "onnxscript", "safetensors", "lightning_fabric", "scipy", "PIL")


def on_a_device(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`whymask verify` in a folder, where nothing of training and export is installed."""
    code = ON_A_DEVICE.format(absent=ABSENT, arguments=arguments)
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("artefact", "code"), [("fused.onnx", 0), ("wrong.onnx", 1)])
@pytest.mark.usefixtures("graph", "wrong", "golden")
def test_a_device_without_torch_and_onnx_verifies_by_the_bundle(tmp_path: Path, artefact: str, code: int) -> None:
    done = on_a_device(tmp_path, artefact, "--golden", "fused.golden.npz")
    assert done.returncode == code, done.stderr
    assert ("FAIL" in done.stdout, "mask IoU" in done.stdout) == (code == 1, True)
    assert "Traceback" not in done.stderr


def test_a_device_is_told_what_a_run_directory_needs(tmp_path: Path, graph: Path) -> None:
    done = on_a_device(tmp_path, ".", graph.name)
    assert done.returncode == 1, done.stderr
    assert re.search(
        r'is needed to verify a run directory and is not installed.*pip install "whymask\[export\]"', done.stderr
    )


def test_graphs_that_explain_another_number_of_classes_at_once_are_one_clear_error(
    command: Command, tmp_path: Path
) -> None:
    two, three = (write_graph(tmp_path / f"top{count}.onnx", top=count) for count in (2, 3))
    result = command(two, three)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "top2.onnx explains 2 classes at once and top3.onnx explains 3 classes at once, so their outputs cannot be "
        "compared; export both anew with the same --top\n"
    )
    assert command(two, two).exit_code == 0


def test_every_figure_that_has_a_bound_has_a_row_in_the_table() -> None:
    beside_the_classifier = {"classifier_max"}  # only an export measures it
    assert set(TOLERANCES["fp32"].bounds()) - beside_the_classifier <= set(verify_cli.LABELS)
