"""What each machine tells of its power: trees of /sys in a folder, laid out as documented, and a stand-in for NVML."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sysfs_trees import agx_orin, agx_xavier, ina3221, orin_nano, personal_computer, thor, write_tree

from whymask.benchmarks.power import Counter, Sensor, board_sensor, nvml_sensor, open_sensors, rapl_sensor
from whymask.runtime.errors import BackendError


class NVMLError(Exception):
    pass


def fake_nvml(**answers):
    """NVML of one GPU; what is not among the answers is not supported, as on a Jetson."""
    calls = []

    def function(name):
        def call(*arguments):
            calls.append((name, *arguments))
            if name not in answers:
                raise NVMLError("Not Supported")
            return answers[name]

        return call

    names = ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage", "nvmlInit", "nvmlShutdown")
    handles = {"nvmlDeviceGetHandleByPciBusId": "handle", "nvmlDeviceGetHandleByIndex": "first"}
    answers = handles | answers
    return SimpleNamespace(NVMLError=NVMLError, calls=calls, **{name: function(name) for name in (*names, *handles)})


def sensor(found: Sensor | str) -> Sensor:
    assert isinstance(found, Sensor), found
    return found


@pytest.mark.parametrize(
    ("make", "rail", "scope", "watts"),
    [
        (orin_nano, "VDD_IN", "whole module", 6.0),
        (agx_orin, "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0", "sum of the module's inputs", 18.0),
        (agx_xavier, "GPU + CPU + SOC + CV + VDDRQ + SYS5V", "sum of the module's inputs", 21.0),
        (thor, "VIN", "whole board", 23.5),
    ],
    ids=["Orin Nano", "AGX Orin", "AGX Xavier", "Thor"],
)
def test_a_board_tells_its_input_or_the_sum_of_its_rails_and_names_them(make, rail, scope, watts, tmp_path: Path):
    found = sensor(board_sensor(make(tmp_path)))
    assert (found.source, found.rail, found.scope, found.counts_joules) == ("board monitor", rail, scope, False)
    assert found.read() == pytest.approx(watts)


def test_thor_without_its_input_monitor_sums_the_modules_rails(tmp_path: Path):
    (thor(tmp_path) / "class/hwmon/hwmon2/power1_input").write_text("broken")
    found = sensor(board_sensor(tmp_path))
    assert found.rail == "VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0"
    assert found.read() == pytest.approx(2.4 + 3.6 + 6.5)


def test_a_channel_that_is_switched_off_is_no_rail(tmp_path: Path):
    (agx_orin(tmp_path) / "class/hwmon/hwmon3/curr1_input").unlink()
    assert board_sensor(tmp_path) == (
        "rails VDD_CPU_CV, VIN_SYS_5V0, VDDQ_VDD2_1V8AO are not known to make up a board's total, "
        "expected VDD_IN, POM_5V_IN, VIN"
    )


def test_the_only_rail_of_another_board_is_taken_and_named(tmp_path: Path):
    write_tree(tmp_path, ina3221("class/hwmon/hwmon0", [("VCC_SUPPLY", 12000, 500)]))
    found = sensor(board_sensor(tmp_path))
    assert (found.rail, found.scope, found.read()) == ("VCC_SUPPLY", "what the board's only monitor measures", 6.0)


def test_a_rail_that_vanishes_is_an_error_and_never_a_zero(tmp_path: Path):
    found = sensor(board_sensor(orin_nano(tmp_path)))
    (tmp_path / "class/hwmon/hwmon1/in1_input").unlink()
    with pytest.raises(BackendError, match=r"in1_input: cannot be read: No such file"):
        found.read()


def test_a_pc_counts_the_joules_of_its_package_and_memory_but_not_of_its_cores_twice(tmp_path: Path):
    found = sensor(rapl_sensor(personal_computer(tmp_path)))
    assert (found.source, found.rail, found.counts_joules) == ("RAPL", "package-0 + dram", True)
    before = found.read()
    personal_computer(tmp_path, package_uj=8_000_000, dram_uj=1_500_000)
    assert found.read() - before == pytest.approx(3.5)


def test_a_counter_that_wraps_around_goes_on_growing(tmp_path: Path):
    found = sensor(rapl_sensor(personal_computer(tmp_path, package_uj=262_143_000_000)))
    before = found.read()
    personal_computer(tmp_path, package_uj=671_150)
    assert found.read() - before == pytest.approx(1.0)
    personal_computer(tmp_path, package_uj=1_671_150)
    assert found.read() - before == pytest.approx(2.0)


def test_a_counter_counts_every_turn():
    values = iter([90, 95, 5, 50, 10])
    counter = Counter(lambda: next(values), 100)
    assert [1e6 * counter() for _ in range(4)] == pytest.approx([95, 105, 150, 210])


def test_counters_for_root_alone_are_absent_with_the_line_that_opens_them(tmp_path: Path, monkeypatch):
    personal_computer(tmp_path)
    readable = Path.read_text

    def read_text(path: Path, *arguments, **options):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return readable(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    answer = rapl_sensor(tmp_path)
    assert isinstance(answer, str)
    assert answer.endswith("intel-rapl:0/energy_uj") and "is for root alone: run as root, or sudo chmod a+r" in answer


def test_nvml_gives_its_energy_counter_where_there_is_one():
    nvml = fake_nvml(nvmlDeviceGetTotalEnergyConsumption=2500, nvmlDeviceGetPowerUsage=70_000)
    found = sensor(nvml_sensor(nvml, "0000:0a:00.0"))
    assert (found.rail, found.counts_joules, found.read()) == ("GPU energy counter", True, 2.5)
    assert ("nvmlDeviceGetHandleByPciBusId", "0000:0a:00.0") in nvml.calls


def test_nvml_gives_its_power_where_it_does_not_count():
    found = sensor(nvml_sensor(fake_nvml(nvmlDeviceGetPowerUsage=70_000), ""))
    assert (found.rail, found.counts_joules, found.settle_s, found.read()) == ("GPU power", False, 1.0, 70.0)


def test_nvml_of_a_jetson_which_tells_neither_is_absent_with_both_reasons():
    assert nvml_sensor(fake_nvml(), "") == (
        "nvmlDeviceGetTotalEnergyConsumption: Not Supported; nvmlDeviceGetPowerUsage: Not Supported"
    )


def test_all_that_a_machine_does_not_tell_is_named_with_its_reason(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with open_sensors(on_gpu=True, system=tmp_path) as sensors:
        assert sensors.found == ()
        assert list(sensors.absent) == ["board monitor", "NVML", "RAPL"]
        assert sensors.absent["NVML"] == "not asked: no module pynvml; pip install nvidia-ml-py"
        assert sensors.absent["board monitor"].startswith("no INA3221 or INA238 with a rail that can be read")
        assert sensors.absent["RAPL"].startswith("no class/powercap/intel-rapl")


def test_nvml_is_asked_for_a_gpu_alone_and_let_go_of_also_when_the_body_raises(tmp_path: Path, monkeypatch):
    nvml = fake_nvml(nvmlInit=None, nvmlShutdown=None, nvmlDeviceGetPowerUsage=70_000)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    with open_sensors(on_gpu=False, system=orin_nano(tmp_path)) as sensors:
        assert [each.rail for each in sensors.found] == ["VDD_IN"]
        assert sensors.absent["NVML"] == "not asked: no GPU ran the graphs"
    assert nvml.calls == []
    with pytest.raises(ValueError, match="body"), open_sensors(on_gpu=True, system=tmp_path) as sensors:
        assert [each.source for each in sensors.found] == ["board monitor", "NVML"]
        raise ValueError("body")
    assert nvml.calls[-1] == ("nvmlShutdown",)
