"""Images from folders: found, decoded once, cut into batches by step number; arrays of pictures as tensors.

Letters: N images, B batch, H W size in pixels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from whymask.runtime import images
from whymask.runtime.card import InputCard
from whymask.runtime.errors import InputError

CROP_MARGIN = 1.15
"""Training images are kept this much larger than the input, so that crops are cut rather than enlarged."""

SMALLEST_CROP = 0.6
"""Side of the smallest training crop, as a share of the picture."""


def find_images(roots: Sequence[str | Path]) -> list[Path]:
    """Every image file below the given folders (or the files themselves), sorted, each once.

    Raises:
        InputError: a root does not exist, or there is no image.
    """
    found: dict[Path, Path] = {}  # by where it lies: a folder in two spellings holds the same pictures
    for root in map(Path, roots):
        if not root.exists():
            raise InputError(f"data {root} does not exist; expected a folder of images or an image file")
        for path in [root] if root.is_file() else images.find_images(root):
            found.setdefault(path.resolve(), path)
    if not found:
        raise InputError(
            f"no images below {', '.join(map(str, roots))}; expected files ending in {', '.join(images.SUFFIXES)}"
        )
    return sorted(found.values())


@dataclass(frozen=True)
class Split:
    """Paths for training, and held-out paths for validation and calibration."""

    train: list[Path]
    held_out: list[Path]


def split_images(paths: Sequence[Path], holdout: float, max_holdout: int, seed: int) -> Split:
    """Hold out a seeded random share, at least one image on each side.

    Raises:
        InputError: fewer than two images.
    """
    if len(paths) < 2:
        raise InputError(f"{len(paths)} readable image; at least 2 are needed, one to train on and one to calibrate on")
    order = np.random.default_rng(seed).permutation(len(paths))
    count = min(max(1, round(holdout * len(paths))), max_holdout, len(paths) - 1)
    held = set(order[:count].tolist())
    return Split([p for i, p in enumerate(paths) if i not in held], [p for i, p in enumerate(paths) if i in held])


class ImageStore:
    """Images of one size as uint8 tensors, cached in memory where they fit.

    Args:
        paths: image files.
        card: size and resize rule.
        cache_bytes: decoded images are kept up to this total.
        on_image: called once an image while the cache is filled.

    Attributes:
        unreadable: files that could not be decoded, with the reason; they are left out.
        sha256: of the decoded pixels, image by image, (3, H, W) each: the same pictures elsewhere are the same.

    Raises:
        InputError: no file could be decoded.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        card: InputCard,
        cache_bytes: float = math.inf,
        workers: int = 2,
        on_image: Callable[[], None] | None = None,
    ) -> None:
        self.card, self.workers = card, max(1, workers)
        self.cached = len(paths) * card.height * card.width * 3 <= cache_bytes
        self.unreadable: dict[Path, str] = {}
        self.paths: list[Path] = []
        pixels: list[images.Picture] = []
        digest = hashlib.sha256()
        with ThreadPoolExecutor(self.workers) as pool:
            for path, image in zip(paths, pool.map(self._try_decode, paths), strict=True):
                if on_image:
                    on_image()
                if image is None:
                    continue
                self.paths.append(path)
                digest.update(image.transpose(2, 0, 1).tobytes())
                if self.cached:
                    pixels.append(image)
        if not self.paths:
            first = next(iter(self.unreadable.items()), None)
            raise InputError(f"none of {len(paths)} image files could be decoded; the first: {first}")
        self.sha256 = digest.hexdigest()
        self._pixels = torch.from_numpy(np.stack(pixels)) if self.cached else None

    def _decode(self, path: Path) -> images.Picture:
        return images.fit(images.rgb_from(path), self.card)

    def _try_decode(self, path: Path) -> images.Picture | None:
        try:
            return self._decode(path)
        except (InputError, OSError) as error:
            self.unreadable[path] = str(error).splitlines()[0]
            return None

    def __len__(self) -> int:
        """Number of readable images."""
        return len(self.paths)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """int64 (B,) → uint8 (B, 3, H, W)."""
        if self._pixels is not None:
            return self._pixels.index_select(0, indices).permute(0, 3, 1, 2)
        with ThreadPoolExecutor(self.workers) as pool:
            decoded = list(pool.map(lambda i: self._decode(self.paths[i]), indices.tolist()))
        return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)

    def batches(self, batch_size: int) -> list[Tensor]:
        """Indices of consecutive batches, all images once."""
        return list(torch.split(torch.arange(len(self)), batch_size))


def pixels_from_pictures(pictures: NDArray[np.uint8], device: torch.device | None = None) -> Tensor:
    """Pictures as the loader gives them, uint8 (B, H, W, 3), as float32 (B, 3, H, W) in 0–255 on a device."""
    # What torch shares memory with has to be writable and in order: it warns of the one and refuses the other.
    shared = torch.from_numpy(np.require(pictures, requirements=["C", "W"]))
    return shared.to(device).permute(0, 3, 1, 2).float()


def larger(card: InputCard) -> InputCard:
    """The size at which training images are kept: CROP_MARGIN times the input."""
    return InputCard(
        round(card.height * CROP_MARGIN),
        round(card.width * CROP_MARGIN),
        card.mean,
        card.std,
        card.resize,
        card.crop_fraction,
    )


def batch_indices(step: int, batch_size: int, count: int, seed: int) -> Tensor:
    """Images of a step, int64 (batch_size,): every epoch visits each image once, in its own seeded order.

    A function of its arguments alone, so that a resumed run continues the same sequence.
    """
    positions = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // count
    parts = []
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        parts.append(order[positions[epochs == epoch] % count])
    return torch.cat(parts)


def draw_crops(count: int, generator: torch.Generator) -> Tensor:
    """A random crop an image, mirrored half the time.

    Returns:
        float32 (B, 2, 3) on the CPU, for `cropped`: in the picture's own coordinates, −1 to 1, so that the same crop
        can be cut from a map of any size.
    """
    draws = torch.rand(4, count, generator=generator)
    scale = SMALLEST_CROP + (1 - SMALLEST_CROP) * draws[0]
    mirror = torch.where(draws[1] < 0.5, -1.0, 1.0)
    shift_x, shift_y = (1 - scale) * (2 * draws[2] - 1), (1 - scale) * (2 * draws[3] - 1)
    zero = torch.zeros_like(scale)
    return torch.stack([torch.stack([scale * mirror, zero, shift_x], 1), torch.stack([zero, scale, shift_y], 1)], 1)


def cropped(maps: Tensor, crops: Tensor, height: int, width: int) -> Tensor:
    """Cut crops and resize them.

    Args:
        maps: uint8 or float (B, channels, ·, ·), pictures or maps of them.
        crops: of `draw_crops`, float32 (B, 2, 3), on the same device.
        height, width: of the result.

    Returns:
        float32 (B, channels, height, width), in the range of `maps`.
    """
    grid = F.affine_grid(crops, [len(maps), maps.shape[1], height, width], align_corners=False)
    return F.grid_sample(maps.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
