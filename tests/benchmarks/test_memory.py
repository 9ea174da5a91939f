"""What a process and a GPU hold: something is allocated, and it is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from whymask.benchmarks.memory import NO_GPU, MemoryMeter
from whymask.runtime.cudart import CudaError
from whymask.runtime.errors import BackendError

MIB = 1 << 20
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the resident set is read from Linux's /proc")


def marks_of(allocation: str) -> tuple[int, int, int]:
    """Resident set before and after an allocation, and the peak, in a process whose memory nothing else has used."""
    program = f"""
import numpy as np
from whymask.benchmarks.memory import MemoryMeter
meter = MemoryMeter()
meter.mark("before", False)
{allocation}
meter.mark("after", False)
memory = meter.memory()
assert [mark.name for mark in memory.marks] == ["before", "after"]
print(*(mark.rss_bytes for mark in memory.marks), memory.peak_rss_bytes)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    before, after, peak = map(int, told.split())
    return before, after, peak


@linux
def test_what_is_allocated_between_two_marks_is_in_the_resident_set():
    before, after, _ = marks_of("held = np.ones(64 << 20, np.uint8)")
    assert after - before == pytest.approx(64 * MIB, rel=0.2)


@linux
def test_the_peak_remembers_what_was_freed():
    before, after, peak = marks_of("held = np.ones(96 << 20, np.uint8)\ndel held")
    assert after - before < 32 * MIB
    assert peak - before > 90 * MIB


def test_without_a_gpu_its_memory_is_absent_with_the_reason_and_never_zero():
    meter = MemoryMeter()
    meter.mark("before", on_gpu=False)
    memory = meter.memory()
    assert memory.marks[0].device_used_bytes is None
    assert memory.marks[0].absent == {"device_used_bytes": NO_GPU}
    assert (memory.device_total_bytes, memory.absent["device_total_bytes"]) == (None, NO_GPU)


def test_a_gpus_memory_in_use_is_what_is_not_free(monkeypatch: pytest.MonkeyPatch):
    free = iter([60 * MIB, 48 * MIB])
    cuda = SimpleNamespace(memory_info=lambda: (next(free), 80 * MIB))
    opened = []
    monkeypatch.setattr("whymask.benchmarks.memory.open_cuda", lambda: opened.append(1) or cuda)
    meter = MemoryMeter()
    meter.mark("before", on_gpu=True)
    meter.mark("loaded", on_gpu=True)
    memory = meter.memory()
    assert [mark.device_used_bytes for mark in memory.marks] == [20 * MIB, 32 * MIB]
    assert (memory.device_total_bytes, memory.absent, len(opened)) == (80 * MIB, {}, 1)


@pytest.mark.parametrize(
    "error", [BackendError("no GPU can be used: no driver"), CudaError("cudaMemGetInfo", 2, "", "", (), False)]
)
def test_a_gpu_that_does_not_answer_is_absent_with_what_it_said(error, monkeypatch: pytest.MonkeyPatch):
    def refuse():
        raise error

    monkeypatch.setattr("whymask.benchmarks.memory.open_cuda", refuse)
    meter = MemoryMeter()
    meter.mark("before", on_gpu=True)
    assert meter.memory().marks[0].absent == {"device_used_bytes": str(error)}
    assert meter.memory().absent["device_total_bytes"] == str(error)


def test_without_proc_the_resident_set_is_absent_and_the_peak_comes_from_getrusage(tmp_path: Path):
    meter = MemoryMeter(tmp_path / "status")
    meter.mark("before", on_gpu=False)
    memory = meter.memory()
    assert memory.marks[0].rss_bytes is None
    assert memory.marks[0].absent["rss_bytes"].endswith("status has no VmRSS")
    assert memory.peak_rss_bytes > 10 * MIB
