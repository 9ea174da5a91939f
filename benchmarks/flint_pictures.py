"""A page of what attributes stand for: for each relevant pair of class and attribute its samples, raw and raised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from whymask.benchmarks.report import Html, document, figure, gallery, paragraph, section
from whymask.runtime.errors import InputError
from whymask.train.flint.fit import judge
from whymask.train.flint.relevance import Judged
from whymask.train.flint.run import FlintRun
from whymask.train.flint.visualise import Maximisation, maximise, maximum_activating, relevant_pairs

SHOWN_SIDE = 96
"""Pictures smaller than this, in pixels, are shown with whole multiples of their pixels."""
GAP = 4


def page_from_run(run: FlintRun, pixels: Tensor, tau: float, pairs: int, settings: Maximisation) -> Html:
    """The global interpretation as one self-contained page.

    Args:
        run: a FLINT run.
        pixels: uint8, (N, 3, H, W), pictures to search for samples.
        tau: pairs with global relevance above 1/τ are shown, τ above 1.
        pairs: how many at most.
        settings: of activation maximisation.

    Raises:
        InputError: no pair is that relevant.
    """
    judged = judge(run.classifier, run.interpreter, pixels)
    found = relevant_pairs(judged, run.classifier.num_classes, tau)
    if not found:
        raise InputError(f"no attribute has a global relevance above 1/{tau:g} for any class; give a larger tau")
    sections = [_pair(run, judged, pixels, pair, settings) for pair in found[:pairs]]
    left_out = f" {len(found) - pairs} further pairs are left out." if len(found) > pairs else ""
    how = paragraph(
        f"{len(pixels)} pictures searched; fidelity on them {judged.fidelity:.1%}. Upper row: the pictures predicted "
        "as the class that the attribute answers to most. Lower row: each begun anew "
        f"at {settings.dim:.0%} of its intensity and changed by {settings.steps} steps of Adam so that the attribute "
        f"rises (activation maximisation with partial initialisation; {_stages(settings)}).{left_out}"
    )
    return document("What the attributes stand for", [how, *sections], f"FLINT, seed {run.card.seed}")


def _stages(settings: Maximisation) -> str:
    """The weights of each stage, in words."""
    return "; then ".join(
        f"{stage.rounds} rounds, weights {stage.activation:g} activation, {stage.tv:g} total variation, "
        f"{stage.bound:g} bounds"
        for stage in settings.stages
    )


def _pair(run: FlintRun, judged: Judged, pixels: Tensor, pair: tuple[int, int, float], settings: Maximisation) -> Html:
    label, attribute, relevance = pair
    rows = maximum_activating(judged, attribute, label)
    raised = maximise(run.classifier, run.interpreter, pixels[rows], [attribute] * len(rows), settings)
    after = judge(run.classifier, run.interpreter, raised).phi[:, attribute].tolist()
    shown = [
        figure(_strip(pixels[row], more), f"{judged.phi[row, attribute]:.2f} → {value:.2f}")
        for row, more, value in zip(rows, raised, after, strict=True)
    ]
    name = run.classifier.labels[label] if run.classifier.labels else f"class {label}"
    title = f"{name}: {run.card.names[attribute]}, global relevance {relevance:.2f}"
    return section(title, gallery(shown))


def _strip(sample: Tensor, raised: Tensor) -> NDArray[np.uint8]:
    """The sample above what was raised from it, uint8 (height, width, 3)."""
    both = [each.permute(1, 2, 0).numpy() for each in (sample, raised)]
    zoom = max(1, SHOWN_SIDE // max(both[0].shape[:2]))
    first, second = (each.repeat(zoom, axis=0).repeat(zoom, axis=1) for each in both)
    return np.concatenate([first, np.full((GAP, first.shape[1], 3), 128, np.uint8), second])
