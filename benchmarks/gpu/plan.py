"""What the study on a GPU does: which classifiers, and for each of them train, export, build, verify and time.

Every step is a command that a person may run alone: `whymask train`, `export`, `build`, `verify`, `bench`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whymask.benchmarks.gpu.steps import Step
from whymask.benchmarks.imagenet import normalisation
from whymask.export.config import classifier_path, golden_path
from whymask.runtime.engine_card import sidecar_path

REPOSITORY = Path(__file__).resolve().parents[2]
WHYMASK = (sys.executable, "-m", "whymask.runtime.cli")
STUDY = (sys.executable, "-m", "whymask.benchmarks.gpu")
CARD_FILE = "card.json"
PRECISIONS = ("fp32", "fp16")
BATCHES = (1, 8, 32)
QUICK_BATCHES = (1,)
MAX_BATCH = 32
GOLDEN_PICTURES = 32
VERIFIED, QUICK_VERIFIED = 400, 64
"""Pictures on which engines are compared: with 400, two may disagree within 99.5 %."""
BUILD_SECONDS = 1800.0
"""At most for both engines of a classifier: a small Jetson times its kernels far longer than a server."""
TESTS, PICTURES = "tests", "pictures"


@dataclass(frozen=True)
class Classifier:
    """One classifier of the study.

    Attributes:
        name: torchvision's name of it, which names its steps too.
        factory: the function of `classifiers.py` that makes it with pretrained weights.
    """

    name: str
    factory: str


CLASSIFIERS = (Classifier("resnet18", "resnet18_noncommercial"), Classifier("mobilenet_v2", "mobilenet_v2_tf"))


@dataclass(frozen=True)
class Study:
    """Where the study takes from and where it puts what is too large to keep.

    Attributes:
        work: folder of runs, graphs and engines.
        data: folder that holds `classifiers.py`, weights and pictures; None takes random weights and drawn pictures.
        runs: trained run directories by classifier; one that is missing is trained shortly.
        quick: one batch size, little training, short timing.
    """

    work: Path
    data: Path | None = None
    runs: Mapping[str, Path] = field(default_factory=dict)
    quick: bool = False

    @property
    def weights(self) -> str:
        """What the classifiers know, in words."""
        if self.data is None:
            return "random weights: latency is real, agreement says little, and masks explain nothing"
        return "pretrained weights"

    def pictures(self, part: str) -> Path:
        """Folder of pictures, `train` or `val`."""
        return self.work / PICTURES / part if self.data is None else self.data / "images" / "imagenette10_128" / part


def planned_steps(study: Study) -> list[Step]:
    """Every step of the study, each after those that it needs."""
    steps = [_tests()]
    if study.data is None:
        folder = study.work / PICTURES
        steps.append(Step(PICTURES, (*STUDY, "pictures", str(folder)), makes=(folder / "train", folder / "val")))
    for classifier in CLASSIFIERS:
        steps += _classifier_steps(study, classifier)
    return steps


def _tests() -> Step:
    command = (sys.executable, "-m", "pytest", "-m", "gpu", str(REPOSITORY / "tests" / "gpu"), "-q", "-rs")
    return Step(TESTS, (*command, "-p", "no:cacheprovider"), read=read_test_counts)


def read_test_counts(output: str) -> dict[str, Any]:
    """How many tests passed and were skipped, and why skipped, from pytest's output.

    Raises:
        ValueError: none passed.
    """
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped)", output)}
    skips = re.findall(r"^SKIPPED \[\d+\] \S+ (.*)$", output, re.MULTILINE)
    if not counts.get("passed"):
        raise ValueError(f"no test passed; skipped: {'; '.join(dict.fromkeys(skips)) or 'none'}")
    return {**counts, "skips": list(dict.fromkeys(skips))}


def _classifier_steps(study: Study, classifier: Classifier) -> Iterator[Step]:
    name = classifier.name
    run = study.runs.get(name, study.work / name)
    trained = () if name in study.runs else (f"{name}.train",)
    if trained:
        yield _train(study, classifier, run)
    for precision in PRECISIONS:
        yield _export(study, classifier, run, precision, trained)
        yield _build(study, name, precision)
        yield from _verify(study, classifier, run, precision, trained)
    for batch in QUICK_BATCHES if study.quick else BATCHES:
        for precision in PRECISIONS:
            for mode, options in (("graph", ("--cuda-graph",)), ("plain", ())):
                engine = _engine(study, name, precision)
                step = f"{name}.bench-{precision}-b{batch}-{mode}"
                yield _bench(study, step, engine, batch, options, f"{name}.build-{precision}")
        yield _bench(
            study,
            f"{name}.ort-cuda-b{batch}",
            _graph(study, name, "fp32"),
            batch,
            ("--provider", "cuda"),
            f"{name}.export-fp32",
            optional=True,
        )
    yield from _rtx(study, name)


def _train(study: Study, classifier: Classifier, run: Path) -> Step:
    model, options, needs = f"torchvision:{classifier.name}", ["--weights", "random"], _drawn(study)
    if study.data is not None:
        path = study.data / "classifiers.py"
        mean, std = (",".join(map(repr, values)) for values in normalisation(path, classifier.factory))
        labels = str(study.data / "imagenet_class_index.json")
        model, options = f"{path}:{classifier.factory}", ["--mean", mean, "--std", std, "--labels", labels]
    length = ("--steps", "20" if study.quick else "400", "--evaluate-every", "0")
    command = (*WHYMASK, "train", model, *options, "--data", str(study.pictures("train")), *length, "-o", str(run))
    return Step(f"{classifier.name}.train", command, needs, (run / CARD_FILE,))


def _export(study: Study, classifier: Classifier, run: Path, precision: str, trained: tuple[str, ...]) -> Step:
    graph = _graph(study, classifier.name, precision)
    moved = _moved(study, classifier, run)
    options = ("--precision", precision, "--golden", str(GOLDEN_PICTURES), "--data", str(study.pictures("val")))
    command = (*WHYMASK, "export", str(run), "-o", str(graph), *options, *moved, "--json")
    made = (graph, classifier_path(graph), golden_path(graph))
    return Step(f"{classifier.name}.export-{precision}", command, (*trained, *_drawn(study)), made, json.loads)


def _build(study: Study, name: str, precision: str) -> Step:
    graph, engine = _graph(study, name, precision), _engine(study, name, precision)
    options = ("--precision", precision, "--max-batch", str(MAX_BATCH), "--opt-batch", "8", "--classifier")
    return Step(
        f"{name}.build-{precision}",
        (*WHYMASK, "build", str(graph), "-o", str(engine), *options),
        (f"{name}.export-{precision}",),
        (engine, sidecar_path(engine), classifier_path(engine), sidecar_path(classifier_path(engine))),
        lambda output: json.loads(sidecar_path(engine).read_text(encoding="utf-8")),
        seconds=BUILD_SECONDS,
    )


def _verify(
    study: Study, classifier: Classifier, run: Path, precision: str, trained: tuple[str, ...]
) -> Iterator[Step]:
    """The engine against torch, against the FP32 graph in ONNX Runtime, and against the golden bundle of its graph."""
    name = classifier.name
    engine, pictures = str(_engine(study, name, precision)), str(QUICK_VERIFIED if study.quick else VERIFIED)
    data = ("--data", str(study.pictures("val")), "--images", pictures)
    built = (f"{name}.build-{precision}", f"{name}.export-fp32", *trained)
    others = {
        "torch": (str(run), *data, *_moved(study, classifier, run)),
        "onnx": (str(_graph(study, name, "fp32")), *data),
        "golden": ("--golden", str(golden_path(_graph(study, name, precision)))),
    }
    for other, words in others.items():
        command = (*WHYMASK, "verify", engine, *words, "--json")
        yield Step(f"{name}.verify-{precision}-{other}", command, built, read=read_verified)


def read_verified(output: str) -> dict[str, Any]:
    """The record of `whymask verify`, without the figures of each single image."""
    record: dict[str, Any] = json.loads(output)
    del record["each_image"]
    return record


def _bench(
    study: Study, step: str, file: Path, batch: int, options: tuple[str, ...], needs: str, optional: bool = False
) -> Step:
    length = ("--seconds", "3") if study.quick else ("--seconds", "60", "--pairs", "1000")
    words = ("--batch", str(batch), *length, "--data", str(study.pictures("val")), *options, "--json")
    return Step(step, (*WHYMASK, "bench", str(file), *words), (needs,), read=json.loads, optional=optional)


def _rtx(study: Study, name: str) -> Iterator[Step]:
    """TensorRT-RTX, where it builds for this GPU."""
    graph, engine = _graph(study, name, "fp16"), study.work / f"{name}.rtx.plan"
    options = ("--precision", "fp16", "--max-batch", str(MAX_BATCH), "--classifier", "--rtx")
    build = f"{name}.rtx-build"
    yield Step(
        build,
        (*WHYMASK, "build", str(graph), "-o", str(engine), *options),
        (f"{name}.export-fp16",),
        (engine, sidecar_path(engine), classifier_path(engine), sidecar_path(classifier_path(engine))),
        lambda output: json.loads(sidecar_path(engine).read_text(encoding="utf-8")),
        optional=True,
    )
    golden = (*WHYMASK, "verify", str(engine), "--golden", str(golden_path(graph)), "--json")
    yield Step(f"{name}.rtx-verify-golden", golden, (build,), read=read_verified)
    yield _bench(study, f"{name}.rtx-bench-b1", engine, 1, (), build)


def _moved(study: Study, classifier: Classifier, run: Path) -> tuple[str, ...]:
    """Where the classifier of a run lies now: a run that was made elsewhere names a path there."""
    if classifier.name not in study.runs or study.data is None:
        return ()
    trained = json.loads((run / CARD_FILE).read_text(encoding="utf-8"))["classifier"]["id"]
    here = f"classifiers.py:{classifier.factory}"
    return ("--model", str(study.data / here)) if trained == here else ()


def _drawn(study: Study) -> tuple[str, ...]:
    return (PICTURES,) if study.data is None else ()


def _graph(study: Study, name: str, precision: str) -> Path:
    return study.work / f"{name}.{precision}.onnx"


def _engine(study: Study, name: str, precision: str) -> Path:
    return study.work / f"{name}.{precision}.plan"
