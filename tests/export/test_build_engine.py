"""Engines built with stand-ins for TensorRT 8.6, 10 and 11: what is set, what is said, and what is left behind."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from colour_graph import Options, card_of
from fake_trt_builder import (
    CACHE_HEADER,
    FLOAT_GRAPH,
    FLOAT_REPORT,
    JETPACK,
    NEWEST,
    OLDEST,
    PLAN,
    VERSIONS,
    Script,
    constraints,
    fake_builder,
    inspected,
)

from whymask.export import engine_from_onnx as module
from whymask.export.build_config import BuildConfig
from whymask.export.engine_from_onnx import classifier_engine_path, engine_from_onnx
from whymask.runtime.card import METADATA_KEY
from whymask.runtime.cuda import CudaDriver, Device
from whymask.runtime.engine_card import EngineCard, read_sidecar, sidecar_path
from whymask.runtime.errors import ArtefactError, BackendError, InputError, WhymaskError
from whymask.runtime.onnx_wire import encode, identity_model

ORIN = CudaDriver("12.6", (Device(0, "Orin", "8.7", integrated=True),))
Build = Callable[..., EngineCard]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a fused graph lies, on a machine that has a GPU."""
    monkeypatch.setattr(module, "cuda_driver", lambda: ORIN)
    monkeypatch.setattr(module, "open_cuda", lambda: SimpleNamespace(runtime_version=lambda: "12.4"))
    for precision in ("fp16", "fp32"):
        card = dataclasses.replace(card_of(Options()), precision=precision)
        entry = encode(1, METADATA_KEY.encode()) + encode(2, card.to_json().encode())
        (tmp_path / f"{precision}.onnx").write_bytes(identity_model() + encode(14, entry))
    return tmp_path


@pytest.fixture
def build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Build with a stand-in; keywords of `BuildConfig` and of `engine_from_onnx`."""

    def call(script: Script, version: str = JETPACK, **options: Any) -> EngineCard:
        monkeypatch.setitem(sys.modules, "tensorrt", fake_builder(script, version))
        of_config = {field.name for field in dataclasses.fields(BuildConfig)}
        config = BuildConfig(**{name: value for name, value in options.items() if name in of_config})
        others = {name: value for name, value in options.items() if name not in of_config}
        return engine_from_onnx(folder / f"{config.precision}.onnx", folder / "out/x.plan", config, **others)

    return call


def left_behind(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {"fp16.onnx", "fp32.onnx"}


def flags(script: Script) -> list[str]:
    return [call for call in script.log if call.startswith(("create_network", "set_flag", "clear_flag"))]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (
            OLDEST,
            [
                "create_network EXPLICIT_BATCH",
                "clear_flag TF32",
                "set_flag FP16",
                "set_flag OBEY_PRECISION_CONSTRAINTS",
            ],
        ),
        (JETPACK, ["create_network EXPLICIT_BATCH STRONGLY_TYPED", "clear_flag TF32"]),
        (NEWEST, ["create_network STRONGLY_TYPED", "clear_flag TF32"]),
    ],
    ids=VERSIONS,
)
def test_fp16_comes_from_the_typed_graph_or_from_the_flag_and_never_from_both(
    build: Build, version: str, expected: list[str]
) -> None:
    script = Script()
    card = build(script, version)
    assert flags(script) == expected
    assert card.flags["strongly_typed"] == (version != OLDEST)
    assert (card.precision, card.layers["fp16"], card.layers["fp32"]) == ("fp16", 2, 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_fp32_sets_no_precision_flag(build: Build, version: str) -> None:
    script = Script(FLOAT_GRAPH, report=FLOAT_REPORT)
    card = build(script, version, precision="fp32")
    assert [flag for flag in flags(script) if flag.startswith("set_flag")] == []
    assert (card.precision, card.layers["fp32"]) == ("fp32", 3)
    if version == OLDEST:
        assert set(map(str, constraints(script).values())) == {"(None, {})"}


def test_on_8_each_layer_keeps_the_graphs_precision_and_so_do_fp32_islands(build: Build) -> None:
    script = Script()
    build(script, OLDEST)
    assert constraints(script) == {
        "to_float": (None, {}),
        "normalise": ("FLOAT", {0: "FLOAT"}),
        "to_half": (None, {}),
        "stem": ("HALF", {0: "HALF"}),
        "flatten": (None, {0: "HALF"}),
        "head": ("HALF", {0: "HALF"}),
        "sizes": (None, {}),
        "threshold": ("FLOAT", {}),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_open_input_has_its_profile_and_the_engine_is_read_at_the_best_batch(build: Build, version: str) -> None:
    script = Script()
    card = build(script, version, min_batch=2, opt_batch=4, max_batch=16)
    assert [call for call in script.log if call.startswith("set_shape")] == [
        "set_shape image (2, 32, 32, 3) (4, 32, 32, 3) (16, 32, 32, 3)",
        "set_shape target (2,) (4,) (16,)",
    ]
    assert "set_input_shape image (4, 32, 32, 3)" in script.log
    assert (card.min_batch, card.opt_batch, card.max_batch) == (2, 4, 16)


@pytest.mark.parametrize("version", VERSIONS)
def test_graphs_of_several_classes_and_of_contrasts_are_built(build: Build, version: str) -> None:
    script = Script()
    script.inputs["against"] = ("INT64", (-1,))
    script.outputs |= {"classes": ("INT64", (-1, 3)), "class_saliency": ("FLOAT", (-1, 3, 4, 4))}
    build(script, version, min_batch=2, opt_batch=4, max_batch=16)
    assert "set_shape against (2,) (4,) (16,)" in script.log


def test_a_fixed_batch_needs_no_profile_and_is_what_the_sidecar_says(build: Build) -> None:
    script = Script(inputs={"image": ("UINT8", (4, 32, 32, 3))})
    card = build(script)
    assert not any(call.startswith(("set_shape", "add_optimization_profile")) for call in script.log)
    assert (card.min_batch, card.opt_batch, card.max_batch) == (4, 4, 4)


def test_a_fixed_batch_outside_of_the_one_asked_for_names_the_line(build: Build, folder: Path) -> None:
    script = Script(inputs={"image": ("UINT8", (16, 32, 32, 3))})
    with pytest.raises(
        InputError, match=r"fixed at 16, outside of 1 to 8; .*--min-batch 16 --opt-batch 16 --max-batch 16"
    ):
        build(script)
    assert left_behind(folder) == set()


def test_the_sidecar_says_what_the_engine_is(build: Build, folder: Path) -> None:
    card = build(Script(), max_batch=4, workspace_mib=256)
    assert read_sidecar(folder / "out/x.plan") == card
    assert (folder / "out/x.plan").read_bytes() == PLAN
    assert card.engine_sha256 == hashlib.sha256(PLAN).hexdigest() and card.engine_bytes == len(PLAN)
    assert card.onnx_sha256 == hashlib.sha256((folder / "fp16.onnx").read_bytes()).hexdigest()
    assert card.built_for() == "TensorRT 10.3.0 on Orin (8.7)"
    assert (card.cuda, card.driver, card.role) == ("12.4", "12.6", "fused")
    assert card.build_command == "whymask build fp16.onnx -o x.plan --precision fp16 --max-batch 4 --workspace 256"
    assert card.flags["layers_from"] == "inspector" and card.flags["precision_verified"] is True
    assert card.flags["products"] == {"fp16": 2, "fp32": 0, "int8": 0, "other": 0}
    assert card.card.precision == "fp16" and card.versions["tensorrt"] == "10.3.0"


def test_the_classifier_alone_is_described_with_the_fused_graphs_card_and_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(inputs={"image": ("UINT8", (-1, 32, 32, 3))}, outputs={"logits": ("FLOAT", (-1, 5))})
    fused = dataclasses.replace(card_of(Options()), precision="fp16")
    alone = folder / "fused.classifier.onnx"
    alone.write_bytes(identity_model())
    monkeypatch.setitem(sys.modules, "tensorrt", fake_builder(script))
    out = classifier_engine_path(folder / "fused.plan")
    card = engine_from_onnx(alone, out, BuildConfig(), role="classifier", card=fused)
    assert out.name == "fused.classifier.plan"
    assert (card.role, card.card) == ("classifier", fused)
    assert card.build_command == "whymask build fused.onnx -o fused.plan --precision fp16 --classifier"


FAILURES = {
    "Builder": (BackendError, "made no builder: CUDA initialization failure with error: 35; run whymask doctor"),
    "create_network": (BackendError, "made no network"),
    "parse": (ArtefactError, "does not parse .*fp16.onnx: it gave no reason"),
    "create_builder_config": (BackendError, "made no builder configuration"),
    "set_memory_pool_limit": (BackendError, "refuses --workspace 64: its limit stays 16384 MiB"),
    "set_shape": (ArtefactError, "refuses batches of 1 to 8, best 1, for this graph: Shape provided for min"),
    "add_optimization_profile": (ArtefactError, "refuses batches of 1 to 8, best 1, for this graph"),
    "create_timing_cache": (BackendError, "k.cache: TensorRT makes no timing cache here"),
    "set_timing_cache": (BackendError, "k.cache: TensorRT makes no timing cache here"),
    "build_serialized_network": (ArtefactError, "does not build it: Could not find any implementation for node stem"),
    "deserialize_cuda_engine": (ArtefactError, "does not load the engine that it has just built"),
    "create_execution_context": (BackendError, "made no execution context"),
    "set_input_shape": (BackendError, "refuses a batch of 1 for its own engine's image"),
    "create_engine_inspector": (BackendError, "made no engine inspector"),
    "get_timing_cache": (BackendError, "k.cache: TensorRT gave no timing cache to write"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("call", FAILURES)
def test_each_call_that_fails_is_one_error_and_leaves_nothing(
    build: Build, folder: Path, call: str, version: str
) -> None:
    kind, message = FAILURES[call]
    script = Script(failing={call})
    with pytest.raises(kind, match=message):
        build(script, version, workspace_mib=64, timing_cache=folder / "k.cache")
    assert call in {entry.split()[0] for entry in script.log}
    assert left_behind(folder) == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_all_parser_errors_are_said_with_their_nodes(build: Build, folder: Path, version: str) -> None:
    errors = [("no importer", "", "Identity", 0), ("bad type", "late", "Cast", 7)]
    with pytest.raises(ArtefactError) as error:
        build(Script(errors=errors), version)
    # TensorRT 8 gives a node's place alone; the graph of this test has one node, without a name.
    last = "the graph: bad type" if version == OLDEST else "node 'late' (Cast): bad type"
    assert str(error.value).endswith(f"node '' (Identity): no importer; {last}")
    assert left_behind(folder) == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_fp32_convolutions_where_fp16_was_asked_for_are_an_error_and_nothing_is_written(
    build: Build, folder: Path, version: str
) -> None:
    report = inspected(("stem", "CaskConvolution", "Float"), ("head", "gemm", "Half"))
    with pytest.raises(ArtefactError, match=r"1 of 2 convolutions and matrix products \(50%\) .*'stem' \(fp32\)"):
        build(Script(report=report), version, timing_cache=folder / "k.cache")
    assert left_behind(folder) == set()


def test_a_graph_that_is_typed_fp32_whatever_its_card_says_is_refused_before_the_build(build: Build) -> None:
    script = Script(FLOAT_GRAPH)
    with pytest.raises(ArtefactError, match=r"as TensorRT 10\.3\.0 reads it: fp16 was asked for, and only 0 of 2"):
        build(script)
    assert "build_serialized_network" not in script.log


def test_a_precision_that_cannot_be_read_back_is_stated_as_unverified(build: Build) -> None:
    card = build(Script(report='{"Layers": ["stem", "head"]}'))
    assert card.flags["precision_verified"] is False
    assert card.layers == {"fp16": 0, "fp32": 0, "int8": 0, "other": 2}


def test_the_graphs_precision_must_be_the_one_asked_for(build: Build, folder: Path) -> None:
    script = Script()
    build(script)
    message = r"graph is fp32 and the engine is asked for in fp16; .*whymask export RUN -o fp32\.onnx --precision fp16"
    with pytest.raises(InputError, match=message):
        engine_from_onnx(folder / "fp32.onnx", folder / "y.plan", BuildConfig())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": {"image": ("FLOAT", (-1, 32, 32, 3))}}, "its inputs are image FLOAT; expected image UINT8"),
        ({"inputs": {"x": ("UINT8", (-1, 32, 32, 3))}}, "its inputs are x UINT8; expected image UINT8"),
        ({"outputs": {"logits": ("FLOAT", (-1, 5))}}, "with logits, saliency, mask at least; give a fused graph"),
        ({"inputs": {"image": ("UINT8", (-1, -1, 32, 3))}}, "expected a graph whose batch alone is open"),
        (
            {"inputs": {"image": ("UINT8", (2, 32, 32, 3)), "target": ("INT64", (-1,))}},
            r"batches image \(2, 32, 32, 3\), target \(-1,\)",
        ),
    ],
    ids=["type", "name", "outputs", "sides", "batches"],
)
def test_a_network_that_is_not_the_contracts_is_refused(build: Build, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        build(Script(**changes))


def test_without_a_driver_no_tensorrt_object_is_made(
    build: Build, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "cuda_driver", lambda: CudaDriver(problem="libcuda.so.1 does not load"))
    script = Script()
    with pytest.raises(BackendError, match=r"none can be used here: libcuda\.so\.1 does not load; .*--rtx"):
        build(script)
    assert script.log == [] and left_behind(folder) == set()


def test_a_runtime_without_builder_is_named(build: Build, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.3.0"))  # type: ignore[arg-type]
    with pytest.raises(BackendError, match=r"tensorrt 10\.3\.0 has no builder"):
        engine_from_onnx(folder / "fp16.onnx", folder / "x.plan", BuildConfig())


@pytest.mark.parametrize("version", VERSIONS)
def test_options_reach_the_builder(build: Build, version: str) -> None:
    script = Script(cores=2)
    card = build(
        script,
        version,
        version_compatible=True,
        hardware_compatible=True,
        optimization_level=5,
        dla_core=1,
        workspace_mib=64,
        max_batch=1,
    )
    config = script.config
    assert {"set_flag VERSION_COMPATIBLE", "set_flag GPU_FALLBACK"} < set(script.log)
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS" and config.builder_optimization_level == 5
    assert (config.default_device_type.name, config.DLA_core) == ("DLA", 1)
    assert config.profiling_verbosity.name == "DETAILED"
    assert f"set_memory_pool_limit WORKSPACE {64 << 20}" in script.log
    # Such an engine is loaded only where its own code is trusted, and a DLA's on that core.
    assert "deserialize_cuda_engine True 1" in script.log
    assert card.version_compatible and card.hardware_compatible and card.flags["dla_core"] == 1


@pytest.mark.parametrize(
    ("lacking", "option"),
    [
        ("AMPERE_PLUS", {"hardware_compatible": True}),
        ("VERSION_COMPATIBLE", {"version_compatible": True}),
    ],
)
def test_an_option_that_this_version_lacks_is_an_error(build: Build, lacking: str, option: dict[str, bool]) -> None:
    with pytest.raises(BackendError, match=r"--\w+-compatible: TensorRT 10\.3\.0 does not know it"):
        build(Script(lacking={lacking}), **option)


@pytest.mark.parametrize(("cores", "has"), [(0, "no DLA"), (2, "cores 0 to 1")])
def test_a_dla_core_that_the_machine_lacks_is_an_error(build: Build, cores: int, has: str) -> None:
    with pytest.raises(InputError, match=f"--dla 2: this machine has {has}"):
        build(Script(cores=cores), dla_core=2, max_batch=1)


def test_a_dla_engine_of_several_batch_sizes_is_an_error(build: Build) -> None:
    script = Script(cores=2)
    with pytest.raises(InputError, match=r"--dla 0: a DLA runs one batch size.*are 1, 2 and 8 .*--min-batch 2 --opt"):
        build(script, dla_core=0, opt_batch=2)
    assert "build_serialized_network" not in script.log


def test_an_inspector_that_is_silent_through_a_context_is_asked_without(build: Build) -> None:
    card = build(Script(silent_context=True))
    assert card.flags["layers_from"] == "inspector" and card.flags["products"]["fp16"] == 2


def test_an_engine_of_which_the_inspector_tells_nothing_is_built_and_not_verified(build: Build) -> None:
    card = build(Script(report=None, silent_context=True))
    assert card.flags["precision_verified"] is False and not any(card.layers.values())


def test_progress_counts_to_a_hundred_and_names_the_phase(build: Build) -> None:
    told: list[tuple[float, str]] = []
    build(Script(), on_progress=lambda percent, phase: told.append((percent, phase)))
    assert sum(percent for percent, _ in told) == 100
    assert told[:2] == [(5, "Timing tactics"), (5, "Timing tactics")]
    assert told[-1][1] == "built"


def test_a_version_without_monitor_tells_the_end_alone(build: Build) -> None:
    told: list[tuple[float, str]] = []
    build(Script(), OLDEST, on_progress=lambda percent, phase: told.append((percent, phase)))
    assert told == [(100, "built")]


def test_ctrl_c_stops_the_build_at_its_next_step_and_leaves_nothing(build: Build, folder: Path) -> None:
    former = signal.getsignal(signal.SIGINT)
    steps: list[int] = []

    def interrupt(step: int) -> None:
        steps.append(step)
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build(Script(on_step=interrupt), timing_cache=folder / "k.cache")
    assert steps == [0, 1, 2, 3]
    assert left_behind(folder) == set()
    assert signal.getsignal(signal.SIGINT) is former


def test_an_error_of_the_progress_report_stops_the_build_and_is_raised_after_it(build: Build, folder: Path) -> None:
    def broken(percent: float, phase: str) -> None:
        raise BrokenPipeError("the terminal went away")

    with pytest.raises(BrokenPipeError, match="went away"):
        build(Script(), on_progress=broken)
    assert left_behind(folder) == set()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_timing_cache_is_made_then_used(build: Build, folder: Path, version: str) -> None:
    path = folder / "kernels.cache"
    first = build(Script(), version, timing_cache=path)
    assert path.read_bytes() == CACHE_HEADER + version.encode() + b" kernel times"
    second = build(Script(), version, timing_cache=path)
    assert (first.flags["timing_cache"], second.flags["timing_cache"]) == ("new", "used")


def test_a_timing_cache_of_another_version_is_built_anew_and_said(build: Build, folder: Path) -> None:
    path = folder / "kernels.cache"
    build(Script(), JETPACK, timing_cache=path)
    card = build(Script(), NEWEST, timing_cache=path)
    assert card.flags["timing_cache"] == "rebuilt: the file was of another TensorRT or another GPU"
    assert path.read_bytes().startswith(CACHE_HEADER + NEWEST.encode())


def test_a_timing_cache_that_is_no_file_is_an_error(build: Build, folder: Path) -> None:
    with pytest.raises(ArtefactError, match=r"the timing cache cannot be read \(Is a directory\)"):
        build(Script(), timing_cache=folder)


@pytest.mark.parametrize("name", ["x.onnx", "x", "x.json"])
def test_an_engine_file_of_another_kind_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"expected a name ending in \.engine, \.plan, \.trt"):
        engine_from_onnx(folder / "fp16.onnx", folder / name, BuildConfig())


def test_a_graph_without_card_is_refused(folder: Path) -> None:
    (folder / "bare.onnx").write_bytes(identity_model())
    with pytest.raises(ArtefactError, match=r"bare\.onnx: carries no whymask card; .*whymask export"):
        engine_from_onnx(folder / "bare.onnx", folder / "x.plan", BuildConfig())


def test_an_older_engine_stays_when_the_build_fails(build: Build, folder: Path) -> None:
    before = build(Script())
    with pytest.raises(WhymaskError):
        build(Script(failing={"build_serialized_network"}))
    assert read_sidecar(folder / "out/x.plan") == before
    assert sidecar_path(folder / "out/x.plan").is_file()
