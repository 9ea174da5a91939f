"""A tiny fused graph, and pictures whose explanation is known."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from colour_engine import ColourEngine
from colour_graph import write_graph

from whymask.runtime.explainer import Explainer, load
from whymask.runtime.images import Picture


@pytest.fixture
def graph(tmp_path: Path) -> Callable[..., Path]:
    """Writes a graph; keywords as in `colour_graph.Options`."""
    return lambda name="fused.onnx", **options: write_graph(tmp_path / name, **options)


@pytest.fixture(scope="session")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of 32 × 32 pixels with target and certificate."""
    return write_graph(tmp_path_factory.mktemp("graph") / "fused.onnx", certify="both")


@pytest.fixture(scope="session")
def explainer(fused: Path) -> Iterator[Explainer]:
    """The loaded graph, on one thread."""
    with load(fused, threads=1) as loaded:
        yield loaded


@pytest.fixture
def red_square() -> Picture:
    """Black, 32 × 32, with a red square over rows 8–23 and columns 0–15, and a fainter blue one at the lower right."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[8:24, 0:16, 0] = 255
    picture[24:32, 24:32, 2] = 200
    return picture


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ColourEngine]]:
    """Makes an engine of that graph, to be run by stand-ins; keywords as in `ColourEngine`."""

    def make(**options: object) -> ColourEngine:
        made = ColourEngine(tmp_path, **options)
        monkeypatch.setitem(sys.modules, made.module.__name__, made.module)
        return made

    yield make
