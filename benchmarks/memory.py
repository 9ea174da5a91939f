"""How much memory the process and the GPU hold at each step of a measurement.

Read from the system, never estimated. What cannot be read is None, and the reason stands beside it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from whymask.runtime.cudart import Cuda, open_cuda
from whymask.runtime.errors import BackendError

STATUS = Path("/proc/self/status")
RSS, DEVICE, PEAK = "rss_bytes", "device_used_bytes", "peak_rss_bytes"
NO_GPU = "no GPU holds a graph at this moment"


@dataclass(frozen=True)
class MemoryMark:
    """One moment.

    Attributes:
        name: such as `fused loaded`.
        rss_bytes: resident set of this process.
        device_used_bytes: memory of the GPU in use, by all processes; of a Jetson, which shares it, all of the board's.
        absent: names of the fields that are None, each with the reason.
    """

    name: str
    rss_bytes: int | None
    device_used_bytes: int | None
    absent: dict[str, str]


@dataclass(frozen=True)
class Memory:
    """All moments of a measurement.

    Attributes:
        marks: in order; the first graph's share holds the runtime's own libraries as well.
        peak_rss_bytes: highest resident set of this process since it began, also before the first mark.
        device_total_bytes: memory of the GPU.
        absent: names of the fields that are None, each with the reason.
    """

    marks: tuple[MemoryMark, ...]
    peak_rss_bytes: int | None
    device_total_bytes: int | None
    absent: dict[str, str]


@dataclass(frozen=True)
class Loaded:
    """What loading one graph added to the process and to the GPU; of the first, the runtime's libraries as well.

    Attributes:
        rss_bytes: resident set of the process.
        device_used_bytes: memory of the GPU in use.
        absent: names of the fields that are None, each with the reason.
    """

    rss_bytes: int | None
    device_used_bytes: int | None
    absent: dict[str, str]


def loaded_between(before: MemoryMark, after: MemoryMark) -> Loaded:
    """What was added from one moment to the next; None where one of the two is not known."""

    def grown(first: int | None, second: int | None) -> int | None:
        return None if first is None or second is None else second - first

    return Loaded(
        grown(before.rss_bytes, after.rss_bytes),
        grown(before.device_used_bytes, after.device_used_bytes),
        {**before.absent, **after.absent},
    )


class MemoryMeter:
    """Takes note of memory whenever it is asked.

    Args:
        status: the process's state, as Linux writes it.
    """

    def __init__(self, status: Path = STATUS) -> None:
        self._status = status
        self._marks: list[MemoryMark] = []
        self._cuda: Cuda | None = None
        self._total: int | None = None

    def mark(self, name: str, on_gpu: bool) -> None:
        """Take note.

        Args:
            name: of the moment.
            on_gpu: a GPU holds memory of the graphs, so that it is asked; asking costs a CUDA context at first.
        """
        absent: dict[str, str] = {}
        rss = _status_bytes(self._status, "VmRSS")
        if rss is None:
            absent[RSS] = f"{self._status} has no VmRSS"
        used, reason = self._device_used() if on_gpu else (None, NO_GPU)
        if used is None:
            absent[DEVICE] = reason
        self._marks.append(MemoryMark(name, rss, used, absent))

    def memory(self) -> Memory:
        """All that was noted, and the peak until now."""
        absent: dict[str, str] = {}
        peak = _status_bytes(self._status, "VmHWM") or _peak_from_rusage()
        if peak is None:
            absent[PEAK] = f"{self._status} has no VmHWM, and this system has no getrusage"
        if self._total is None:
            absent["device_total_bytes"] = self._marks[-1].absent[DEVICE] if self._marks else NO_GPU
        return Memory(tuple(self._marks), peak, self._total, absent)

    def _device_used(self) -> tuple[int | None, str]:
        """Bytes in use, or None and the reason."""
        try:
            self._cuda = self._cuda or open_cuda()
            free, self._total = self._cuda.memory_info()
        except BackendError as error:
            return None, str(error)
        return self._total - free, ""


def _status_bytes(status: Path, name: str) -> int | None:
    """A figure of /proc/self/status, which counts in kB of 1024 bytes; None where there is none."""
    try:
        text = status.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{name}:\s*(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _peak_from_rusage() -> int | None:
    """What getrusage says: kilobytes on Linux, bytes on macOS; None on Windows, which has none."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
