"""A run directory as a backend: the torch modules themselves, in FP32 on the CPU, which every other form came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from numpy.typing import NDArray

from whymask.export.config import ExportConfig
from whymask.export.fuse import FusedGraph
from whymask.runtime.backends import INPUTS, OUTPUTS, REQUIRED_OUTPUTS, Arrays, TensorInfo
from whymask.runtime.card import IMAGE, TARGET, Card
from whymask.train.run import Run


class RunBackend:
    """The fused modules of a run behind the interface of a graph: inputs `image`, `target`; the required outputs.

    Args:
        run: its classifier and explainer are left exactly as they are.
    """

    batch_range: tuple[int, int | None] = (1, None)

    def __init__(self, run: Run) -> None:
        self.card: Card = run.card
        self._graph = FusedGraph(run.classifier, run.explainer, run.card, ExportConfig(target=True)).eval()
        sizes = {"H": run.card.input.height, "W": run.card.input.width, "C": run.card.classifier.num_classes, "3": 3}
        tensors = {
            name: TensorInfo(name, dtype, tuple(sizes.get(letter, letter) for letter in letters.split()))
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
        results = self._graph(torch.from_numpy(feeds[IMAGE]), torch.from_numpy(feeds[TARGET]))
        made = dict(zip(self._graph.config.outputs, results, strict=True))
        return {name: made[name].numpy() for name in (self.outputs if outputs is None else outputs)}

    def close(self) -> None:
        """Nothing to let go of: the modules belong to the run."""

    def __enter__(self) -> RunBackend:
        """The backend itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, also when the body raised."""
        self.close()
