"""The contract of a fused graph: its tensor names, and the card that travels with it.

The card is one versioned JSON object. It lives in an ONNX file under `metadata_props["whymask"]`, in a run directory as
`card.json`, and beside an engine in its sidecar. Everything that a runtime must know about a graph is in it.

Letters used for shapes in this package: B batch, H W the graph's input height and width, h w the explainer's own
resolution, C classes, K the likeliest of them that a graph explains at once, J attributes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from whymask.runtime.errors import ArtefactError
from whymask.runtime.from_json import dataclass_from_record, record_from_json

SCHEMA_VERSION = 1
METADATA_KEY = "whymask"
AGAIN = "export the graph again"
"""What to do about a broken card."""

IMAGE = "image"
"""Input, uint8 (B, H, W, 3), RGB 0–255."""
TARGET = "target"
"""Optional input, int64 (B,): the class to explain; −1 means the predicted class."""
AGAINST = "against"
"""Optional input, int64 (B,), beside `target`: why that class and not this one; −1, or the same class, means none."""
LOGITS = "logits"
"""Output, float32 (B, C)."""
SALIENCY = "saliency"
"""Output, float32 (B, h, w), the explainer's probability in [0, 1] before the threshold."""
MASK = "mask"
"""Output, uint8 (B, H, W), 0 or 1: bilinear (half-pixel) resize of the saliency to (H, W), compared ≥ threshold."""
EXPLANATION = "explanation"
"""Optional output, uint8 (B, H, W, 3): the image where the mask is 1, the fill elsewhere."""
KEPT_LOGITS = "kept_logits"
"""Optional output, float32 (B, C): the classifier on the explanation."""
DROPPED_LOGITS = "dropped_logits"
"""Optional output, float32 (B, C): the classifier on the image with the mask's pixels filled."""
CLASSES = "classes"
"""Optional output, int64 (B, K): the likeliest classes, best first."""
CLASS_SALIENCY = "class_saliency"
"""Optional output, float32 (B, K, h, w): `saliency` of each of `classes`."""
CLASS_MASK = "class_mask"
"""Optional output, uint8 (B, K, H, W): `mask` of each of `classes`; empty for a class that is not there."""

ATTRIBUTES = "attributes"
"""Optional output, float32 (B, J), ≥ 0: the activation of each attribute."""
RELEVANCE = "relevance"
"""Optional output, float32 (B, J), in [−1, 1]: of each attribute for the explained class, the largest being ±1."""

CLASSIFIER_PASSES = "classifier_passes"
"""Key of `Card.cost`: how often the graph runs the classifier, 1 where it certifies nothing."""
QUANTISED = "quantised"
"""Key of `Card.training` under which a graph in INT8 says how it was made."""

RESIZE_RULES = ("squash", "crop")
PRECISIONS = ("int8", "fp16", "fp32")
"""Of a graph's body, the loosest first."""


@dataclass(frozen=True)
class ClassifierCard:
    """What was explained.

    Attributes:
        id: the model's specification, `torchvision:NAME`, `timm:NAME` or `FILE.py:FACTORY`.
        sha256: digest of the classifier's parameters and buffers, hexadecimal.
        num_classes: C.
        labels: one name a class, or empty where none was given.
        parameters: number of the classifier's parameters.
    """

    id: str
    sha256: str
    num_classes: int
    labels: tuple[str, ...] = ()
    parameters: int = 0


@dataclass(frozen=True)
class InputCard:
    """How a picture becomes the graph's input.

    Attributes:
        height, width: the graph's input size H, W in pixels.
        resize: `squash` resizes the whole picture to (H, W); `crop` resizes its short side to H / crop_fraction and
            takes the centre.
        crop_fraction: share of the resized short side that the centre crop keeps; 1.0 for `squash`.
        mean, std: normalisation of RGB in [0, 1], already inside the graph.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str = "squash"
    crop_fraction: float = 1.0


@dataclass(frozen=True)
class ExplainerCard:
    """What explains.

    Attributes:
        kind: `tapped` or `autoencoder`.
        parameters: number of the explainer's parameters.
        taps: names of the classifier's modules that it reads; empty for `autoencoder`.
        height, width: its own resolution h, w.
    """

    kind: str
    parameters: int
    taps: tuple[str, ...] = ()
    height: int = 0
    width: int = 0


@dataclass(frozen=True)
class GuaranteeCard:
    """The promise P(top-1 of f(e) = top-1 of f(x)) ≥ 1 − alpha with confidence 1 − delta, chosen on held-out images.

    Attributes:
        alpha, delta: as above, in (0, 1).
        n: number of calibration images.
        retention: measured share of them whose top-1 is kept at the card's threshold.
        mean_area: mean share of pixels kept at the card's threshold.
        met: whether the exact binomial bound holds at the card's threshold.
        lower_bound: the lower confidence bound of retention at the card's threshold that can be promised.
    """

    alpha: float
    delta: float
    n: int
    retention: float
    mean_area: float
    met: bool
    lower_bound: float


@dataclass(frozen=True)
class AttributesCard:
    """What the attributes of a graph are (FLINT, arXiv 2010.09345).

    Attributes:
        names: one name an attribute, J in all.
        layers: names of the classifier's modules that they read.
        fidelity: share of held-out pictures on which their linear model names the classifier's class.
        by_design: whether the classifier was trained with them.
        pictures: of each attribute one that it answers to most, a PNG in base64; empty where none were made.
        seed: of their training.
    """

    names: tuple[str, ...]
    layers: tuple[str, ...]
    fidelity: float
    by_design: bool = False
    pictures: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse pictures that are not one an attribute."""
        if len(self.pictures) not in (0, len(self.names)):
            raise ArtefactError(
                f"card.attributes: {len(self.pictures)} pictures for {len(self.names)} names; give one each, or none"
            )


@dataclass(frozen=True)
class Card:
    """The whole card.

    Attributes:
        classifier, input, explainer: see their classes.
        threshold: a pixel is kept where the resized saliency is ≥ this, in [0, 1].
        fill: RGB in 0–255 that dropped pixels take (pixel space, before normalisation).
        guarantee: the retention guarantee, or None when it was not calibrated.
        precision: `fp32`, `fp16` or `int8`, of the graph's body.
        seed: of training.
        metrics: held-out figures by name.
        cost: multiply-adds and node counts by name (`classifier_macs`, `explainer_macs`, …), at B = 1, and how often
            the classifier runs.
        training: summary of data and run; of a graph in INT8, under `quantised`, how it was calibrated and which of its
            layers stayed in FP32.
        versions: of the packages that made it.
        licence: of classifier and explainer together, as the user states it.
        tolerances: largest differences allowed between forms of this graph, by name.
        attributes: of a graph with the outputs `attributes` and `relevance`; None, and absent from the text, else.
    """

    classifier: ClassifierCard
    input: InputCard
    explainer: ExplainerCard
    threshold: float = 0.5
    fill: tuple[float, float, float] = (124.0, 116.0, 104.0)
    guarantee: GuaranteeCard | None = None
    precision: str = "fp32"
    seed: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    licence: str = "unstated"
    tolerances: dict[str, float] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION
    attributes: AttributesCard | None = None

    def __post_init__(self) -> None:
        """Refuse values that no graph can have."""
        if not 0.0 <= self.threshold <= 1.0:
            raise ArtefactError(f"card: threshold is {self.threshold}, expected a number in [0, 1]")
        if self.input.resize not in RESIZE_RULES:
            raise ArtefactError(f"card: resize is {self.input.resize!r}, expected one of {', '.join(RESIZE_RULES)}")
        if self.precision not in PRECISIONS:
            raise ArtefactError(f"card: precision is {self.precision!r}, expected one of {', '.join(PRECISIONS)}")
        labels, classes = len(self.classifier.labels), self.classifier.num_classes
        if labels not in (0, classes):
            raise ArtefactError(f"card: {labels} labels for {classes} classes; give one label a class, or none")

    def label(self, index: int) -> str:
        """Name of a class, or `class INDEX` where the card has no labels."""
        return self.classifier.labels[index] if self.classifier.labels else f"class {index}"

    def to_record(self) -> dict[str, Any]:
        """The card as plain values, keys in a fixed order."""
        record = dataclasses.asdict(self)
        if self.attributes is None:  # so that the many graphs without any read as they always did
            del record["attributes"]
        return record

    def to_json(self, indent: int | None = None) -> str:
        """The card as JSON text, keys in a fixed order."""
        return json.dumps(self.to_record(), indent=indent, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read a card.

        Raises:
            ArtefactError: not JSON, a newer schema, an unknown or a missing key, or a value of a wrong type.
        """
        return _card_from_record(record_from_json(text, "card", SCHEMA_VERSION, AGAIN))


def _card_from_record(record: dict[str, Any]) -> Card:
    parts: dict[str, type[Any]] = {
        "classifier": ClassifierCard,
        "input": InputCard,
        "explainer": ExplainerCard,
        "guarantee": GuaranteeCard,
        "attributes": AttributesCard,
    }
    values = dict(record)
    for name, part in parts.items():
        if values.get(name) is not None:
            values[name] = dataclass_from_record(part, f"card.{name}", values[name], AGAIN)
    return dataclass_from_record(Card, "card", values, AGAIN)
