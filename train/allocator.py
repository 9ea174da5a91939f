"""Keep freed memory inside the process: on a CPU, training otherwise spends a third of its time on page faults."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # from glibc's malloc.h
_NEVER = 2**31 - 1
_PAD_BYTES = 256 * 2**20


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to reuse large blocks instead of returning them to the system.

    Measured on MobileNetV2 at 160 px, batch 24, 2 cores: 0.41 → 0.29 s a step.

    Returns:
        whether it took effect; False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _PAD_BYTES))
    return all(mallopt(option, value) for option, value in settings)
