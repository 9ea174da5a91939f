"""The golden bundle of a run: pictures, and what the FP32 torch modules say of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from whymask.export.config import ExportConfig
from whymask.export.fuse import FusedGraph
from whymask.export.parity import torch_outputs
from whymask.runtime.card import LOGITS
from whymask.runtime.feeds import NO_CONTRAST, PREDICTED
from whymask.runtime.golden import Golden
from whymask.runtime.images import Picture
from whymask.runtime.parity import TOLERANCES
from whymask.train.run import Run


def golden_from_run(run: Run, config: ExportConfig, pictures: Picture, is_synthetic: bool) -> Golden:
    """Ask the modules for the right answers; the bundle's card is the run's until the exported graph has its own.

    Args:
        run: in FP32, also where the exported graph is FP16: the modules are the truth for every form.
        config: with the input `target`, every second picture asks for the class that is second likeliest; with the
            input `against`, two in four hold the likeliest and the second likeliest against each other.
        pictures: uint8, (N, H, W, 3).
        is_synthetic: whether the pictures are drawn.
    """
    plain = replace(config, certify=None, with_explanation=False)
    graph = FusedGraph(run.classifier, run.explainer, run.card, plain, run.interpreter).eval()
    outputs = torch_outputs(graph, pictures)
    first, second = outputs[LOGITS].argmax(1), second_likeliest(outputs[LOGITS])
    turn = np.arange(len(pictures)) % 4
    targets = np.where(turn % 2, second, PREDICTED) if config.target else None
    against = np.where(turn < 2, NO_CONTRAST, np.where(turn % 2, first, second)) if config.contrast else None
    if targets is not None:
        outputs = torch_outputs(graph, pictures, targets, against)
    source = f"FP32 modules in torch {torch.__version__}"
    return Golden(pictures, targets, outputs, TOLERANCES, run.card, source, is_synthetic, against)


def second_likeliest(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """The second class of each picture, the only one where there is one: float32, (N, C) → int64, (N,)."""
    ranked = np.argsort(-logits, axis=1, kind="stable")
    return ranked[:, min(1, logits.shape[1] - 1)].astype(np.int64)
