"""All rivals by name, and which of them can be had for a graph on this machine.

Nothing here needs torch until a rival that does is built: random, centre and RISE can be had without the classifier.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whymask.benchmarks import baselines
from whymask.benchmarks.masking import background_from_fill
from whymask.benchmarks.rivals.rise import CELLS, KEEP, MASKS, RandomMasks, rise_maps
from whymask.benchmarks.rivals.rival import Maps, Rival
from whymask.benchmarks.suite.sample import Ask
from whymask.runtime.card import Card
from whymask.runtime.errors import InputError, WhymaskError

if TYPE_CHECKING:
    from whymask.benchmarks.rivals.torch_maps import Layer
    from whymask.train.classifier import FrozenClassifier

__all__ = ["NAMES", "Maps", "Rival", "rivals"]


@dataclass(frozen=True)
class _Ground:
    """What rivals are built from; see `rivals`."""

    ask: Ask
    card: Card
    classifier: FrozenClassifier | None
    saliency_size: tuple[int, int]
    seed: int
    rise_masks: int

    @property
    def size(self) -> tuple[int, int]:
        """H, W."""
        return self.card.input.height, self.card.input.width

    @property
    def fill(self) -> NDArray[np.uint8]:
        """uint8 (3,), the card's colour for dropped pixels."""
        return background_from_fill(self.card.fill)

    @property
    def frozen(self) -> FrozenClassifier:
        """The classifier in torch."""
        if self.classifier is None:
            raise InputError("needs the classifier in torch, and only the graph is here; give its run directory")
        return self.classifier

    @cached_property
    def layer(self) -> Layer:
        """Where class activation methods read."""
        from whymask.benchmarks.rivals.torch_maps import last_layer

        return last_layer(self.frozen)


def rivals(
    ask: Ask,
    card: Card,
    classifier: FrozenClassifier | None,
    names: Sequence[str] | None = None,
    *,
    saliency_size: tuple[int, int],
    seed: int,
    rise_masks: int = MASKS,
    extra: Sequence[Rival] = (),
) -> tuple[list[Rival], dict[str, str]]:
    """Build rivals for one graph.

    Args:
        ask: the shipped graph.
        card: its card, which says input size and fill.
        classifier: the same classifier in torch, or None where only the graph is.
        names: which, of `NAMES` and those of `extra`, in this order; None for all that can be had.
        saliency_size: (h, w) of the explainer's saliency, on which random maps are drawn.
        seed: of random maps and of RISE.
        rise_masks: N of RISE.
        extra: rivals made elsewhere.

    Returns:
        The rivals, and why each that was left out is not among them, by name. Nothing is left out of `names`.

    Raises:
        InputError: a name is unknown or stands twice, or a named rival cannot be had for this classifier.
        MissingExtra: the package of a named rival is not installed.
    """
    ground = _Ground(ask, card, classifier, saliency_size, seed, rise_masks)
    made = _made_elsewhere(extra)
    _check_names(names or (), (*NAMES, *made))
    found: list[Rival] = []
    left_out: dict[str, str] = {}
    for name in (*NAMES, *made) if names is None else names:
        try:
            found.append(made[name] if name in made else BUILDERS[name](name, ground))
        except WhymaskError as error:
            if names is not None:
                raise _of(name, error) from None
            left_out[name] = str(error)
    return found, left_out


def _of(name: str, error: WhymaskError) -> WhymaskError:
    return InputError(f"rival {name}: {error}") if isinstance(error, InputError) else error


def _made_elsewhere(extra: Sequence[Rival]) -> dict[str, Rival]:
    names = [rival.name for rival in extra]
    taken = sorted({name for name in names if name in NAMES or names.count(name) > 1})
    if taken:
        raise InputError(f"rivals: {', '.join(taken)} was made elsewhere and stands here already; a name stands once")
    return {rival.name: rival for rival in extra}


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"rival {name!r} is unknown; {hint}")
    if len(set(names)) < len(names):
        raise InputError(f"rivals: {', '.join(names)}; a name stands once")


def _random(name: str, ground: _Ground) -> Rival:
    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del target
        rngs = [np.random.default_rng([ground.seed, place, 0]) for place in places.tolist()]
        return np.stack([baselines.random_map(*ground.saliency_size, rng) for rng in rngs])

    return Rival(name, baselines.STATED[baselines.RANDOM], maps, 0.0, shareable=True)


def _centre(name: str, ground: _Ground) -> Rival:
    centre = baselines.centre_map(*ground.size)

    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del target, places
        return np.broadcast_to(centre, (len(images), *centre.shape))

    return Rival(name, baselines.STATED[baselines.CENTRE], maps, 0.0, shareable=True)


def _cam(name: str, ground: _Ground) -> Rival:
    classifier = ground.frozen
    if not classifier.has_class_evidence:
        raise InputError(
            f"{classifier.id}: no CAM; its final layer does not read the channels of {classifier.taps[-1]!r}"
        )
    class_maps = baselines.class_maps_from_classifier(classifier)

    def maps(images: NDArray[np.uint8], target: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        del places
        return class_maps(images, target)

    return Rival(name, baselines.STATED[baselines.CAM], maps, 1.0)


_GRADCAMS = {
    "grad_cam": "Grad-CAM (Selvaraju et al. 2017)",
    "grad_cam_pp": "Grad-CAM++ (Chattopadhay et al. 2018)",
    "layer_cam": "LayerCAM (Jiang et al. 2021)",
    "hires_cam": "HiResCAM (Draelos and Carin 2020)",
}


def _gradcam(name: str, ground: _Ground) -> Rival:
    classifier, layer = ground.frozen, ground.layer
    from whymask.benchmarks.rivals.gradcams import gradcam_maps

    maps = gradcam_maps(classifier, layer, name)
    return Rival(name, f"{_GRADCAMS[name]} by pytorch-grad-cam{_at(layer)}", maps, 1.0 + 2.0 * layer.tail)


def _recipro_cam(name: str, ground: _Ground) -> Rival:
    classifier, layer = ground.frozen, ground.layer
    from whymask.benchmarks.rivals.recipro_cam import recipro_cam_maps

    cells = layer.tap.height * layer.tap.width
    stated = f"Recipro-CAM (Byun and Lee 2022), Gaussian 3 × 3, {cells} cells{_at(layer)}"
    return Rival(name, stated, recipro_cam_maps(classifier, layer), 1.0 + (cells - 1) * layer.tail)


def _score_cam(name: str, ground: _Ground) -> Rival:
    classifier, layer = ground.frozen, ground.layer
    from whymask.benchmarks.rivals.score_cam import score_cam_maps

    stated = f"Score-CAM (Wang et al. 2020), {layer.tap.channels} channels over the card's fill{_at(layer)}"
    return Rival(name, stated, score_cam_maps(classifier, layer, ground.fill), 1.0 + layer.tap.channels)


def _at(layer: Layer) -> str:
    return f", at {layer.tap.name}; {layer.tail:.1%} of the classifier comes after it"


def _integrated_gradients(name: str, ground: _Ground) -> Rival:
    classifier = ground.frozen
    from whymask.benchmarks.rivals.attributions import SMOOTHING, STEPS, integrated_gradients_maps

    stated = (
        f"integrated gradients (Sundararajan et al. 2017) by captum, {STEPS} steps of the logit from the card's fill, "
        f"absolute, summed over colours, three box passes over 1/{SMOOTHING} of the side"
    )
    return Rival(name, stated, integrated_gradients_maps(classifier, ground.fill), 3.0 * STEPS)


def _occlusion(name: str, ground: _Ground) -> Rival:
    classifier = ground.frozen
    from whymask.benchmarks.rivals.attributions import STRIDE, WINDOW, occlusion_maps, occlusion_passes

    stated = (
        f"occlusion (Zeiler and Fergus 2014) by captum: fall of the probability under a window of the card's fill, "
        f"1/{WINDOW} of the side, step 1/{STRIDE}"
    )
    return Rival(name, stated, occlusion_maps(classifier, ground.fill), float(occlusion_passes(*ground.size)))


def _rise(name: str, ground: _Ground) -> Rival:
    masks = RandomMasks(ground.rise_masks, *ground.size, ground.seed)
    stated = (
        f"RISE (Petsiuk et al. 2018), {masks.count} masks of {CELLS} × {CELLS} cells, p = {KEEP}, the card's fill; "
        "asks the shipped graph"
    )
    return Rival(name, stated, rise_maps(ground.ask, ground.fill, masks), float(masks.count), shareable=True)


BUILDERS: Mapping[str, Callable[[str, _Ground], Rival]] = {
    baselines.RANDOM: _random,
    baselines.CENTRE: _centre,
    baselines.CAM: _cam,
    **dict.fromkeys(_GRADCAMS, _gradcam),
    "recipro_cam": _recipro_cam,
    "integrated_gradients": _integrated_gradients,
    "occlusion": _occlusion,
    "score_cam": _score_cam,
    "rise": _rise,
}
NAMES = tuple(BUILDERS)
"""Of all rivals that are built here, cheap ones first."""
