"""What a fused graph, an engine or a run directory is: card, tensors, size, cost, and its guarantee in words."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whymask.runtime.backends import TensorInfo
from whymask.runtime.card import CLASSIFIER_PASSES, QUANTISED, Card, GuaranteeCard
from whymask.runtime.describe_engine import engine_record, engine_rows
from whymask.runtime.engine_card import EngineCard, read_sidecar, sidecar_path
from whymask.runtime.errors import ArtefactError
from whymask.runtime.explainer import ENGINE_SUFFIXES, load
from whymask.runtime.files import sha256_of
from whymask.runtime.onnx_wire import operators

CARD_FILE = "card.json"
"""Name of the card in a run directory."""
CERTIFICATE_WORDS = {
    1.0: "none in the pass; result.certify() asks for it by one more",
    2.0: "kept, by 1 more classifier pass: result.kept, result.confidence_kept; result.necessary is None",
    3.0: "both, by 2 more classifier passes: result.kept, result.confidence_kept, result.necessary",
}
"""By how often the graph runs the classifier."""


@dataclass(frozen=True)
class Description:
    """All that can be said without running anything.

    Attributes:
        path: the file or the run directory.
        card: its card.
        files: size in bytes of every file, by name.
        sha256: digest of the graph's or the engine's file; empty for a run directory.
        inputs, outputs: the graph's tensors; empty for an engine.
        operators: how often each operator occurs; empty for an engine.
        engine: an engine's sidecar; None for anything else.
    """

    path: Path
    card: Card
    files: dict[str, int]
    sha256: str = ""
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    operators: dict[str, int] = field(default_factory=dict)
    engine: EngineCard | None = None

    def to_record(self) -> dict[str, Any]:
        """The description as plain values for JSON."""
        return {
            "path": str(self.path),
            "files": self.files,
            "sha256": self.sha256,
            "inputs": [dataclasses.asdict(tensor) for tensor in self.inputs],
            "outputs": [dataclasses.asdict(tensor) for tensor in self.outputs],
            "operators": self.operators,
            "engine": engine_record(self.engine, self.sha256) if self.engine else None,
            "cost": self.card.cost,
            "guarantee": guarantee_in_words(self.card),
            "card": json.loads(self.card.to_json()),
        }


def describe(path: Path) -> Description:
    """Describe a fused graph, an engine or a run directory.

    Args:
        path: an ONNX file, an engine with its sidecar, or a folder with a `card.json`.

    Raises:
        ArtefactError: none of these, or a broken card, sidecar or graph.
        MissingExtra: a graph was given and onnxruntime is not installed.
    """
    if path.is_dir():
        return _describe_run(path)
    if path.suffix in ENGINE_SUFFIXES:
        return _describe_engine(path)
    with load(path, provider="cpu") as explainer:
        return Description(
            path,
            explainer.card,
            {path.name: path.stat().st_size},
            sha256_of(path),
            tuple(explainer.backend.inputs.values()),
            tuple(explainer.backend.outputs.values()),
            operators(path),
        )


def guarantee_in_words(card: Card) -> str:
    """What the card promises, and on what evidence.

    Args:
        card: any card.
    """
    promise = card.guarantee
    if promise is None:
        return f"No promise: the threshold {card.threshold:g} was not calibrated."
    return promise_in_words(
        promise, card.threshold, shown="only what the mask keeps", judged="images", like="pictures", parts="pixels"
    )


def promise_in_words(
    promise: GuaranteeCard, threshold: float, *, shown: str, judged: str, like: str, parts: str
) -> str:
    """What is promised of a threshold, and on what evidence.

    Args:
        promise: of it.
        threshold: of the card.
        shown: what the classifier is shown.
        judged: what was held out, and `like` what the promise is for, in the plural.
        parts: what is shown or not, in the plural.
    """
    measured = (
        f"Measured on {promise.n} held-out {judged} at the threshold {threshold:g}: {_percent(promise.retention)} "
        f"kept their class with {_percent(promise.mean_area)} of the {parts} shown on average."
    )
    asked, confidence = _percent(1 - promise.alpha), _percent(1 - promise.delta)
    if promise.met:
        return (
            f"Shown {shown}, the classifier keeps its top class for at least {asked} of {like} like those of the "
            f"calibration, with confidence {confidence}. {measured}"
        )
    return (
        f"NOT met: {asked} was asked for, and with confidence {confidence} no more than "
        f"{_percent(promise.lower_bound)} can be promised. {measured}"
    )


def cost_in_words(card: Card) -> str:
    """Multiply-adds of classifier and explainer for one picture, apart.

    Args:
        card: any card.
    """
    classifier, explainer = card.cost.get("classifier_macs"), card.cost.get("explainer_macs")
    if not classifier or explainer is None:
        return "not counted"
    return (
        f"classifier {quantity(classifier)} multiply-adds, explainer {quantity(explainer)} "
        f"(+{explainer / classifier:.1%})".replace("%", " %")
    )


def certificate_in_words(card: Card) -> str:
    """Which certificate a pass gives, and what it costs; empty where the card does not tell.

    Args:
        card: any card.
    """
    return CERTIFICATE_WORDS.get(card.cost.get(CLASSIFIER_PASSES, 0.0), "")


def quantised_in_words(quantised: dict[str, Any]) -> str:
    """How many layers are in INT8, how they were calibrated, and which stayed in FP32.

    Args:
        quantised: of a card's `training`.
    """
    kept, layers = quantised["kept_fp32"], quantised["layers"]
    rest = f"kept in FP32: {', '.join(kept)}" if kept else "none kept in FP32"
    return (
        f"{layers - len(kept)} of {layers} layers in INT8 ({quantised['method']}; {quantised['pictures']} pictures); "
        f"{rest}"
    )


def lines(description: Description) -> list[str]:
    """The description as lines for a terminal.

    Args:
        description: of a graph, an engine or a run.
    """
    card = description.card
    size = f"{card.input.height} × {card.input.width} pixels, resize rule {card.input.resize}"
    crop = f", crop fraction {card.input.crop_fraction:g}" if card.input.resize == "crop" else ""
    nodes = f"; {card.cost['nodes']:.0f} nodes" if "nodes" in card.cost else ""
    rows = [
        ("path", str(description.path)),
        *(("file", f"{name}, {quantity(size_bytes, 'B')}") for name, size_bytes in description.files.items()),
        ("sha256", description.sha256),
        *(engine_rows(description.engine, description.sha256) if description.engine else ()),
        *(("input", str(tensor)) for tensor in description.inputs),
        *(("output", str(tensor)) for tensor in description.outputs),
        ("operators", ", ".join(f"{count} {name}" for name, count in description.operators.items())),
        ("classifier", f"{card.classifier.id}, {quantity(card.classifier.parameters)} parameters"),
        ("weights", f"sha256 {card.classifier.sha256}"),
        ("classes", _classes(card)),
        ("explainer", f"{card.explainer.kind}, {quantity(card.explainer.parameters)} parameters"),
        ("taps", ", ".join(card.explainer.taps)),
        ("picture", f"{size}{crop}"),
        ("fill", f"RGB {', '.join(f'{value:g}' for value in card.fill)} of 255"),
        ("precision", card.precision if description.engine is None else ""),
        ("cost", f"{cost_in_words(card)}{nodes}"),
        ("certify", certificate_in_words(card)),
        ("guarantee", guarantee_in_words(card)),
        *(("metric", f"{name} = {value:g}") for name, value in card.metrics.items()),
        ("training", ", ".join(f"{name} {value}" for name, value in card.training.items() if name != QUANTISED)),
        *(("quantised", quantised_in_words(value)) for name, value in card.training.items() if name == QUANTISED),
        ("versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())),
        ("licence", card.licence),
    ]
    return [f"{name:<11}{text}" for name, text in rows if text]


def quantity(value: float, unit: str = "") -> str:
    """A number for people, such as `11.7 M` or `46.8 MB`.

    Args:
        value: at least 0.
        unit: written behind the prefix.
    """
    for prefix, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def _describe_run(path: Path) -> Description:
    file = path / CARD_FILE
    if not file.is_file():
        raise ArtefactError(f"{path}: a folder without {CARD_FILE}, expected a run directory made by whymask train")
    try:
        card = Card.from_json(file.read_text("utf-8"))
    except ArtefactError as error:
        raise ArtefactError(f"{file}: {error}") from error
    files = sorted(entry for entry in path.iterdir() if entry.is_file())
    return Description(path, card, {entry.name: entry.stat().st_size for entry in files})


def _describe_engine(path: Path) -> Description:
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file, expected an engine made by whymask build FUSED.onnx -o {path.name}")
    engine = read_sidecar(path)
    files = {file.name: file.stat().st_size for file in (path, sidecar_path(path))}
    return Description(path, engine.card, files, sha256_of(path), engine=engine)


def _classes(card: Card) -> str:
    labels = card.classifier.labels
    shown = f": {', '.join(labels[:5])}{', …' if len(labels) > 5 else ''}" if labels else ", no labels"
    return f"{card.classifier.num_classes}{shown}"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
