"""What tests need that run on a GPU: each is skipped, with the reason, where there is none."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

import pytest

from whymask.runtime.cuda import CudaDriver, cuda_driver


@pytest.fixture(scope="session")
def cuda_device() -> CudaDriver:
    """The driver and its devices, one at least."""
    driver = cuda_driver()
    if driver.problem:
        pytest.skip(f"needs a CUDA device: {driver.problem}")
    return driver


@pytest.fixture(scope="session")
def tensorrt(cuda_device: CudaDriver) -> ModuleType:
    """TensorRT's module; loaded only where there is a driver, since its lean runtime crashes without one."""
    if importlib.util.find_spec("tensorrt") is None:
        pytest.skip('needs TensorRT: no module tensorrt; pip install "whymask[tensorrt]", or JetPack\'s own')
    return importlib.import_module("tensorrt")


@pytest.fixture(autouse=True)
def only_marked_tests_live_here(request: pytest.FixtureRequest) -> None:
    """Hold that `pytest -m gpu` runs all of this folder, and only then ask for a device."""
    if request.node.get_closest_marker("gpu") is None:
        pytest.fail(f"{request.node.nodeid} lives in tests/gpu and lacks @pytest.mark.gpu", pytrace=False)
    request.getfixturevalue("cuda_device")
