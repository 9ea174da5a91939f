"""What a GPU's clocks do at a moment, and what holds them back: by NVML on a server, by the system's files on a Jetson.

Nothing is set, only read. Needs the standard library; `nvidia-ml-py` where NVML is to be asked. What this machine does
not tell is None or empty, and `absent` says why where it tells nothing.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whymask.runtime.cuda import LIBRARY

SYS = Path("/sys")
NVPMODEL = ("nvpmodel", "-q")
NVPMODEL_SECONDS = 10
JETSON_GPU = re.compile(r"\.(gpu|ga10b|gv11b|gp10b)$|^gpu-gpc")
"""Names of a Jetson's GPU among the devices whose frequency is governed, Orin's and Thor's among them."""
JETSON_ALERT = "throttle-alert"
"""Part of the names of a Jetson's cooling devices that are on while a processor is throttled for its heat."""
NVML_SM, NVML_MEMORY, NVML_TEMPERATURE_GPU = 1, 2, 0
"""NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU."""
THROTTLES = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""NVML's reasons for lower clocks that make a measurement unfair; not idleness, nor clocks that a person has set."""


@dataclass(frozen=True)
class GpuState:
    """One GPU at one moment.

    Attributes:
        source: what told it, such as `NVML`; empty where nothing did.
        absent: why nothing is known; empty where something is.
        driver: the driver's own version, such as `580.159.04`.
        clock_mhz, max_clock_mhz: of the multiprocessors, and the highest that may be asked of them, MHz.
        min_clock_mhz: the lowest that the governor may choose, MHz; `jetson_clocks` makes it the highest.
        memory_clock_mhz: MHz.
        temperature_c, power_w: degrees Celsius, watts.
        throttle: what holds the clocks back at this moment.
        throttle_events: over-current events since boot, on a Jetson.
        power_mode: a Jetson's, as `nvpmodel -q` names it.
    """

    source: str = ""
    absent: str = ""
    driver: str = ""
    clock_mhz: float | None = None
    max_clock_mhz: float | None = None
    min_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttle: tuple[str, ...] = ()
    throttle_events: int | None = None
    power_mode: str = ""


def read_gpu_state(system: Path = SYS) -> GpuState:
    """The state of the first GPU that CUDA sees; never raises where nothing tells it.

    Args:
        system: where the system's files are.
    """
    jetson = _jetson_gpu(system)
    if jetson is not None:
        return _from_jetson(system, jetson)
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return GpuState(absent="NVML was not asked: no module pynvml; pip install nvidia-ml-py")
    return state_from_nvml(nvml, pci_bus_id())


def throttling(before: GpuState, after: GpuState) -> tuple[str, ...]:
    """What held the clocks back at the start or the end of a measurement, as sentences for its verdict."""
    seen = dict.fromkeys((*before.throttle, *after.throttle))
    found = [f"the GPU's clocks were held back: {reason}; cool it, or give it a higher power mode" for reason in seen]
    events = (after.throttle_events or 0) - (before.throttle_events or 0)
    if events > 0:
        found.append(f"the GPU was throttled {events} times for over-current: choose a lower power mode (nvpmodel -m)")
    return tuple(found)


def state_from_nvml(nvml: Any, bus_id: str) -> GpuState:
    """A GPU's state as NVML tells it.

    Args:
        nvml: the module `pynvml`.
        bus_id: the GPU's place on the PCI bus; empty takes NVML's first.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return GpuState(absent=f"NVML does not start: {error}")
    try:
        handle = nvml.nvmlDeviceGetHandleByPciBusId(bus_id) if bus_id else nvml.nvmlDeviceGetHandleByIndex(0)
        return _from_handle(nvml, handle)
    except nvml.NVMLError as error:
        return GpuState(absent=f"NVML finds no GPU {bus_id or 0}: {error}")
    finally:
        nvml.nvmlShutdown()


def _from_handle(nvml: Any, handle: Any) -> GpuState:
    def ask(name: str, *arguments: int) -> Any:
        """One answer, or None where this GPU, this driver or this module has none."""
        try:
            return getattr(nvml, name)(*arguments)
        except (AttributeError, nvml.NVMLError):
            return None

    # NVML 12.3 renamed the throttle reasons. A module may know the new name where the driver knows the former alone.
    told = (ask(f"nvmlDeviceGetCurrentClocks{word}Reasons", handle) for word in ("Event", "Throttle"))
    bits, milliwatts = next((each for each in told if each is not None), 0), ask("nvmlDeviceGetPowerUsage", handle)
    driver = ask("nvmlSystemGetDriverVersion") or ""
    return GpuState(
        source="NVML",
        driver=driver.decode() if isinstance(driver, bytes) else driver,
        clock_mhz=ask("nvmlDeviceGetClockInfo", handle, NVML_SM),
        max_clock_mhz=ask("nvmlDeviceGetMaxClockInfo", handle, NVML_SM),
        memory_clock_mhz=ask("nvmlDeviceGetClockInfo", handle, NVML_MEMORY),
        temperature_c=ask("nvmlDeviceGetTemperature", handle, NVML_TEMPERATURE_GPU),
        power_w=None if milliwatts is None else milliwatts / 1e3,
        throttle=tuple(name for bit, name in THROTTLES.items() if bits & bit),
    )


def pci_bus_id() -> str:
    """Place of CUDA's device 0, which NVML may count otherwise; empty where the driver does not tell."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return ""
    text, handle = ctypes.create_string_buffer(32), ctypes.c_int()
    steps: tuple[Callable[[], int], ...] = (
        lambda: library.cuInit(0),
        lambda: library.cuDeviceGet(ctypes.byref(handle), 0),
        lambda: library.cuDeviceGetPCIBusId(text, len(text), handle),
    )
    return "" if any(step() for step in steps) else text.value.decode()


def _jetson_gpu(system: Path) -> Path | None:
    """The folder in which a Jetson's kernel tells its GPU's frequency; None on another machine."""
    folders = sorted((system / "class" / "devfreq").glob("*"))
    return next((folder for folder in folders if JETSON_GPU.search(folder.name)), None)


def _from_jetson(system: Path, gpu: Path) -> GpuState:
    alerts = [
        kind
        for device in sorted((system / "class" / "thermal").glob("cooling_device*"))
        if JETSON_ALERT in (kind := _text(device / "type")) and (_number(device / "cur_state") or 0) > 0
    ]
    events = [_number(path) for path in sorted((system / "class" / "hwmon").glob("hwmon*/oc*_event_cnt"))]
    known = [count for count in events if count is not None]
    return GpuState(
        source="the kernel's devfreq, hwmon and thermal files, and nvpmodel",
        clock_mhz=_megahertz(gpu / "cur_freq"),
        max_clock_mhz=_megahertz(gpu / "max_freq"),
        min_clock_mhz=_megahertz(gpu / "min_freq"),
        throttle=tuple(alerts),
        throttle_events=sum(known) if known else None,
        power_mode=_power_mode(),
    )


def _power_mode() -> str:
    """Such as `MAXN`; what went wrong where nvpmodel does not say."""
    try:
        done = subprocess.run(NVPMODEL, capture_output=True, text=True, timeout=NVPMODEL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown: nvpmodel -q failed: {error}"
    found = re.search(r"Power Mode:\s*(.+)", done.stdout)
    return found[1].strip() if found else f"unknown: nvpmodel -q exited with {done.returncode}"


def _megahertz(path: Path) -> float | None:
    hertz = _number(path)
    return None if hertz is None else hertz / 1e6


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    """Text of a file of the system, empty where it has none or does not let this user read it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
