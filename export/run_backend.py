"""A run directory as a backend: the torch modules themselves, in FP32 on the CPU, which every other form came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from whymask.export.config import ExportConfig
from whymask.export.fuse import FusedGraph
from whymask.runtime.backends import INPUTS, OUTPUTS, REQUIRED_OUTPUTS, Arrays, TensorInfo, contract_shape
from whymask.runtime.card import Card
from whymask.runtime.closing import Closing
from whymask.train.run import Run


class RunBackend(Closing):
    """The fused modules of a run behind the interface of a graph: all inputs, the required outputs.

    Args:
        run: its classifier and explainer are left exactly as they are.
    """

    batch_range: tuple[int, int | None] = (1, None)

    def __init__(self, run: Run) -> None:
        self.card: Card = run.card
        self._graph = FusedGraph(
            run.classifier, run.explainer, run.card, ExportConfig(target=True, contrast=True)
        ).eval()
        tensors = {
            name: TensorInfo(name, dtype, contract_shape(letters, run.card))
            for name, (dtype, letters) in (INPUTS | OUTPUTS).items()
        }
        self.inputs: Mapping[str, TensorInfo] = {name: tensors[name] for name in INPUTS}
        self.outputs: Mapping[str, TensorInfo] = {name: tensors[name] for name in REQUIRED_OUTPUTS}

    @property
    def provider(self) -> str:
        """Such as `torch 2.9.1 on the CPU`."""
        return f"torch {torch.__version__} on the CPU"

    @torch.no_grad()
    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """Run once; see `Backend.run`.

        Args:
            feeds: every input by name.
            outputs: names of the outputs wanted, or None for all.
        """
        results = self._graph(*(torch.from_numpy(feeds[name]) for name in self.inputs))
        made = dict(zip(self._graph.config.outputs, results, strict=True))
        return {name: made[name].numpy() for name in (self.outputs if outputs is None else outputs)}

    def close(self) -> None:
        """Nothing to let go of: the modules belong to the run."""
