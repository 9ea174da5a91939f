"""No stand-in for TensorRT has a name that the real version lacks."""

from __future__ import annotations

from types import SimpleNamespace

import fake_tensorrt
import fake_trt_builder
import pytest
from tensorrt_names import names_beyond, versions


@pytest.mark.parametrize("version", fake_trt_builder.VERSIONS)
def test_the_builders_stand_in_has_real_names_alone(version: str) -> None:
    fake = fake_trt_builder.fake_builder(fake_trt_builder.Script(), version)
    assert names_beyond(fake, f"tensorrt {version}") == []


@pytest.mark.parametrize("version", [fake_tensorrt.OLDEST, fake_tensorrt.JETPACK, fake_tensorrt.NEWEST])
def test_the_runtimes_stand_in_has_real_names_alone(version: str) -> None:
    assert names_beyond(_runtime(version, "tensorrt"), f"tensorrt {version}") == []


def test_the_stand_in_for_tensorrt_rtx_has_real_names_alone() -> None:
    version = fake_tensorrt.RTX
    assert names_beyond(_runtime(version, "tensorrt_rtx"), f"tensorrt_rtx {version}") == []


def test_a_name_that_a_version_lacks_is_found() -> None:
    fake = fake_trt_builder.fake_builder(fake_trt_builder.Script(), fake_trt_builder.JETPACK)
    beyond = names_beyond(fake, f"tensorrt {fake_trt_builder.NEWEST}")
    assert "BuilderFlag.FP16" in beyond and "ILayer.precision" in beyond


def test_the_names_are_those_of_five_versions_and_tensorrt_rtx() -> None:
    assert len([name for name in versions() if name.startswith("tensorrt ")]) == 5
    assert f"tensorrt_rtx {fake_tensorrt.RTX}" in versions()


def _runtime(version: str, name: str) -> object:
    script = fake_tensorrt.Script({"image": ("UINT8", (-1, 4))}, ("image",), lambda feeds: feeds)
    return fake_tensorrt.fake_tensorrt(script, SimpleNamespace(), version, name)  # type: ignore[arg-type]
