"""Exports of tiny runs, each made once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tiny_run import TOP, Exported, make_run

from whymask.export.onnx_from_run import export_run
from whymask.export.samples import synthetic_pictures
from whymask.train.run import Run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with the tapped explainer."""
    return make_run(tmp_path_factory.mktemp("run"), "tapped")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Exported]:
    """Kind and precision → the export, made once: `tapped` with all options, `autoencoder` with none."""
    made: dict[tuple[str, str], Exported] = {}

    def export(kind: str, precision: str) -> Exported:
        if (kind, precision) not in made:
            folder = tmp_path_factory.mktemp(f"{kind}_{precision}")
            run, stages = make_run(folder, kind), list[str]()
            every = kind == "tapped"
            card = export_run(
                run,
                folder / "fused.onnx",
                precision=precision,
                max_batch=4,
                with_explanation=every,
                certify="both" if every else None,
                target=every,
                top=TOP if every else 0,
                contrast=every,
                require_rtx=True,
                on_stage=stages.append,
            )
            model = onnx.load(folder / "fused.onnx")
            made[kind, precision] = Exported(run, folder / "fused.onnx", card, model, stages)
        return made[kind, precision]

    return export


@pytest.fixture(scope="session")
def pictures(tiny_run: Run) -> NDArray[np.uint8]:
    """uint8, (7, SIZE, SIZE, 3)."""
    return synthetic_pictures(tiny_run.card.input, 7, seed=1)
