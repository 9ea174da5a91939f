"""Where this machine tells its power or its energy: a board's monitor chip, NVML, or the processor's own counters.

Readers of sysfs (INA3221 and INA238 of a Jetson, RAPL of a PC) need the standard library; NVML needs `nvidia-ml-py`.
Every source that tells nothing is named with its reason: an absent sensor is never a zero.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whymask.benchmarks.gpu_state import SYS, pci_bus_id
from whymask.runtime.errors import BackendError

BOARD, NVML, RAPL = "board monitor", "NVML", "RAPL"
"""Sources, as a record names them."""
HWMON_CHANNELS = (1, 2, 3)
"""An INA3221 has three, an INA238 one; what a kernel numbers higher are sums of shunt voltages."""
INPUT_RAILS = {"VDD_IN": "whole module", "POM_5V_IN": "whole board", "VIN": "whole board"}
"""Rails through which all current comes, and what they feed: Orin Nano, Orin NX, Xavier NX; TX2, Nano; Thor."""
SUMMED_RAILS = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
)
"""Rails that make up a module without an input rail: AGX Orin, AGX Xavier, Thor.

AGX Orin's VDDQ_VDD2_1V8AO is left out: it draws from the 5 V that VIN_SYS_5V0 measures, and would count twice.
"""
INA_SETTLE_S, NVML_COUNTER_SETTLE_S, NVML_POWER_SETTLE_S = 0.25, 0.2, 1.0
"""How long a source still tells of the past: an INA averages for a while, NVML's power is the mean of a second."""


@dataclass(frozen=True)
class Sensor:
    """One figure of power or energy that can be read again and again.

    Attributes:
        source: `board monitor`, `NVML` or `RAPL`.
        rail: what is measured, in the machine's own words, such as `VDD_IN`.
        scope: what the rail feeds, such as `whole module`.
        counts_joules: `read` gives joules that only grow, otherwise watts of the moment.
        settle_s: for how many seconds a reading still tells of what was before.
        read: joules or watts; raises BackendError where the sensor answers no more.
    """

    source: str
    rail: str
    scope: str
    counts_joules: bool
    settle_s: float
    read: Callable[[], float] = field(compare=False)


@dataclass(frozen=True)
class Sensors:
    """What this machine offers.

    Attributes:
        found: sensors that gave a reading.
        absent: the other sources, each with the reason.
    """

    found: tuple[Sensor, ...]
    absent: dict[str, str]


class Counter:
    """Joules that only grow, from a counter of microjoules that starts again from 0 past its range.

    Args:
        read: the counter's microjoules.
        range_uj: where it wraps around; it must be read at least once each time round.
    """

    def __init__(self, read: Callable[[], int], range_uj: int) -> None:
        self._read, self._range_uj = read, range_uj
        self._last, self._turns_uj = read(), 0

    def __call__(self) -> float:
        """Joules since an arbitrary start."""
        now = self._read()
        if now < self._last:
            self._turns_uj += self._range_uj
        self._last = now
        return (now + self._turns_uj) / 1e6


@contextmanager
def open_sensors(on_gpu: bool, system: Path = SYS) -> Iterator[Sensors]:
    """Find what can be read on this machine; NVML is let go of at the end.

    Args:
        on_gpu: a GPU runs what will be measured, so that NVML is worth asking.
        system: where the system's files are.
    """
    with ExitStack() as stack:
        answers = {
            BOARD: board_sensor(system),
            NVML: _nvml(stack) if on_gpu else "not asked: no GPU ran the graphs",
            RAPL: rapl_sensor(system),
        }
        found = tuple(each for each in answers.values() if isinstance(each, Sensor))
        yield Sensors(found, {name: each for name, each in answers.items() if isinstance(each, str)})


def board_sensor(system: Path = SYS) -> Sensor | str:
    """The input rail of a board with a monitor chip, else the sum of a module's rails; the reason where there is none.

    Args:
        system: where the system's files are.
    """
    rails = _hwmon_rails(system) or _iio_rails(system)
    if not rails:
        return "no INA3221 or INA238 with a rail that can be read, in class/hwmon or bus/i2c/drivers/ina3221x"
    for name, scope in INPUT_RAILS.items():
        if name in rails:
            return Sensor(BOARD, name, scope, False, INA_SETTLE_S, rails[name])
    for names in SUMMED_RAILS:
        if rails.keys() >= set(names):
            readers = [rails[name] for name in names]
            return Sensor(BOARD, " + ".join(names), "sum of the module's inputs", False, INA_SETTLE_S, _sum_of(readers))
    if len(rails) == 1:
        ((name, read),) = rails.items()
        return Sensor(BOARD, name, "what the board's only monitor measures", False, INA_SETTLE_S, read)
    return f"rails {', '.join(rails)} are not known to make up a board's total, expected {', '.join(INPUT_RAILS)}"


def rapl_sensor(system: Path = SYS) -> Sensor | str:
    """The energy of all processor packages and of their memory where it is counted apart; the reason where it is not.

    Args:
        system: where the system's files are.
    """
    zones = {folder: _text(folder / "name") for folder in sorted((system / "class" / "powercap").glob("intel-rapl:*"))}
    wanted = {folder: name for folder, name in zones.items() if name.startswith("package") or name == "dram"}
    if not wanted:
        return "no class/powercap/intel-rapl: no such counters, or a virtual machine that hides them"
    try:
        counters = [_rapl_counter(folder) for folder in wanted]
    except PermissionError as error:
        return f"{error.filename} is for root alone: run as root, or sudo chmod a+r {error.filename}"
    except (OSError, BackendError) as error:
        return f"the counters do not answer: {error}"
    rail = " + ".join(wanted.values())
    return Sensor(RAPL, rail, "processor packages, without the rest of the machine", True, 0.0, _sum_of(counters))


def nvml_sensor(nvml: Any, bus_id: str) -> Sensor | str:
    """A GPU's energy counter, else its power; the reason where it tells neither. NVML must have been started.

    Args:
        nvml: the module `pynvml`.
        bus_id: the GPU's place on the PCI bus; empty takes NVML's first.
    """
    try:
        handle = nvml.nvmlDeviceGetHandleByPciBusId(bus_id) if bus_id else nvml.nvmlDeviceGetHandleByIndex(0)
    except nvml.NVMLError as error:
        return f"NVML finds no GPU {bus_id or 0}: {error}"
    # Counters came with Volta; a Jetson's NVML has neither of the two.
    ways = {
        "nvmlDeviceGetTotalEnergyConsumption": ("energy counter", True, NVML_COUNTER_SETTLE_S),
        "nvmlDeviceGetPowerUsage": ("power", False, NVML_POWER_SETTLE_S),
    }
    refusals = []
    for function, (rail, counts_joules, settle_s) in ways.items():
        read = _nvml_reader(nvml, function, handle)
        try:
            read()
        except BackendError as error:
            refusals.append(str(error))
        else:
            return Sensor(NVML, f"GPU {rail}", "GPU board, without its host", counts_joules, settle_s, read)
    return "; ".join(refusals)


def _nvml(stack: ExitStack) -> Sensor | str:
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return "not asked: no module pynvml; pip install nvidia-ml-py"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return f"NVML does not start: {error}"
    stack.callback(nvml.nvmlShutdown)
    return nvml_sensor(nvml, pci_bus_id())


def _nvml_reader(nvml: Any, function: str, handle: Any) -> Callable[[], float]:
    """Joules or watts: NVML counts both in thousandths."""

    def read() -> float:
        try:
            return float(getattr(nvml, function)(handle)) / 1e3
        except (nvml.NVMLError, AttributeError) as error:
            raise BackendError(f"{function}: {error}") from error

    return read


def _hwmon_rails(system: Path) -> dict[str, Callable[[], float]]:
    """Readers of watts by label, of chips whose driver is an `ina…`."""
    rails = {}
    for folder in sorted((system / "class" / "hwmon").glob("hwmon*")):
        chip = _text(folder / "name")
        if not chip.startswith("ina"):
            continue
        for channel in HWMON_CHANNELS:
            label = _text(folder / f"in{channel}_label")
            if not label and channel == 1:
                label = _text(folder / "label") or f"{chip} at {folder.name}"
            if label in ("", "NC"):
                continue
            power, volts, amperes = (
                folder / name for name in (f"power{channel}_input", f"in{channel}_input", f"curr{channel}_input")
            )
            read = _watts(power, 1e-6) if power.exists() else _product(volts, amperes)
            if _answers(read):
                rails[label] = read
    return rails


def _iio_rails(system: Path) -> dict[str, Callable[[], float]]:
    """The same from NVIDIA's own driver of JetPack 4 and before, whose powers are milliwatts."""
    rails = {}
    for file in sorted((system / "bus" / "i2c" / "drivers" / "ina3221x").glob("*/iio:device*/rail_name_*")):
        label, channel = _text(file), file.name.removeprefix("rail_name_")
        read = _watts(file.with_name(f"in_power{channel}_input"), 1e-3)
        if label not in ("", "NC") and _answers(read):
            rails[label] = read
    return rails


def _rapl_counter(zone: Path) -> Counter:
    file = zone / "energy_uj"
    file.read_text(encoding="utf-8")  # Says by its exception whether this user may read it.
    return Counter(lambda: _integer(file), _integer(zone / "max_energy_range_uj"))


def _sum_of(readers: list[Any]) -> Callable[[], float]:
    return lambda: float(sum(read() for read in readers))


def _watts(file: Path, unit: float) -> Callable[[], float]:
    return lambda: _integer(file) * unit


def _product(millivolts: Path, milliamperes: Path) -> Callable[[], float]:
    return lambda: _integer(millivolts) * _integer(milliamperes) * 1e-6


def _answers(read: Callable[[], float]) -> bool:
    """Whether a rail can be read: a channel that is switched off has its files, and an error in place of a number."""
    try:
        read()
    except BackendError:
        return False
    return True


def _integer(file: Path) -> int:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BackendError(f"{file}: cannot be read: {error.strerror}") from error
    if not re.fullmatch(r"-?\d+", text):
        raise BackendError(f"{file}: {text!r}, expected a whole number")
    return int(text)


def _text(file: Path) -> str:
    """Text of a file of the system, empty where it has none."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
