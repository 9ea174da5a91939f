"""The golden bundle: a device verifies a graph with it, and a broken or foreign one is named."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colour_graph import write_graph

from whymask.runtime.errors import ArtefactError, ParityError
from whymask.runtime.golden import (
    GOLDEN_SCHEMA,
    Golden,
    golden_bounds,
    golden_bytes,
    read_golden,
    verify_golden,
    write_golden,
)
from whymask.runtime.ort import OrtBackend
from whymask.runtime.parity import TOLERANCES, check

COUNT = 5


@pytest.fixture(scope="module")
def backend(fused: Path) -> Iterator[OrtBackend]:
    """A graph with target and certificate."""
    with OrtBackend(fused, "cpu", threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def golden(backend: OrtBackend) -> Golden:
    """The graph's own answers, asked for a class in two pictures."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
    targets = np.array([-1, 0, -1, 2, -1])
    outputs = backend.run({"image": images, "target": targets}, ["logits", "saliency", "mask"])
    return Golden(images, targets, outputs, TOLERANCES, backend.card, "the graph itself", True)


def spoilt(golden: Golden, name: str, change: Callable[[Any], Any]) -> Golden:
    """A bundle with other answers in one output."""
    return dataclasses.replace(golden, outputs={**golden.outputs, name: change(golden.outputs[name].copy())})


def test_a_bundle_read_is_the_bundle_written(golden: Golden, tmp_path: Path):
    write_golden(tmp_path / "x.golden.npz", golden)
    read = read_golden(tmp_path / "x.golden.npz")
    np.testing.assert_array_equal(read.images, golden.images)
    np.testing.assert_array_equal(read.targets, golden.targets)
    for name, values in golden.outputs.items():
        np.testing.assert_array_equal(read.outputs[name], values)
    assert (read.card, read.tolerances) == (golden.card, golden.tolerances)
    assert (read.source, read.is_synthetic) == ("the graph itself", True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.golden.npz"]


def test_the_names_and_types_inside_the_file_are_fixed(golden: Golden):
    with np.load(io.BytesIO(golden_bytes(golden)), allow_pickle=False) as file:
        found = {name: str(file[name].dtype) for name in file.files}
        meta = json.loads(file["meta"].tobytes())
    assert found == {
        "meta": "uint8",
        "card": "uint8",
        "images": "uint8",
        "targets": "int64",
        "output.logits": "float32",
        "output.saliency": "float32",
        "output.mask": "uint8",
    }
    assert list(meta) == ["schema", "source", "is_synthetic", "card_sha256", "tolerances"]
    assert (meta["schema"], list(meta["tolerances"])) == (1, ["fp32", "fp16", "int8"])


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrtBackend]:
    """A graph that explains two classes at once, and one against another."""
    path = write_graph(tmp_path_factory.mktemp("every") / "fused.onnx", top=2, contrast=True)
    with OrtBackend(path, "cpu", threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def wide(every: OrtBackend) -> Golden:
    """Its answers, with a class asked for or held against in some pictures."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
    asked = {"target": np.array([-1, 0, -1, 2, -1]), "against": np.array([-1, -1, 1, 0, -1])}
    outputs = every.run({"image": images, **asked})
    return Golden(images, asked["target"], outputs, TOLERANCES, every.card, "itself", True, asked["against"])


def test_a_bundle_carries_the_likeliest_classes_and_contrasts(every: OrtBackend, wide: Golden, tmp_path: Path):
    write_golden(tmp_path / "x.npz", wide)
    read = read_golden(tmp_path / "x.npz")
    np.testing.assert_array_equal(read.against, wide.against)
    assert {"classes", "class_saliency", "class_mask"} <= set(read.outputs)
    figures = verify_golden(every, read)
    check(figures, TOLERANCES["fp32"])
    assert figures["classes_agreement_min"] == figures["class_mask_iou_min"] == 1.0


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("class_mask", lambda masks: 1 - masks, "class_mask_iou is 0, allowed ≥ 0.999"),
        ("class_saliency", lambda maps: maps[:, :, ::-1], "class_saliency_max is .*class_saliency_rank is "),
        ("classes", lambda classes: (classes + 1) % 3, "classes_agreement is 0, allowed ≥ 1"),
    ],
)
def test_wrong_maps_of_the_likeliest_classes_fail(
    every: OrtBackend, wide: Golden, name: str, change: Any, message: str
):
    with pytest.raises(ParityError, match=message):
        check(verify_golden(every, spoilt(wide, name, change)), TOLERANCES["fp32"])


def test_contrasts_are_asked_for_as_in_the_bundle(every: OrtBackend, wide: Golden):
    plain = dataclasses.replace(wide, against=None)
    assert verify_golden(every, plain)["mask_flips"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 2}, r"has no input 'against', and the golden bundle asks for classes; .* --contrast or without"),
        ({"contrast": True, "top": 3}, "explains 3 classes at once, and the golden bundle holds 2; .* the same --top"),
    ],
)
def test_a_graph_that_cannot_be_asked_as_the_bundle_asks_is_refused(
    wide: Golden, graph: Callable[..., Path], options: dict[str, Any], message: str
):
    with OrtBackend(graph(**options), "cpu", threads=1) as backend, pytest.raises(ArtefactError, match=message):
        verify_golden(backend, wide)


def test_what_one_of_the_two_alone_has_is_said_not_to_be_compared(
    wide: Golden, golden: Golden, every: OrtBackend, graph: Callable[..., Path]
):
    with OrtBackend(graph(contrast=True), "cpu", threads=1) as narrow:
        figures = verify_golden(narrow, wide)
    check(figures, TOLERANCES["fp32"])
    assert figures["classes_not_compared"] == verify_golden(every, golden)["classes_not_compared"] == 1.0
    assert "classes_not_compared" not in verify_golden(every, wide)


def test_the_same_graph_passes_and_its_certificate_is_checked(backend: OrtBackend, golden: Golden):
    done: list[int] = []
    figures = verify_golden(backend, golden, on_pictures=done.append)
    check(figures, TOLERANCES["fp32"])
    assert figures["mask_iou_min"] == 1.0 and figures["mask_flips"] == 0
    assert figures["certificate_max"] < 1e-6
    assert sum(done) == COUNT


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("logits", lambda logits: -logits, r"top1_agreement is 0, allowed ≥ 1; logits_max is 2, .*logits_p99 is "),
        ("saliency", lambda maps: maps * 0.99, r"saliency_max is 0\.00\d+, allowed ≤ 0\.002\. "),
        ("mask", lambda masks: 1 - masks, r"mask_iou is 0, allowed ≥ 0\.999\. "),
    ],
)
def test_each_wrong_output_fails_its_gate(backend: OrtBackend, golden: Golden, name: str, change: Any, message: str):
    figures = verify_golden(backend, spoilt(golden, name, change))
    with pytest.raises(ParityError, match=message):
        check(figures, TOLERANCES["fp32"])


def test_the_classes_asked_for_are_compared_though_they_are_not_the_predicted_ones(backend: OrtBackend, golden: Golden):
    assert golden.targets is not None
    other = dataclasses.replace(golden, targets=np.where(golden.targets == 0, 1, golden.targets))
    assert verify_golden(backend, other)["saliency_rank_min"] < 0.9


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_bounds_are_those_of_the_graphs_own_precision(golden: Golden, precision: str):
    half: Any = FormOf(dataclasses.replace(golden.card, precision=precision))
    bounds = golden_bounds(half, golden)
    assert (bounds.precision, bounds.tolerances) == (precision, TOLERANCES[precision])


def test_the_bounds_are_never_looser_than_the_bundles(golden: Golden):
    loose = TOLERANCES["fp16"].as_dict() | {"logits_max": 0.5, "mask_iou_min": 0.1, "logits_p99": 1e-9}
    card = dataclasses.replace(golden.card, precision="fp16", tolerances=loose)
    backend: Any = FormOf(card)
    bounds = golden_bounds(backend, golden, "x.plan")
    assert (bounds.tolerances.logits_max, bounds.tolerances.mask_iou_min) == (0.02, 0.98)
    assert bounds.tolerances.logits_p99 == 1e-9
    assert bounds.source == "recorded in the card of x.plan, and no looser than the bundle's"


class FormOf:
    """As much of a backend as its bounds need."""

    def __init__(self, card: Any) -> None:
        self.card = card


def test_a_bundle_without_the_graphs_precision_is_refused(backend: OrtBackend, golden: Golden):
    half = dataclasses.replace(golden, tolerances={"fp16": TOLERANCES["fp16"]})
    with pytest.raises(ArtefactError, match="graph is fp32, and the golden bundle has tolerances for fp16 alone"):
        verify_golden(backend, half)


def test_a_bundle_of_another_classifier_is_refused(backend: OrtBackend, golden: Golden):
    classifier = dataclasses.replace(golden.card.classifier, sha256="cd" * 32)
    other = dataclasses.replace(golden, card=dataclasses.replace(golden.card, classifier=classifier))
    with pytest.raises(
        ArtefactError, match=r"a\.onnx and the golden bundle are forms of two models: classifier of sha"
    ):
        verify_golden(backend, other, "a.onnx")


def test_a_bundle_that_asks_for_classes_needs_a_graph_that_can_be_asked(golden: Golden, graph: Callable[..., Path]):
    with (
        OrtBackend(graph(target=False)) as plain,
        pytest.raises(ArtefactError, match=r"plain: has no input 'target', and the golden bundle asks for classes"),
    ):
        verify_golden(plain, golden, "plain")


def changed_file(golden: Golden, path: Path, **arrays: Any) -> Path:
    """The bundle's file with some arrays exchanged, or left out where None."""
    with np.load(io.BytesIO(golden_bytes(golden)), allow_pickle=False) as file:
        kept = {name: file[name] for name in file.files} | arrays
    np.savez(path, **{name: values for name, values in kept.items() if values is not None})
    return path


def meta_with(golden: Golden, **values: Any) -> Any:
    with np.load(io.BytesIO(golden_bytes(golden)), allow_pickle=False) as file:
        meta = json.loads(file["meta"].tobytes()) | values
    return np.frombuffer(json.dumps(meta).encode(), np.uint8)


def test_a_newer_schema_says_which_can_be_read(golden: Golden, tmp_path: Path):
    path = changed_file(golden, tmp_path / "x.npz", meta=meta_with(golden, schema=GOLDEN_SCHEMA + 1))
    with pytest.raises(
        ArtefactError, match=r"x\.npz: golden bundle: schema 2 is newer than schema 1, .*upgrade whymask"
    ):
        read_golden(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": None}, "lacks 'images', so this is no golden bundle; write one: whymask export RUN"),
        ({"output.mask": None}, "lacks 'mask', so this is no golden bundle"),
        (
            {"images": np.zeros((5, 32, 32, 3), np.float32)},
            "images: got float32 (5, 32, 32, 3), expected uint8 (5, 32, ",
        ),
        (
            {"images": np.zeros((0, 32, 32, 3), np.uint8)},
            "images: got uint8 (0, 32, 32, 3), expected uint8 (N, 32, 32, 3)",
        ),
        ({"targets": np.zeros(4, np.int64)}, "targets: got int64 (4,), expected int64 (5)"),
        (
            {"output.saliency": np.zeros((5, 4), np.float32)},
            "output.saliency: got float32 (5, 4), expected float32 (5, h, w)",
        ),
        ({"output.logits": np.zeros((5, 4), np.float32)}, "output.logits: got float32 (5, 4), expected float32 (5, 3)"),
        ({"meta": np.frombuffer(b"\xff", np.uint8)}, "meta or card is not UTF-8 text"),
        ({"meta": np.frombuffer(b"{", np.uint8)}, "golden bundle: not valid JSON"),
        ({"images": np.array([{}], object)}, "not a golden bundle (Object arrays cannot be loaded"),
    ],
    ids=["no images", "no mask", "dtype", "empty", "targets", "saliency", "classes", "bytes", "json", "pickle"],
)
def test_what_is_wrong_inside_is_named(golden: Golden, tmp_path: Path, arrays: dict[str, Any], message: str):
    path = changed_file(golden, tmp_path / "x.npz", **arrays)
    with pytest.raises(ArtefactError, match=re.escape(f"{path}: {message}")):
        read_golden(path)


def test_another_card_inside_is_noticed(golden: Golden, tmp_path: Path):
    card = golden.card.to_json().replace("0.5", "0.6").encode()
    path = changed_file(golden, tmp_path / "x.npz", card=np.frombuffer(card, np.uint8))
    with pytest.raises(ArtefactError, match="its card is not the one it was written with"):
        read_golden(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_one_clear_error(golden: Golden, tmp_path: Path, share: float):
    whole = golden_bytes(golden)
    (tmp_path / "x.npz").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ArtefactError, match=r"not a golden bundle \(no whole \.npz file\): cut short on its way here"):
        read_golden(tmp_path / "x.npz")


def test_a_file_with_a_changed_byte_is_one_clear_error(golden: Golden, tmp_path: Path):
    whole = bytearray(golden_bytes(golden))
    whole[len(whole) // 2] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(whole)
    with pytest.raises(ArtefactError, match=r"x\.npz: not a golden bundle \(.+\): cut short .*copy it again"):
        read_golden(tmp_path / "x.npz")


def test_another_kind_of_file_and_no_file_are_told_apart(tmp_path: Path, fused: Path):
    with pytest.raises(ArtefactError, match=r"fused\.onnx: not a golden bundle"):
        read_golden(fused)
    with pytest.raises(ArtefactError, match=r"x\.npz: no such file, .*whymask export RUN -o FILE\.onnx --golden 16"):
        read_golden(tmp_path / "x.npz")
