"""A failed call of CUDA's runtime API: which call, which code, what it means, and what to do."""

from __future__ import annotations

from whymask.runtime.errors import BackendError

INSUFFICIENT_DRIVER = 35

_CAPTURE = "the work on this stream cannot be captured: load the engine with cuda_graph=False"
_FORKED = "CUDA does not survive a fork: start worker processes with multiprocessing's method `spawn`"
_NO_DEVICE = "whymask doctor shows what the driver sees; CUDA_VISIBLE_DEVICES may hide a GPU"
_OLD_DRIVER = (
    "the driver is older than this CUDA runtime: update it, or take a runtime that is no newer, such as: "
    'pip install "cuda-bindings==12.*"'
)
_REMEDIES = {
    2: "close other programs that use the GPU, or run smaller batches; nvidia-smi or tegrastats shows what is free",
    3: _FORKED,
    INSUFFICIENT_DRIVER: _OLD_DRIVER,
    46: "another process holds the GPU for itself: end it, or set its compute mode back to default",
    100: _NO_DEVICE,
    101: _NO_DEVICE,
    209: "this build of the library has no kernels for this GPU: take one built for its compute capability",
    803: "driver and its libraries are of different versions, as after an update: restart the machine",
    804: "this GPU takes no newer CUDA than its driver's: update the driver",
    **dict.fromkeys(range(900, 911), _CAPTURE),
}
_RESTART = "the error stays with this process and every later call fails too: the process must be restarted"
_STICKY = frozenset({214, 700, 702, *range(714, 721)})
"""Codes after which CUDA's context is lost: memory faults, illegal instructions, time-outs, failed launches."""
_OTHERWISE = "whymask doctor shows what this machine can run"


class CudaError(BackendError):
    """A call of CUDA's runtime API failed.

    Args:
        call: name of the function.
        code: its return code.
        name, text: what CUDA calls the code, and how it explains it.
        arguments: what the function was called with.
        stays: whether CUDA still reports the error after it was cleared.

    Attributes:
        call, code, name: as above.
        remedy: what to do.
    """

    def __init__(self, call: str, code: int, name: str, text: str, arguments: tuple[object, ...], stays: bool) -> None:
        remedy = _RESTART if code in _STICKY else _REMEDIES.get(code, _RESTART if stays else _OTHERWISE)
        with_what = f" (called with {', '.join(str(argument) for argument in arguments)})" if arguments else ""
        super().__init__(f"{call} failed: error {code} ({name}): {text}{with_what}; {remedy}")
        self.call, self.code, self.name, self.remedy = call, code, name, remedy

    def __reduce__(self) -> tuple[type[BackendError], tuple[str]]:
        """Pickle as its base: worker processes send errors home by message."""
        return BackendError, (str(self),)
