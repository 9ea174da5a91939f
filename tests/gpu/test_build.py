"""Engines built by real TensorRT on the GPU at hand, and read back."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from whymask.export.build_config import BuildConfig
from whymask.export.engine_from_onnx import engine_from_onnx
from whymask.runtime.cuda import CudaDriver
from whymask.runtime.engine_card import check_engine, read_sidecar
from whymask.runtime.files import sha256_of

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The fused graph of a tiny run, in both precisions."""
    pytest.importorskip("onnx", reason='needs the export: pip install "whymask[export]"')
    from tiny_run import make_run

    from whymask.export.onnx_from_run import export_run

    folder = tmp_path_factory.mktemp("tiny")
    run = make_run(folder, "tapped")
    files = {precision: folder / f"{precision}.onnx" for precision in ("fp16", "fp32")}
    for precision, path in files.items():
        export_run(run, path, precision=precision, max_batch=4)
    return files


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_the_engine_has_the_precision_asked_for_and_its_sidecar_fits_this_machine(
    tensorrt: ModuleType, cuda_device: CudaDriver, graphs: dict[str, Path], tmp_path: Path, precision: str
) -> None:
    out = tmp_path / "fused.plan"
    card = engine_from_onnx(graphs[precision], out, BuildConfig(precision, opt_batch=2, max_batch=4))
    other = "fp32" if precision == "fp16" else "fp16"
    assert card.flags["layers_from"] == "inspector" and card.flags["precision_verified"] is True, card.layers
    assert card.flags["products"][precision] > 0 and card.flags["products"][other] == 0
    assert read_sidecar(out) == card
    assert (card.engine_sha256, card.engine_bytes) == (sha256_of(out), out.stat().st_size)
    assert (card.builder_version, card.driver) == (tensorrt.__version__, cuda_device.version)
    check_engine(out, card, cuda_device.devices[0], builder_version=tensorrt.__version__)


def test_a_timing_cache_is_accepted_by_the_next_build(
    tensorrt: ModuleType, graphs: dict[str, Path], tmp_path: Path
) -> None:
    config = BuildConfig(timing_cache=tmp_path / "kernels.cache")
    first, second = (engine_from_onnx(graphs["fp16"], tmp_path / f"{n}.plan", config) for n in range(2))
    assert (first.flags["timing_cache"], second.flags["timing_cache"]) == ("new", "used")
    assert (tmp_path / "kernels.cache").stat().st_size > 0


def test_a_timing_cache_of_another_kind_is_built_anew(
    tensorrt: ModuleType, graphs: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "kernels.cache"
    path.write_bytes(b"no timing cache" * 100)
    card = engine_from_onnx(graphs["fp16"], tmp_path / "x.plan", BuildConfig(timing_cache=path))
    assert card.flags["timing_cache"].startswith("rebuilt")
