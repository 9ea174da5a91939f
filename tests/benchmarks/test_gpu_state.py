"""What is read of a GPU's clocks, from a recorded NVML and from a Jetson's files laid out in a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from whymask.benchmarks.gpu_state import GpuState, read_gpu_state, state_from_nvml, throttling


class NVMLError(Exception):
    pass


def fake_nvml(**changes):
    """NVML of one GPU; `calls` holds the names of the functions in the order in which they were called."""
    calls = []

    def function(name, answer):
        def call(*arguments):
            calls.append((name, *arguments))
            if isinstance(answer, Exception):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return call

    answers = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlSystemGetDriverVersion": b"580.1",
        "nvmlDeviceGetHandleByPciBusId": "handle",
        "nvmlDeviceGetHandleByIndex": "first",
        "nvmlDeviceGetClockInfo": lambda handle, kind: {1: 1980, 2: 3201}[kind],
        "nvmlDeviceGetMaxClockInfo": 2100,
        "nvmlDeviceGetTemperature": 40,
        "nvmlDeviceGetPowerUsage": 123_400,
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0x1 | 0x4 | 0x40,
    } | changes
    return SimpleNamespace(
        NVMLError=NVMLError, calls=calls, **{name: function(name, answer) for name, answer in answers.items()}
    )


def jetson(root: Path, *, alert: int = 0, events: tuple[int, ...] = (2, 3)) -> Path:
    files = {
        "class/devfreq/15340000.vic/cur_freq": "1",
        "class/devfreq/17000000.gpu/cur_freq": "612000000",
        "class/devfreq/17000000.gpu/max_freq": "1300500000",
        "class/devfreq/17000000.gpu/min_freq": "306000000",
        "class/thermal/cooling_device0/type": "pwm-fan",
        "class/thermal/cooling_device0/cur_state": "2",
        "class/thermal/cooling_device1/type": "gpu-throttle-alert",
        "class/thermal/cooling_device1/cur_state": str(alert),
        **{f"class/hwmon/hwmon1/oc{i}_event_cnt": str(count) for i, count in enumerate(events, 1)},
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def answer_of_nvpmodel(text: str, code: int = 0):
    return lambda *command, **options: subprocess.CompletedProcess(command, code, stdout=text, stderr="")


def test_nvml_tells_clocks_power_and_what_holds_them_back():
    nvml = fake_nvml()
    state = state_from_nvml(nvml, "0000:0a:00.0")
    assert (state.source, state.driver, state.absent) == ("NVML", "580.1", "")
    assert (state.clock_mhz, state.max_clock_mhz, state.memory_clock_mhz) == (1980, 2100, 3201)
    assert (state.temperature_c, state.power_w) == (40, 123.4)
    assert state.throttle == ("power cap", "hardware thermal slowdown")
    assert ("nvmlDeviceGetHandleByPciBusId", "0000:0a:00.0") in nvml.calls
    assert nvml.calls[-1] == ("nvmlShutdown",)


def test_the_newer_name_of_the_reasons_is_preferred():
    nvml = fake_nvml(nvmlDeviceGetCurrentClocksEventReasons=0x80)
    assert state_from_nvml(nvml, "").throttle == ("power brake",)
    assert ("nvmlDeviceGetHandleByIndex", 0) in nvml.calls


def test_a_driver_without_the_newer_name_is_asked_by_the_former_one():
    nvml = fake_nvml(nvmlDeviceGetCurrentClocksEventReasons=NVMLError("Function Not Found"))
    assert state_from_nvml(nvml, "").throttle == ("power cap", "hardware thermal slowdown")


def test_what_a_gpu_does_not_tell_stays_unknown():
    silent = dict.fromkeys(
        ("nvmlDeviceGetPowerUsage", "nvmlDeviceGetCurrentClocksThrottleReasons", "nvmlDeviceGetTemperature"),
        NVMLError("Not Supported"),
    )
    state = state_from_nvml(fake_nvml(**silent), "")
    assert (state.power_w, state.temperature_c, state.throttle) == (None, None, ())
    assert state.clock_mhz == 1980


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"nvmlInit": NVMLError("Driver Not Loaded")}, "NVML does not start: Driver Not Loaded"),
        ({"nvmlDeviceGetHandleByPciBusId": NVMLError("Not Found")}, "NVML finds no GPU 0000:0a:00.0: Not Found"),
    ],
)
def test_without_an_answer_the_reason_is_kept(changes: dict, absent: str):
    assert state_from_nvml(fake_nvml(**changes), "0000:0a:00.0") == GpuState(absent=absent)


def test_without_the_package_the_line_that_installs_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_gpu_state(tmp_path).absent == "NVML was not asked: no module pynvml; pip install nvidia-ml-py"


def test_a_jetson_tells_its_clocks_and_power_mode_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("subprocess.run", answer_of_nvpmodel("NV Power Mode: MAXN_SUPER\n2\n"))
    state = read_gpu_state(jetson(tmp_path))
    assert (state.clock_mhz, state.max_clock_mhz, state.min_clock_mhz) == (612.0, 1300.5, 306.0)
    assert (state.power_mode, state.throttle, state.throttle_events) == ("MAXN_SUPER", (), 5)


def test_a_jetson_without_an_answer_of_nvpmodel_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("subprocess.run", answer_of_nvpmodel("", code=3))
    assert read_gpu_state(jetson(tmp_path)).power_mode == "unknown: nvpmodel -q exited with 3"
    monkeypatch.undo()
    monkeypatch.setattr("whymask.benchmarks.gpu_state.NVPMODEL", ("no-such-program",))
    assert read_gpu_state(jetson(tmp_path)).power_mode.startswith("unknown: nvpmodel -q failed: ")


def test_heat_and_over_current_during_a_measurement_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("subprocess.run", answer_of_nvpmodel("NV Power Mode: 15W\n"))
    before = read_gpu_state(jetson(tmp_path / "before"))
    after = read_gpu_state(jetson(tmp_path / "after", alert=1, events=(2, 7)))
    assert throttling(before, before) == ()
    heat, current = throttling(before, after)
    assert "held back: gpu-throttle-alert" in heat
    assert "throttled 4 times for over-current" in current
