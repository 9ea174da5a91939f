from __future__ import annotations

import dataclasses
import json
import pickle
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from colour_graph import Options, card_of, write_graph, write_pair
from fake_engines import FakeTrt, write_engine_pair
from PIL import Image
from typer.testing import CliRunner

from whymask.runtime import cli
from whymask.runtime.alone import classifier_path
from whymask.runtime.conditions import Seen, condition_from
from whymask.runtime.engine_card import FUSED, sidecar_path
from whymask.runtime.errors import ArtefactError, BackendError, InputError
from whymask.runtime.explainer import Explainer, load
from whymask.runtime.ort import OrtBackend
from whymask.runtime.trigger import Trigger

CARD = card_of(Options())


def plain(colour: int, level: int = 255) -> np.ndarray:
    """One colour everywhere; at a low level the classifier is unsure."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[..., colour] = level
    return picture


SURE, UNSURE, GREEN = plain(0), plain(0, 4), plain(1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair(tmp_path_factory.mktemp("pair") / "fused.onnx")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Pictures that went through each file."""
    counted: Counter = Counter()
    run = OrtBackend.run

    def counting(backend, feeds, outputs=None):
        counted[backend._path.name.removeprefix("fused.")] += len(feeds["image"])
        return run(backend, feeds, outputs)

    monkeypatch.setattr(OrtBackend, "run", counting)
    return counted


@pytest.fixture
def explainer(pair: Path) -> Iterator[Explainer]:
    with load(pair, threads=1) as loaded:
        yield loaded


@pytest.mark.parametrize(
    ("spec", "holds"),
    [
        ("always", [True, True, True]),
        ("never", [False, False, False]),
        ("every 2", [True, False, True]),
        ("changed", [True, False, True]),
        ("confidence<0.6", [False, True, False]),
        ("confidence > .6", [True, False, True]),
        ("margin<0.25", [False, True, False]),
        ("margin>0.25", [True, False, True]),
        ("class in {blue}", [False, False, True]),
        ("class in {0, 'blue'}", [True, True, True]),
        ("class in {blue} or confidence<0.6", [False, True, True]),
        ("every 2 and changed and class in {2}", [False, False, True]),
        ("never or every 2 and confidence>0.8", [True, False, False]),
        ("(every 2 or confidence<0.6) and class in {red}", [True, True, False]),
    ],
)
def test_a_condition_holds_for_the_frames_that_it_names(spec: str, holds: list[bool]):
    frames = [Seen(0, 0, 0.9, 0.8, None), Seen(1, 0, 0.5, 0.2, 0), Seen(2, 2, 0.7, 0.5, 0)]
    condition = condition_from(spec).of(CARD)
    assert [condition.judge(frame) for frame in frames] == holds


@pytest.mark.parametrize(
    ("spec", "known"),
    [
        ("every 2", [True, False]),
        ("confidence<0.6", [None, None]),
        ("every 2 or confidence<0.6", [True, None]),
        ("every 2 and changed", [None, False]),
        ("never and class in {red}", [False, False]),
    ],
)
def test_what_is_known_before_the_classifier_has_run(spec: str, known: list[bool | None]):
    condition = condition_from(spec).of(CARD)
    assert [condition.judge(Seen(number)) for number in range(2)] == known


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "'' cannot be read where it ends, expected always, never, every N"),
        ("confidance<0.6", "at 'confidance', expected .*; did you mean 'confidence'"),
        ("confidence=0.6", "at '=0.6'"),
        ("confidence<60", r"at '60', expected a probability in \[0, 1\] after confidence"),
        ("every 0", "at '0', expected a whole number of frames of at least 1"),
        ("class in zebra", "at 'zebra', expected classes in braces"),
        ("class in {}", r"at '\{\}', expected classes in braces"),
        ("changed changed", "at 'changed'"),
        ("changed or", "where it ends"),
        ("(changed", r"where it ends, expected \)"),
    ],
)
def test_a_condition_that_cannot_be_read_is_one_clear_error(spec: str, message: str):
    with pytest.raises(InputError, match=rf"^when: .*{message}"):
        Trigger(spec)


def test_an_unknown_class_is_refused_before_a_picture_is_looked_at(explainer: Explainer):
    with pytest.raises(InputError, match="when: class: no class is called 'rad'; the nearest label is 'red'"):
        explainer.explain_batch([], when="class in {rad}")
    with pytest.raises(InputError, match="when: got int, expected a condition as text, or a Trigger"):
        explainer.explain(SURE, when=3)  # type: ignore[arg-type]


def test_only_the_frames_that_need_a_why_go_through_the_fused_graph(pair: Path, runs: Counter):
    with load(pair, threads=1, when="confidence<0.6") as explainer:
        results = [explainer.explain(picture) for picture in (SURE, UNSURE, SURE)]
        assert [result.explained for result in results] == [False, True, False]
        assert runs == {"classifier.onnx": 3, "onnx": 1}
        reference = explainer.explain(SURE, when="always")
    assert reference.explained
    np.testing.assert_allclose(results[0].probabilities, reference.probabilities, rtol=1e-6)
    assert (results[0].label, results[0].index) == (reference.label, reference.index) == ("red", 0)
    assert results[1].mask.shape == (32, 32)


def test_every_nth_frame_needs_no_classifier_first(explainer: Explainer, runs: Counter):
    explained = [explainer.explain(SURE, when="every 3").explained for _ in range(7)]
    assert explained == [True, False, False, True, False, False, True]
    assert runs == {"onnx": 3, "classifier.onnx": 4}


def test_a_change_is_seen_across_frames_that_were_explained_early(explainer: Explainer):
    pictures = [SURE, GREEN, GREEN, GREEN, SURE, SURE]
    explained = [explainer.explain(picture, when="changed or every 4").explained for picture in pictures]
    assert explained == [True, True, False, False, True, False]
    batch = explainer.explain_batch(pictures, batch_size=6, when=Trigger("changed or every 4"))
    assert [result.explained for result in batch] == explained


def test_a_batch_sends_its_triggered_rows_alone_through_the_fused_graph(explainer: Explainer, runs: Counter):
    pictures = [SURE, UNSURE, GREEN, UNSURE, SURE]
    results = list(explainer.explain_batch(pictures, batch_size=5, when="confidence<0.6"))
    assert [result.explained for result in results] == [False, True, False, True, False]
    assert [result.label for result in results] == ["red", "red", "green", "red", "red"]
    assert runs == {"classifier.onnx": 5, "onnx": 2}
    alone = explainer.explain(UNSURE)
    assert np.array_equal(results[3].saliency, alone.saliency)
    assert np.shares_memory(results[3].picture, pictures[3])


def test_a_graph_of_a_fixed_batch_is_filled_up(tmp_path: Path):
    with load(write_pair(tmp_path / "fused.onnx", batch=4), threads=1, when="confidence<0.6") as explainer:
        results = list(explainer.explain_batch([SURE, UNSURE, GREEN]))
        assert [(result.label, result.explained) for result in results] == [
            ("red", False),
            ("red", True),
            ("green", False),
        ]


def test_what_was_not_explained_says_so(explainer: Explainer):
    result = explainer.explain(SURE, when="never")
    assert repr(result) == f"Explanation(label='red', confidence={result.confidence:.3f}, not explained)"
    assert result.summary().endswith("not explained")
    assert [each.label for each in result.top(1)] == ["red"]
    assert result.kept is None
    asked = {
        "mask": lambda: result.mask,
        "saliency": lambda: result.saliency_at(8, 8),
        "top_explanations": result.top_explanations,
        "certify": result.certify,
        "instances": result.instances,
        "cut_at": lambda: result.cut_at(0.5),
        "mask ": lambda: result.area,
    }
    for name, ask in asked.items():
        with pytest.raises(InputError, match=f"^{name.strip()}: this picture was not explained, since the trigger"):
            ask()
    again = pickle.loads(pickle.dumps(result))
    assert not again.explained
    assert explainer.explain(again.picture, when="always").mask.any()


def test_a_trigger_of_its_own_counts_each_camera(explainer: Explainer):
    left, right = Trigger("every 2"), Trigger("every 2")
    assert [explainer.explain(SURE, when=left).explained for _ in range(3)] == [True, False, True]
    assert explainer.explain(SURE, when=right).explained
    assert repr(left) == "Trigger('every 2')"


def test_threads_share_a_trigger(explainer: Explainer):
    trigger = Trigger("every 4")
    with ThreadPoolExecutor(8) as pool:
        explained = list(pool.map(lambda _: explainer.explain(SURE, when=trigger).explained, range(64)))
    assert sum(explained) == 16


def test_a_classifier_of_another_graph_is_refused(tmp_path: Path):
    fused = write_pair(tmp_path / "fused.onnx")
    write_graph(classifier_path(fused), target=False, metadata=None, labels=("x",), resize="crop", stride=4)
    with pytest.raises(ArtefactError, match=r"not the classifier of fused.onnx: its sha256 begins with .*export both"):
        load(fused, when="changed")
    classifier_path(fused).unlink()
    with pytest.raises(ArtefactError, match=r"fused\.classifier\.onnx: no such file, expected the classifier alone"):
        load(fused, when="changed")
    with load(fused, when="always") as explainer:
        assert explainer.explain(SURE).explained


def test_an_older_export_does_not_say_its_classifier(tmp_path: Path):
    fused = write_pair(tmp_path / "fused.onnx", classifier="")
    with pytest.raises(ArtefactError, match=r"does not say which classifier belongs to it.*whymask export RUN"):
        load(fused, when="every 2")


def test_another_class_from_the_two_graphs_is_an_error(explainer: Explainer, monkeypatch: pytest.MonkeyPatch):
    explainer.explain(SURE, when="changed")
    monkeypatch.setattr(explainer._alone, "logits", lambda pixels: np.array([[0, 9, 0]], np.float32))
    with pytest.raises(ArtefactError, match="alone says 'green' where the fused graph says 'red'"):
        explainer.explain(SURE, when="changed")


def test_a_closed_explainer_stays_closed(pair: Path):
    with load(pair, when="never") as explainer:
        pass
    with pytest.raises(BackendError, match="closed"):
        explainer.explain(SURE)


def test_engines_take_triggers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("whymask.runtime.trt.TrtBackend", FakeTrt)
    path = write_engine_pair(tmp_path)
    with load(path, when="confidence>0.99") as explainer:
        result = explainer.explain(np.zeros((8, 8, 3), np.uint8))
        assert not result.explained
        assert explainer.explain(result.picture, when="always").mask.shape == (8, 8)


@pytest.mark.parametrize(
    ("alone", "message"),
    [({"precision": "fp32"}, "its precision is another"), ({"role": FUSED}, "its role is 'fused'")],
)
def test_an_engine_of_another_build_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: dict, message: str
):
    monkeypatch.setattr("whymask.runtime.trt.TrtBackend", FakeTrt)
    path = write_engine_pair(tmp_path, alone=alone)
    with pytest.raises(ArtefactError, match=f"not the classifier of .*{message}; build both again: whymask build"):
        load(path, when="changed")
    sidecar_path(classifier_path(path)).unlink()
    with pytest.raises(ArtefactError, match=r"its sidecar .* cannot be read"):
        load(path, when="changed")


def test_the_command_marks_what_was_not_explained(pair: Path, tmp_path: Path):
    for name, picture in {"a": SURE, "b": UNSURE}.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    given = ["explain", pair, tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out", "--when"]
    done = CliRunner().invoke(cli.build_app(), [*map(str, given), "confidence<0.6"])
    assert done.exit_code == 0, done.output
    records = [json.loads(line) for line in (tmp_path / "out" / "explanations.jsonl").read_text("utf-8").splitlines()]
    assert [(each["explained"], each["overlay"], "mask" in each) for each in records] == [
        (False, None, False),
        (True, "b.png", True),
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.png", "explanations.jsonl"]
    assert "a.png: red 100.0%, not explained" in done.stdout
    assert "1 explained on CPUExecutionProvider, 1 by the classifier alone, 0 skipped" in done.stdout


def test_two_graphs_that_share_a_trigger_get_their_own_classes():
    """Another thread looks up its graph between the look-up of this one and its answer."""
    first, last = CARD.classifier.labels[0], CARD.classifier.labels[-1]
    turned = dataclasses.replace(CARD.classifier, labels=CARD.classifier.labels[::-1])
    other = dataclasses.replace(CARD, classifier=turned)
    assert first != last

    class Interrupted(Trigger):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_looked_up" and isinstance(value, tuple) and value[0] is CARD:
                super().__setattr__(name, (other, self._condition.of(other)))

    spec = f"class in {{{first}}}"
    assert Interrupted(spec).check(CARD) == Trigger(spec).check(CARD) != Trigger(spec).check(other)
