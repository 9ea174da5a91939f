"""The device that the other tests of this folder run on."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from whymask.runtime.cuda import CudaDriver

pytestmark = pytest.mark.gpu


def test_the_driver_names_its_version_and_each_device_with_its_compute_capability(cuda_device: CudaDriver):
    assert re.fullmatch(r"\d+\.\d+", cuda_device.version)
    assert all(re.fullmatch(r".+ \(\d+\.\d+\)", str(device)) for device in cuda_device.devices)


def test_tensorrt_makes_a_builder_on_this_device(tensorrt: ModuleType):
    assert tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
