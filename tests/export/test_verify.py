"""Two forms of one model: that equal ones agree, that a wrong one is named by its gate, and whose bounds apply."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tiny_run import TOP, Exported, make_run, weakened

from whymask.export import verify as module
from whymask.export.config import ExportConfig
from whymask.export.golden_from_run import golden_from_run
from whymask.export.run_backend import RunBackend
from whymask.export.verification import Images
from whymask.export.verify import Artefact, opened, verify_pair, verify_with_golden
from whymask.runtime.backends import Arrays
from whymask.runtime.card import METADATA_KEY
from whymask.runtime.errors import ArtefactError, InputError, MissingExtra, ParityError
from whymask.runtime.explainer import Explainer
from whymask.runtime.golden import Golden, write_golden
from whymask.runtime.images import Picture, resize_map
from whymask.runtime.ort import OrtBackend
from whymask.runtime.parity import TOLERANCES
from whymask.train import run as train_run
from whymask.train.run import save_run

Export = Callable[[str, str], Exported]
Forms = Callable[[str], Artefact]
IMAGES = Images(7, "", True)


@pytest.fixture(scope="module")
def forms(exported: Export, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forms]:
    """`run`, `fp32` or `fp16` of one tiny model, loaded once."""
    run = make_run(tmp_path_factory.mktemp("verified"), "tapped")
    save_run(run)
    made = {"run": Artefact(run.path, "run", RunBackend(run))}

    def form(name: str) -> Artefact:
        if name not in made:
            path = exported("tapped", name).path
            made[name] = Artefact(path, "ONNX", OrtBackend(path, "cpu", threads=1))
        return made[name]

    yield form
    for artefact in made.values():
        artefact.backend.close()


def test_the_reference_is_the_more_exact_precision_and_then_the_more_exact_kind() -> None:
    def made(precision: str, kind: str) -> Any:
        return SimpleNamespace(form=SimpleNamespace(precision=precision), kind=kind)

    ranked = [made("fp32", "ONNX"), made("fp16", "run"), made("fp16", "engine"), made("int8", "run")]
    assert sorted(reversed(ranked), key=module._exactness) == ranked


@pytest.mark.parametrize(
    ("first", "second", "reference", "precision"),
    [
        ("run", "fp32", "run", "fp32"),
        ("fp32", "run", "run", "fp32"),
        ("fp16", "run", "run", "fp16"),
        ("fp16", "fp32", "fp32", "fp16"),
    ],
)
def test_forms_of_one_run_agree_and_the_looser_precision_bounds_them(
    forms: Forms, pictures: Picture, first: str, second: str, reference: str, precision: str
) -> None:
    done: list[int] = []
    result = verify_pair(forms(first), forms(second), pictures, IMAGES, done.append)
    result.check()
    assert result.reference == forms(reference).side()
    assert result.bounds.tolerances == TOLERANCES[precision]
    assert (result.bounds.precision, result.bounds.source) == (precision, "recorded in the card of fused.onnx")
    assert sum(done) == 2 * len(pictures)
    assert result.figures["logits_max"] < TOLERANCES[precision].logits_max
    # A run is asked for the likeliest classes one by one, a graph gives them at once.
    assert result.figures["classes_agreement_min"] == 1.0


def test_the_half_graph_would_fail_the_bounds_of_single_precision(forms: Forms, pictures: Picture) -> None:
    result = verify_pair(forms("run"), forms("fp16"), pictures, IMAGES)
    strict = dataclasses.replace(result.bounds, tolerances=TOLERANCES["fp32"])
    with pytest.raises(ParityError, match=r"logits_max is 0\.000\d+, allowed ≤ 0\.0001"):
        dataclasses.replace(result, bounds=strict).check()


@pytest.mark.parametrize(
    ("part", "factor", "message"),
    [
        (
            "classifier.model.head",
            1.05,
            r"logits_max is 0\.0\d+, allowed ≤ 0\.0001; logits_p99 is .*certificate_max is ",
        ),
        (
            "explainer.inner.out",
            -1.0,
            r"saliency_max is 0\.\d+, allowed ≤ 0\.002; saliency_rank is .*mask_iou is .*Do not use w",
        ),
    ],
    ids=["classifier", "explainer"],
)
def test_a_wrong_weight_is_named_by_the_gates_that_see_it(
    forms: Forms, exported: Export, pictures: Picture, tmp_path: Path, part: str, factor: float, message: str
) -> None:
    onnx.save(weakened(exported("tapped", "fp32").model, part, factor), tmp_path / "wrong.onnx")
    with opened(tmp_path / "wrong.onnx") as wrong:
        result = verify_pair(wrong, forms("run"), pictures, IMAGES)
    with pytest.raises(ParityError, match=rf"^wrong\.onnx disagrees with {result.reference.name}: {message}"):
        result.check()


def test_a_wrong_threshold_in_the_graph_is_seen_by_the_masks_alone(
    forms: Forms, exported: Export, pictures: Picture, tmp_path: Path
) -> None:
    (tmp_path / "wrong.onnx").write_bytes(b"graph")
    with OrtBackend(exported("tapped", "fp32").path, "cpu") as backend:
        wrong = Artefact(tmp_path / "wrong.onnx", "ONNX", Spoilt(backend, threshold=0.6))
        result = verify_pair(forms("run"), wrong, pictures, IMAGES)
    assert {gate.name for gate in result.gates if not gate.passes} == {"mask_iou_min"}
    with pytest.raises(
        ParityError, match=r"wrong\.onnx disagrees with .*: mask_iou is 0\.\d+, allowed ≥ 0\.999\. Do not"
    ):
        result.check()


class Spoilt:
    """A graph's backend in batches of 1 and 2, with another threshold where given; an engine's where a precision is."""

    def __init__(self, backend: OrtBackend, threshold: float | None = None, precision: str = "") -> None:
        self._backend, self._threshold = backend, threshold
        self.inputs, self.card, self.provider = backend.inputs, backend.card, "fake 1.0"
        self.outputs = {name: backend.outputs[name] for name in ("logits", "saliency", "mask")}
        self.batch_range = (1, 2)
        self.seen: list[int] = []
        if precision:
            self.engine_card = SimpleNamespace(precision=precision)

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        self.seen.append(len(feeds["image"]))
        made = self._backend.run(feeds, list(self.outputs))
        if self._threshold is not None:
            resized = resize_map(made["saliency"], *made["mask"].shape[1:])
            made["mask"] = (resized >= self._threshold).astype(np.uint8)
        return made

    def close(self) -> None:
        pass

    __enter__ = __exit__ = lambda self, *_: self


@pytest.fixture
def engine(exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """An engine's file, which loads as a fake built in a precision."""

    def made(precision: str, threshold: float | None = None) -> Path:
        backend: Any = Spoilt(OrtBackend(exported("tapped", "fp32").path, "cpu"), threshold, precision)
        monkeypatch.setattr(module, "load", lambda path: Explainer(backend, str(path)))
        path = tmp_path / "fused.plan"
        path.write_bytes(b"plan")
        return path

    return made


@pytest.mark.parametrize(
    ("precision", "source"),
    [("fp32", "recorded in the card of "), ("fp16", "of this version of whymask: no card records them")],
)
def test_an_engine_is_bound_by_the_precision_it_was_built_in_and_fed_its_own_batches(
    forms: Forms, pictures: Picture, engine: Callable[..., Path], precision: str, source: str
) -> None:
    with opened(engine(precision)) as artefact:
        result = verify_pair(artefact, forms("run"), pictures, IMAGES)
        backend: Any = artefact.backend
    result.check()
    assert str(result.measured) == f"fused.plan (engine, {precision}), fake 1.0"
    assert result.bounds.precision == precision
    assert result.bounds.source.startswith(source)
    assert set(backend.seen) == {1, 2}


def test_a_wrong_engine_is_told_how_to_be_built_again(
    forms: Forms, pictures: Picture, engine: Callable[..., Path]
) -> None:
    with opened(engine("fp16", threshold=0.7)) as artefact:
        result = verify_pair(artefact, forms("fp32"), pictures, IMAGES)
    with pytest.raises(ParityError, match=r"make it again: whymask build FUSED\.onnx -o fused\.plan$"):
        result.check()


@pytest.fixture(scope="module")
def golden(exported: Export, pictures: Picture) -> Golden:
    """Of the tiny run, asking for a class in every second picture."""
    made = exported("tapped", "fp32")
    return golden_from_run(made.run, ExportConfig(target=True, top=TOP, contrast=True), pictures, True)


def test_a_bundle_asks_for_the_predicted_and_the_second_class_in_turn(golden: Golden) -> None:
    assert golden.targets is not None
    ranked = golden.outputs["logits"].argsort(axis=1)
    assert golden.targets[::2].tolist() == [-1] * 4
    np.testing.assert_array_equal(golden.targets[1::2], ranked[1::2, -2])


def test_a_bundle_holds_the_two_likeliest_classes_against_each_other_in_two_of_four(golden: Golden) -> None:
    assert golden.against is not None and golden.targets is not None
    ranked = golden.outputs["logits"].argsort(axis=1)
    assert golden.against[:2].tolist() == [-1, -1]
    assert golden.against[2:4].tolist() == [ranked[2, -2], ranked[3, -1]]
    assert golden.outputs["class_mask"].shape[1] == TOP


@pytest.mark.parametrize("form", ["run", "fp32", "fp16"])
def test_every_form_agrees_with_the_bundle(forms: Forms, golden: Golden, tmp_path: Path, form: str) -> None:
    write_golden(tmp_path / "x.golden.npz", golden)
    result = verify_with_golden(forms(form), golden, tmp_path / "x.golden.npz")
    result.check()
    assert result.reference.kind == "golden bundle"
    assert result.bounds.precision == ("fp16" if form == "fp16" else "fp32")
    assert (result.images.count, result.images.is_synthetic) == (7, True)
    assert ("certificate_max" in result.figures) == (form != "run")
    assert ("class_mask_iou_min" in result.figures) == (form != "run")


def test_an_engine_that_takes_small_batches_is_verified_by_the_bundle(
    golden: Golden, tmp_path: Path, engine: Callable[..., Path]
) -> None:
    write_golden(tmp_path / "x.golden.npz", golden)
    with opened(engine("fp16")) as artefact:
        verify_with_golden(artefact, golden, tmp_path / "x.golden.npz").check()
    with opened(engine("fp16", threshold=0.7)) as artefact, pytest.raises(ParityError, match="mask_iou is 0"):
        verify_with_golden(artefact, golden, tmp_path / "x.golden.npz").check()


def test_forms_of_two_classifiers_are_refused(
    forms: Forms, exported: Export, pictures: Picture, tmp_path: Path
) -> None:
    made = exported("tapped", "fp32")
    other, model = dataclasses.replace(made.card.classifier, sha256="cd" * 32), onnx.ModelProto()
    model.CopyFrom(made.model)
    onnx.helper.set_model_props(model, {METADATA_KEY: dataclasses.replace(made.card, classifier=other).to_json()})
    onnx.save(model, tmp_path / "other.onnx")
    with (
        opened(tmp_path / "other.onnx") as artefact,
        pytest.raises(
            ArtefactError, match=r"and other\.onnx are forms of two models: classifier of sha256 .* cdcd.*one run"
        ),
    ):
        verify_pair(artefact, forms("run"), pictures, IMAGES)


def test_a_run_directory_is_loaded_with_where_its_classifier_is_now(
    forms: Forms, exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    run = exported("tapped", "fp32").run
    monkeypatch.setattr(train_run, "load_run", lambda path, **moved: asked.update(moved) or run)
    with opened(forms("run").path, model="moved.py:build", weights="moved.pt") as artefact:
        assert (artefact.kind, artefact.form.precision) == ("run", "fp32")
        assert artefact.backend.provider.startswith("torch ")
    assert asked == {"model": "moved.py:build", "weights": "moved.pt"}


def test_a_run_directory_without_torch_names_the_extra(forms: Forms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "whymask.export.run_backend", None)
    with pytest.raises(MissingExtra, match=r'to verify a run directory.*pip install "whymask\[export\]"'):
        opened(forms("run").path).__enter__()


def test_a_bundle_in_an_artefacts_place_is_told_its_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"whymask verify ARTEFACT --golden x\.golden\.npz"):
        opened(tmp_path / "x.golden.npz").__enter__()
