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
from whymask.runtime.golden import Golden
from whymask.runtime.images import Picture
from whymask.runtime.parity import TOLERANCES
from whymask.train.run import Run


def golden_from_run(run: Run, config: ExportConfig, pictures: Picture, is_synthetic: bool) -> Golden:
    """Ask the modules for the right answers; the bundle's card is the run's until the exported graph has its own.

    Args:
        run: in FP32, also where the exported graph is FP16: the modules are the truth for every form.
        config: with the input `target`, every second picture asks for the class that is second likeliest.
        pictures: uint8, (N, H, W, 3).
        is_synthetic: whether the pictures are drawn.
    """
    plain = replace(config, certify=False, with_explanation=False)
    graph = FusedGraph(run.classifier, run.explainer, run.card, plain).eval()
    outputs = torch_outputs(graph, pictures)
    targets = _targets(outputs[LOGITS]) if config.target else None
    if targets is not None:
        outputs = torch_outputs(graph, pictures, targets)
    source = f"FP32 modules in torch {torch.__version__}"
    return Golden(pictures, targets, outputs, TOLERANCES, run.card, source, is_synthetic)


def _targets(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    ranked = np.argsort(-logits, axis=1, kind="stable")
    targets = ranked[:, min(1, logits.shape[1] - 1)].astype(np.int64)
    targets[::2] = -1
    return targets
