from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from whymask.runtime.card import InputCard
from whymask.runtime.errors import InputError
from whymask.train.data import (
    ImageStore,
    batch_indices,
    cropped,
    draw_crops,
    find_images,
    pixels_from_pictures,
    split_images,
)

CARD = InputCard(16, 20, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_files_that_cannot_be_decoded_are_named_and_left_out(tmp_path: Path, pictures: Path) -> None:
    good = find_images([pictures])[:3]
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(b"not a picture")
    store = ImageStore([*good, bad], CARD)
    assert store.paths == good
    assert list(store.unreadable) == [bad]
    assert "broken.jpg" in store.unreadable[bad]


def test_no_readable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(InputError, match="none of 1 image files could be decoded"):
        ImageStore(find_images([tmp_path]), CARD)


def test_missing_and_empty_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_images([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="no images below"):
        find_images([tmp_path])


def test_images_decoded_anew_equal_the_cached_ones(pictures: Path) -> None:
    paths = find_images([pictures])[:4]
    indices = torch.tensor([3, 0])
    cached, anew = ImageStore(paths, CARD), ImageStore(paths, CARD, cache_bytes=0)
    assert not anew.cached
    assert torch.equal(cached[indices], anew[indices])
    assert cached[indices].shape == (2, 3, 16, 20)


def test_held_out_images_are_apart_and_seeded(pictures: Path) -> None:
    paths = find_images([pictures])
    split = split_images(paths, 0.25, 100, seed=3)
    assert len(split.held_out) == 6
    assert sorted(split.train + split.held_out) == paths
    assert split == split_images(paths, 0.25, 100, seed=3)
    assert split != split_images(paths, 0.25, 100, seed=4)
    with pytest.raises(InputError, match="at least 2 are needed"):
        split_images(paths[:1], 0.25, 100, seed=0)


def test_an_epoch_visits_each_image_once_and_a_step_depends_on_its_number_alone() -> None:
    seen = torch.cat([batch_indices(step, 4, 10, seed=5) for step in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_crops_are_seeded_and_stay_in_range() -> None:
    pixels = torch.randint(0, 256, (6, 3, 20, 24), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    drawn = draw_crops(6, torch.Generator().manual_seed(1))
    crops = cropped(pixels, drawn, 16, 20)
    assert crops.shape == (6, 3, 16, 20)
    assert crops.min() >= 0
    assert crops.max() <= 255
    assert torch.equal(drawn, draw_crops(6, torch.Generator().manual_seed(1)))
    assert not torch.equal(drawn, draw_crops(6, torch.Generator().manual_seed(2)))


def test_pictures_become_tensors_whoever_owns_their_memory() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    expected = torch.tensor(pictures.tolist()).movedim(-1, 1).float()
    pictures.setflags(write=False)
    mirrored = pixels_from_pictures(pictures[:, :, ::-1])
    assert torch.equal(pixels_from_pictures(pictures), expected)
    assert torch.equal(mirrored, expected.flip(3)) and mirrored.dtype == torch.float32


def test_a_folder_in_two_spellings_holds_each_picture_once(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pictures)
    alone = find_images([pictures])
    assert find_images([pictures, pictures / ".." / pictures.name, tmp_path / "link"]) == alone
