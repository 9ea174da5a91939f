"""What a measurement ran on: processor, cores, and what else kept them busy meanwhile."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_PROC = Path("/proc")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_DEVICE_MODEL = _PROC / "device-tree" / "model"
_IDLE_COLUMNS = (3, 4)
"""`idle` and `iowait` of a `cpu` line in /proc/stat; see proc_stat(5)."""
_COUNTED_COLUMNS = 8
"""user … steal; guest time, which follows, is already in user."""


@dataclass(frozen=True)
class Machine:
    """What a reader needs to compare figures.

    Attributes:
        cpu: the processor's name.
        device: the board's name where it tells one (Jetson, Raspberry Pi), else empty.
        cores: processors that this process may use.
        architecture: x86_64, aarch64, …
        system: operating system and its release.
        governor: of the clock frequency where the system tells it, else empty.
    """

    cpu: str
    device: str
    cores: int
    architecture: str
    system: str
    governor: str


@dataclass(frozen=True)
class Load:
    """What else ran during a measurement.

    Attributes:
        load_average_before, load_average_after: of the last minute, None where the system has none.
        others_cores: mean number of this process's cores that others (a hypervisor too) used, None where unknown.
        cores: processors that this process may use.
    """

    load_average_before: float | None
    load_average_after: float | None
    others_cores: float | None
    cores: int


def describe_machine() -> Machine:
    """The machine of this process."""
    return Machine(
        cpu=_cpu_name(),
        device=_read(_DEVICE_MODEL).strip("\0\n "),
        cores=len(usable_cpus()),
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        governor=_read(_GOVERNOR).strip(),
    )


def usable_cpus() -> list[int]:
    """Numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class LoadMeter:
    """Context manager that measures what other processes used of this process's cores; read `load` after it.

    The load average looks back over a minute, so that it still shows the training that ended just before. The time that
    the processors were busy, less this process's own, tells of the measurement itself.
    """

    load: Load

    def __enter__(self) -> LoadMeter:
        """Start to measure."""
        self._average_before = _load_average()
        self._busy_before = busy_seconds(_read(_PROC / "stat"), usable_cpus())
        self._own_before, self._wall_before = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Set `load`."""
        cpus = usable_cpus()
        own, wall = time.process_time() - self._own_before, time.perf_counter() - self._wall_before
        busy = busy_seconds(_read(_PROC / "stat"), cpus)
        others = None
        if self._busy_before is not None and busy is not None and wall > 0:
            others = max(0.0, (busy - self._busy_before - own) / wall)
        self.load = Load(self._average_before, _load_average(), others, len(cpus))


def busy_seconds(stat: str, cpus: list[int]) -> float | None:
    """Seconds since boot that some processors were not idle, from the text of /proc/stat; None where not told."""
    wanted = {f"cpu{number}" for number in cpus}
    lines = [line.split() for line in stat.splitlines()]
    ticks = [_busy_ticks(words[1:]) for words in lines if words and words[0] in wanted]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def _busy_ticks(columns: list[str]) -> int:
    return sum(int(value) for i, value in enumerate(columns[:_COUNTED_COLUMNS]) if i not in _IDLE_COLUMNS)


def _load_average() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _cpu_name() -> str:
    for line in _read(_PROC / "cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> str:
    """Text of a file of the system, empty where this system has none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
