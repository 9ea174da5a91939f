from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from colour_graph import FLOAT, Options, card_of
from PIL import Image

from whymask.runtime.errors import ArtefactError, BackendError, InputError
from whymask.runtime.explainer import Explainer, class_index, load
from whymask.runtime.images import Picture

NEWER = json.dumps({**json.loads(card_of(Options()).to_json()), "schema": 2})
OTHER_SIZE = card_of(Options(height=64)).to_json()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"metadata": None}, "no card in the graph", id="no card"),
        pytest.param({"metadata": "{"}, "not valid JSON", id="broken card"),
        pytest.param({"metadata": NEWER}, "schema 2 is newer.*upgrade whymask", id="newer schema"),
        pytest.param(
            {"metadata": OTHER_SIZE}, r"image has shape \(B, 32, 32, 3\), expected \(B, 64, 32, 3\)", id="size"
        ),
        pytest.param({"without": ("mask",)}, r"lacks the output mask \(outputs: logits, saliency\)", id="no mask"),
        pytest.param({"without": ("logits", "saliency")}, "lacks the output logits, saliency", id="two missing"),
        pytest.param({"image_dtype": FLOAT}, "image is float32, expected uint8", id="float input"),
        pytest.param({"extra_input": "scale"}, "unknown input 'scale', expected image and target", id="unknown input"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused_with_its_name(
    graph: Callable[..., Path], options: dict[str, object], message: str
):
    with pytest.raises(ArtefactError, match=rf"fused\.onnx: .*{message}"):
        load(graph(**options))


@pytest.mark.parametrize("suffix", [".plan", ".engine", ".trt"])
def test_an_engine_is_known_by_its_suffix(tmp_path: Path, suffix: str):
    with pytest.raises(ArtefactError, match=rf"model\{suffix}: no such file, expected an engine made by whymask build"):
        load(tmp_path / f"model{suffix}")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "a.plan",
            {"provider": "cpu"},
            r"provider: 'cpu' was asked for, and .*a\.plan is an engine.*leave provider out",
        ),
        ("a.plan", {"threads": 2}, "threads: 2 was asked for"),
        ("a.onnx", {"cuda_graph": True}, r"cuda_graph: True was asked for, and .*a\.onnx is no engine.*whymask build"),
        ("a.onnx", {"zero_copy": False}, "zero_copy: False was asked for"),
        ("a.onnx", {"contexts": 2}, "contexts: 2 was asked for"),
    ],
)
def test_options_of_the_other_kind_of_file_are_refused(tmp_path: Path, name: str, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        load(tmp_path / name, **options)


def test_a_run_directory_is_not_a_graph(tmp_path: Path):
    with pytest.raises(ArtefactError, match="a folder, expected an ONNX file; make one with: whymask export"):
        load(tmp_path)


def test_the_predicted_class_is_explained(explainer: Explainer, red_square: Picture):
    result = explainer.explain(red_square)
    assert (result.label, result.index, result.target) == ("red", 0, None)
    assert explainer.provider == "CPUExecutionProvider"
    assert "colours" in repr(explainer)


@pytest.mark.parametrize("target", ["blue", 2, "2", np.int64(2)])
def test_a_class_is_asked_for_by_label_or_number(explainer: Explainer, red_square: Picture, target: int | str):
    result = explainer.explain(red_square, target=target)
    assert (result.label, result.target) == ("blue", 2)
    assert result.mask[28:, 28:].all()
    assert not result.mask[:16].any()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("blu", "no class is called 'blu'; the nearest label is 'blue'"),
        (3, "class 3 does not exist, expected an index from 0 to 2"),
        (-1, "class -1 does not exist"),
        (1.5, "got float, expected a label, an index or None"),
    ],
)
def test_a_class_that_does_not_exist_is_refused(explainer: Explainer, red_square: Picture, target: int, message: str):
    with pytest.raises(InputError, match=message):
        explainer.explain(red_square, target=target)


def test_labels_that_are_numbers_or_shared_or_absent():
    assert class_index(card_of(Options(labels=("7", "2", "1"))), "2") == 1
    with pytest.raises(InputError, match="'crane' is the label of classes 0 and 2; give the number"):
        class_index(card_of(Options(labels=("crane", "b", "crane"))), "crane")
    with pytest.raises(InputError, match="the card has no labels, so give an index from 0 to 2"):
        class_index(card_of(Options(labels=())), "red")


def test_a_graph_without_target_says_how_to_export_one(graph: Callable[..., Path], red_square: Picture):
    explainer = load(graph(target=False))
    assert explainer.explain(red_square).label == "red"
    with pytest.raises(InputError, match=r"explains the predicted class only; export it again with: .* --target"):
        explainer.explain(red_square, target=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.1}, r"threshold: got 1.1, expected a number in \[0, 1\]"),
        ({"threshold": float("nan")}, "threshold: got nan"),
        ({"area": 0.0}, r"area: got 0.0, expected a share of the pixels in \(0, 1\]"),
        ({"area": 0.1, "threshold": 0.5}, "both given"),
        ({"threshold": "0.5"}, r"threshold: got '0.5', expected a number in \[0, 1\]"),
        ({"area": [0.1]}, r"area: got \[0.1\], expected a share of the pixels"),
    ],
)
def test_masks_that_cannot_be_are_refused(explainer: Explainer, red_square: Picture, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        explainer.explain(red_square, **options)
    with pytest.raises(InputError, match=message):
        explainer.explain_batch([red_square], **options)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda e, p: e.explain_batch(None), "images: got None, expected a list of pictures"),
        (
            lambda e, p: e.explain_batch([p], batch_size=2.5),
            "batch_size: got 2.5, expected a whole number of at least 1",
        ),
        (lambda e, p: e.explain_batch([p], batch_size="2"), "batch_size: got '2', expected a whole number"),
        (lambda e, p: e.explain_classes(p, None), "targets: got None, expected a list of classes"),
        (lambda e, p: e.certify(None), "result: got NoneType, expected an explanation by this explainer"),
        (lambda e, p: e.instances(e.explain(p), least_share="0.1"), "least_share: got '0.1', expected a share"),
        (lambda e, p: load(None), "path: got NoneType, expected that of an ONNX file or an engine"),
    ],
)
def test_what_is_of_a_wrong_type_is_one_clear_error(
    explainer: Explainer, red_square: Picture, ask: Callable[[Explainer, Picture], object], message: str
):
    with pytest.raises(InputError, match=message):
        ask(explainer, red_square)


def test_a_path_too_long_and_threads_that_are_no_number_are_one_clear_error(fused: Path):
    with pytest.raises(ArtefactError, match="no such file, expected an ONNX graph"):
        load("a" * 5000 + ".onnx")
    with pytest.raises(InputError, match=r"threads: got '2', expected a whole number of at least 1, or None"):
        load(fused, threads="2")  # type: ignore[arg-type]


def test_a_threshold_of_numpys_becomes_a_plain_number(explainer: Explainer, red_square: Picture):
    assert type(explainer.explain(red_square, threshold=np.float32(0.5)).threshold) is float


def pictures(count: int) -> list[Picture]:
    return list(np.random.default_rng(3).integers(0, 256, (count, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("batch", ["B", 1, 3])
def test_a_batch_is_explained_in_order_as_one_by_one(graph: Callable[..., Path], batch: int | str):
    explainer, images = load(graph(batch=batch)), pictures(7)
    results = list(explainer.explain_batch(iter(images), batch_size=4, target="green"))
    assert len(results) == 7
    for image, result in zip(images, results, strict=True):
        alone = explainer.explain(image, target="green")
        assert result.picture is image
        assert np.allclose(result.saliency, alone.saliency, atol=1e-6)
        assert np.allclose(result.logits, alone.logits, rtol=1e-5)


def test_a_batch_may_mix_sizes_and_kinds(explainer: Explainer, tmp_path: Path, red_square: Picture):
    large = red_square.repeat(3, axis=0).repeat(2, axis=1)
    Image.fromarray(large).save(tmp_path / "large.png")
    results = list(explainer.explain_batch([red_square, tmp_path / "large.png", Image.fromarray(large)]))
    assert [result.overlay().shape for result in results] == [(32, 32, 3), (96, 64, 3), (96, 64, 3)]


def test_a_batch_is_not_a_single_path_and_not_empty(explainer: Explainer):
    with pytest.raises(InputError, match=r"single path 'a\.png', expected a list"):
        explainer.explain_batch("a.png")
    with pytest.raises(InputError, match="batch_size: got 0"):
        explainer.explain_batch([], batch_size=0)
    assert list(explainer.explain_batch([])) == []


def test_threads_share_one_explainer(explainer: Explainer):
    images = pictures(40)
    alone = [explainer.explain(image).saliency for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = [result.saliency for result in pool.map(explainer.explain, images)]
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_explanations_outlive_the_graph(fused: Path, red_square: Picture):
    with load(fused) as explainer:
        result = explainer.explain(red_square)
    assert result.overlay().shape == (32, 32, 3)
    with pytest.raises(BackendError, match="was closed"):
        explainer.explain(red_square)
