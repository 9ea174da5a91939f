"""What one pass says about one picture, worked out only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whymask.runtime import card as names
from whymask.runtime import overlay as overlays
from whymask.runtime.card import Card
from whymask.runtime.certificate import Certificate, Classify, certify, is_lost, softmax, stands
from whymask.runtime.checks import is_within
from whymask.runtime.errors import InputError
from whymask.runtime.images import (
    WHOLE,
    Map,
    Picture,
    Window,
    check_sizes,
    place_map,
    resize_map,
    threshold_for_area,
    window_of,
)
from whymask.runtime.prediction import Prediction

if TYPE_CHECKING:
    from whymask.runtime.attributes import Attributes
    from whymask.runtime.instances import Instance

REFINED_THRESHOLD = 0.5
"""Where a refined saliency is cut: a refiner puts its least mask there, the card's threshold is for single passes."""


class Explanation:
    """A prediction and the mask that explains it.

    Every array belongs to this object alone and may be written to, except `picture`: an array that the caller gave is
    kept by reference, so overwriting it (a camera's frame buffer) changes what `explanation()` and `overlay()` show and
    what `certify()` and `instances()` ask about. These two ask the graph again, which an explanation keeps alive for
    that; a copy or a pickle does not: hand it to `Explainer.certify` and `Explainer.instances`.

    Args:
        outputs: the graph's outputs for this picture, by name, without the batch dimension.
        card: the graph's card.
        picture: uint8, (height, width, 3), RGB, 0–255, as the caller gave it.
        target: index of the class that was asked for, or None for the predicted one.
        threshold: keeps pixels of at least this saliency, in [0, 1], instead of the card's threshold.
        area: keeps this share of the graph's pixels, in (0, 1], instead of those above a threshold.
        classify: the graph's classifier, for `certify` and `instances`.
        refined: steps by which the saliency was refined after the pass, or None.
        against: index of the class that the explained one is held against, or None for the class by itself.

    Attributes:
        explained: whether there is a mask; False where a trigger did not choose the picture.
    """

    explained = True

    def __init__(
        self,
        outputs: Mapping[str, NDArray[Any]],
        card: Card,
        picture: Picture,
        target: int | None = None,
        threshold: float | None = None,
        area: float | None = None,
        classify: Classify | None = None,
        refined: int | None = None,
        against: int | None = None,
    ) -> None:
        self.refined = refined
        self.outputs, self.card, self.picture, self.target = outputs, card, picture, target
        self._threshold, self._area = threshold, area
        self._classify, self._against = classify, against

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the way to the graph, which belongs to this process and its explainer."""
        return {**self.__dict__, "_classify": None}

    def __repr__(self) -> str:
        """What and how much, in one line."""
        return f"Explanation(label={self.label!r}, confidence={self.confidence:.3f}, area={self.area:.3f})"

    @property
    def logits(self) -> NDArray[np.float32]:
        """The classifier's logits: float32, (C,)."""
        return self.outputs[names.LOGITS]

    @property
    def saliency(self) -> Map:
        """The explainer's probability at its own resolution: float32, (h, w), in [0, 1]."""
        return self.outputs[names.SALIENCY]

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Softmax of the logits: float32, (C,), in [0, 1]."""
        return softmax(self.logits)

    @cached_property
    def index(self) -> int:
        """Index of the class that is explained: the one asked for, else the predicted one."""
        return int(self.logits.argmax()) if self.target is None else self.target

    @property
    def label(self) -> str:
        """Name of the class that is explained."""
        return self.card.label(self.index)

    @property
    def against(self) -> int | None:
        """Index of the class that the explained one is held against: why the one and not the other.

        None where none was asked for, or where it is the predicted class itself that is explained.
        """
        return None if self._against == self.index else self._against

    @property
    def against_label(self) -> str | None:
        """Name of the class that the explained one is held against, or None."""
        return None if self.against is None else self.card.label(self.against)

    @property
    def confidence(self) -> float:
        """Softmax probability of the class that is explained, in [0, 1]."""
        return float(self.probabilities[self.index])

    def top(self, k: int = 5) -> list[Prediction]:
        """The likeliest classes, best first.

        Args:
            k: how many; fewer come back where there are fewer classes.
        """
        best = np.argsort(-self.probabilities, kind="stable")[: max(k, 0)]
        return [Prediction(self.card.label(int(i)), int(i), float(self.probabilities[i])) for i in best]

    @property
    def attributes(self) -> Attributes | None:
        """The attributes of the picture and their relevance for the explained class; None where the graph has none."""
        described = self.card.attributes
        if described is None or names.RELEVANCE not in self.outputs:
            return None
        from whymask.runtime.attributes import Attributes

        return Attributes(self.outputs[names.ATTRIBUTES], self.outputs[names.RELEVANCE], described)

    @cached_property
    def threshold(self) -> float:
        """The saliency from which a pixel is kept, in [0, 1]."""
        if self._area is not None:
            return threshold_for_area(self.resized, self._area)
        return self.card.threshold if self._threshold is None else self._threshold

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """1 where a pixel is kept: uint8, (H, W) of the graph, 0 or 1.

        The graph's own output, unless a threshold or an area was asked for.
        """
        if not self._overridden:
            return self.outputs[names.MASK]
        return (self.resized >= self.threshold).astype(np.uint8)

    @cached_property
    def area(self) -> float:
        """Share of the graph's pixels that are kept, in [0, 1]."""
        return float(np.count_nonzero(self.mask) / self.mask.size)

    @property
    def is_empty(self) -> bool:
        """Whether no pixel is kept, as of a class that is not in the picture."""
        return not self.mask.any()

    def mask_at(self, height: int, width: int) -> NDArray[np.uint8]:
        """The mask in the frame of the caller's picture, at any size.

        The saliency is resized bilinearly and compared with the threshold at that size, so that edges are smooth at
        every size. Under the resize rule `crop` the pixels that the graph never saw are 0.

        Args:
            height, width: size of the frame that shows the whole picture, in pixels.

        Returns:
            uint8, (height, width), 0 or 1.

        Raises:
            InputError: a size below one pixel.
        """
        check_sizes((height, width))
        if self._window == WHOLE and (height, width) == self.mask.shape:
            return self.mask
        return (place_map(self.saliency, self._window, height, width) >= self.threshold).astype(np.uint8)

    def saliency_at(self, height: int, width: int) -> Map:
        """The saliency in the frame of the caller's picture, at any size: float32, (height, width), in [0, 1].

        Args:
            height, width: size of the frame that shows the whole picture, in pixels.

        Raises:
            InputError: a size below one pixel.
        """
        check_sizes((height, width))
        return np.maximum(place_map(self.saliency, self._window, height, width), 0)

    def explanation(self) -> Picture:
        """The caller's picture where the mask is 1, the card's fill elsewhere: uint8, (height, width, 3), 0–255."""
        fill = np.rint(self.card.fill).astype(np.uint8)
        kept = self.mask_at(*self.picture.shape[:2]).astype(bool)
        return np.where(kept[..., None], self.picture, fill)

    def overlay(self, caption: str | None = None) -> Picture:
        """The caller's picture with the mask's contour, the rest dimmed: uint8, (height, width, 3), RGB, 0–255.

        Args:
            caption: text for a strip at the lower edge, such as `summary()`; needs Pillow.

        Raises:
            MissingExtra: a caption was given and Pillow is not installed.
        """
        return overlays.draw(self.picture, self.mask_at(*self.picture.shape[:2]), caption)

    def summary(self) -> str:
        """Label, confidence and area in a few words, and by how many steps the mask was refined, if it was."""
        refined = "" if self.refined is None else f"  refined: {self.refined}"
        name = self.label if self.against is None else f"{self.label}, not {self.against_label}"
        # At a threshold of the caller's own an empty mask says nothing about the class.
        extent = "not seen" if self.is_empty and not self._overridden else f"area {self.area:.0%}"
        return f"{name}  {self.confidence:.0%}  {extent}{refined}"

    def with_saliency(self, saliency: Map, refined: int) -> Explanation:
        """The same decision with a refined saliency, cut at 0.5 unless a threshold or an area was asked for.

        Args:
            saliency: float32, (h, w), in [0, 1]; kept by reference.
            refined: steps that it took.
        """
        outputs = {names.LOGITS: self.logits, names.SALIENCY: saliency}
        threshold = self._threshold if self._overridden else REFINED_THRESHOLD
        given = (self.card, self.picture, self.target, threshold, self._area, self._classify)
        return Explanation(outputs, *given, refined=refined, against=self._against)

    def cut_at(self, threshold: float) -> Explanation:
        """The same decision and saliency with another cut; arrays and picture are shared.

        Args:
            threshold: keeps pixels of at least this saliency, in [0, 1].
        """
        given = (self.card, self.picture, self.target, threshold, None, self._classify, self.refined, self._against)
        return Explanation(self.outputs, *given)

    def top_explanations(self) -> list[Explanation]:
        """An explanation of each of the likeliest classes, best first, at no further pass.

        They share this one's picture and arrays, its threshold or area, and its way to the graph. None is held against
        another class. The mask of a class that is not there is empty, unless an area was asked for.

        Raises:
            InputError: the graph explains one class at a time.
        """
        if names.CLASSES not in self.outputs:
            raise InputError(
                "top_explanations: this graph explains one class at a time; export it again with: whymask export RUN "
                "-o FILE.onnx --top 5"
            )
        return [self._of_class(row) for row in range(len(self.outputs[names.CLASSES]))]

    @property
    def others(self) -> list[Explanation]:
        """Of `top_explanations`, those of other classes than the one explained here, best first.

        Raises:
            InputError: the graph explains one class at a time.
        """
        return [each for each in self.top_explanations() if each.index != self.index]

    @property
    def kept(self) -> bool | None:
        """Whether the class stands when only the mask's pixels are shown; None where the graph cannot tell.

        It stands where it is top-1, or, held against another, above that one. A graph can tell when it was exported
        with `--certify kept` or `both`, at its own threshold. Else ask `certify()`.
        """
        logits = self._certificate(names.KEPT_LOGITS)
        return None if logits is None else stands(self, logits)

    @property
    def confidence_kept(self) -> float | None:
        """Softmax probability of the class on the mask's pixels alone, in [0, 1]; None as for `kept`.

        Beside `confidence`, which is of the whole picture.
        """
        logits = self._certificate(names.KEPT_LOGITS)
        return None if logits is None else float(softmax(logits)[self.index])

    @property
    def necessary(self) -> bool | None:
        """Whether the class loses what it had when the mask's pixels are hidden; None where the graph cannot tell.

        As `Certificate.necessary` has it. A graph can tell when it was exported with `--certify both`, at its own
        threshold; one of `--certify kept` cannot, and says None, which is neither yes nor no. Else ask `certify()`.
        """
        kept, dropped = (self._certificate(name) for name in (names.KEPT_LOGITS, names.DROPPED_LOGITS))
        return None if kept is None or dropped is None else is_lost(self, kept, dropped)

    def certify(self) -> Certificate:
        """Ask the graph whether this mask holds the decision, by one more pass with two pictures.

        Works with every graph and every mask; `kept`, `confidence_kept` and `necessary` cost nothing where the graph
        has their outputs.

        Raises:
            InputError: a copy or a pickle, which has no graph.
            BackendError: the graph was closed, or its provider fails.
        """
        return certify(self, self._asked("certify"))

    def instances(self, grow: bool = True) -> list[Instance]:
        """One explanation for each object: the mask's separate regions, each certified on its own.

        As `Explainer.instances` with its defaults; `instances.py` says how. Costs a pass over all regions at once, and
        further ones while regions grow or are joined. Where a mask holds most of a picture its regions run together:
        explain with a small `area`, such as 0.1, and let them grow.

        Args:
            grow: whether a region that does not keep the class alone may first take more of its surroundings.

        Raises:
            InputError: a copy or a pickle, which has no graph.
            BackendError: the graph was closed, or its provider fails.
        """
        from whymask.runtime.instances import instances_of

        return instances_of(self, self._asked("instances"), grow=grow)

    @property
    def _overridden(self) -> bool:
        return self._threshold is not None or self._area is not None

    @cached_property
    def resized(self) -> Map:
        """The saliency at the graph's input size: float32, (H, W), in [0, 1]."""
        return resize_map(self.saliency, self.card.input.height, self.card.input.width)

    @cached_property
    def _window(self) -> Window:
        height, width = self.picture.shape[:2]
        return window_of(height, width, self.card.input)

    def _of_class(self, row: int) -> Explanation:
        index = int(self.outputs[names.CLASSES][row])
        outputs: Mapping[str, NDArray[Any]] = {
            names.LOGITS: self.logits,
            names.SALIENCY: self.outputs[names.CLASS_SALIENCY][row],
            names.MASK: self.outputs[names.CLASS_MASK][row],
        }
        if index == self.index and self.against is None:
            # This very explanation, with its certificate; in half precision its row may differ in the last digit.
            outputs = self.outputs
        return Explanation(outputs, self.card, self.picture, index, self._threshold, self._area, self._classify)

    def _asked(self, method: str) -> Classify:
        if self._classify is None:
            raise InputError(
                f"{method}: this explanation is a copy or was made by hand, and has no graph to ask; "
                f"ask the explainer: explainer.{method}(result)"
            )
        return self._classify

    def _certificate(self, name: str) -> NDArray[np.float32] | None:
        # The graph's second pass saw the mask at the card's threshold; it says nothing about another mask.
        return None if self._overridden else self.outputs.get(name)


def check_options(threshold: float | None, area: float | None) -> None:
    """Refuse a threshold or an area that no mask can have.

    Args:
        threshold: in [0, 1], or None.
        area: in (0, 1], or None.

    Raises:
        InputError: out of range, or both given.
    """
    if threshold is not None and area is not None:
        raise InputError(f"threshold {threshold} and area {area} were both given; each sets the mask, so give one")
    if threshold is not None and not is_within(threshold, 0.0, 1.0):
        raise InputError(f"threshold: got {threshold!r}, expected a number in [0, 1]")
    if area is not None and not (is_within(area, 0.0, 1.0) and area > 0.0):
        raise InputError(f"area: got {area!r}, expected a share of the pixels in (0, 1]; 0.1 keeps 10 %")
