"""Where methods without a training loop of their own compute; training itself leaves this to Lightning Fabric."""

from __future__ import annotations

import torch

from whymask.runtime.errors import InputError

KINDS = ("cpu", "cuda", "mps")


def device_from_name(name: str | None) -> torch.device:
    """The device of a name, which has to be there: none takes another's place.

    Args:
        name: `cpu`, `cuda`, `cuda:1` or `mps`; None takes CUDA's first GPU where torch sees one, else the processor.

    Raises:
        InputError: another name, or a device that this machine or this build of torch lacks.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, place = name.partition(":")
    if kind not in KINDS or (place and not place.isdecimal()) or name.endswith(":"):
        raise InputError(f"--device: got {name!r}, expected cpu, cuda, cuda:N or mps")
    count = _count(kind)
    if int(place or 0) >= count:
        sees = f"{count} of that kind" if count else "none of that kind"
        raise InputError(f"--device {name}: torch {torch.__version__} sees {sees} here; name another, or leave it out")
    return torch.device(name)


def device_label(device: torch.device) -> str:
    """What to call it in a record: the GPU's model, else its kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _count(kind: str) -> int:
    if kind == "cuda":
        return torch.cuda.device_count()
    return int(kind == "cpu" or torch.backends.mps.is_available())
