from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from colour_graph import Options, card_of
from PIL import Image

from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.images import (
    WHOLE,
    Window,
    find_images,
    fit,
    place_map,
    resize_map,
    rgb_from,
    threshold_for_area,
    window_of,
)

SQUASH = card_of(Options()).input
CROP = dataclasses.replace(SQUASH, resize="crop", crop_fraction=0.5)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        pytest.param(np.zeros((4, 4, 3), np.float32), "float32.*multiply by 255 and cast", id="float"),
        pytest.param(np.full((4, 4, 3), np.nan), "float64 and the array has NaN in it", id="NaN"),
        pytest.param(np.zeros((4, 4, 3), np.int64), "int64, expected uint8", id="int64"),
        pytest.param(np.zeros((4, 4), np.uint8), r"\(4, 4\).*grey picture becomes RGB", id="grey"),
        pytest.param(np.zeros((4, 4, 4), np.uint8), "drop the alpha channel", id="alpha"),
        pytest.param(np.zeros((3, 4, 5), np.uint8), "put the channels last", id="channels first"),
        pytest.param(np.zeros((2, 4, 4, 3), np.uint8), "give a batch to explain_batch", id="batch"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), "an empty picture", id="empty"),
        pytest.param(3, "got builtins.int, expected a uint8 array", id="no picture"),
        pytest.param("absent.png", "absent.png: no such picture file", id="no file"),
    ],
)
def test_what_is_no_rgb_picture_is_refused(image: object, message: str):
    with pytest.raises(InputError, match=message):
        rgb_from(image)


def test_array_path_and_pil_image_are_the_same_picture(tmp_path: Path):
    array = picture(5, 7)
    Image.fromarray(array).save(tmp_path / "a.png")
    for image in (array, tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(array)):
        assert np.array_equal(rgb_from(image), array)


def test_a_photograph_is_turned_upright(tmp_path: Path):
    array = picture(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(array).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(rgb_from(tmp_path / "turned.png"), np.rot90(array, -1))


def test_deep_and_broken_files_are_named(tmp_path: Path):
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(InputError, match=r"deep\.png: more than 8 bits a channel"):
        rgb_from(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"broken\.jpg: cannot be decoded as a picture \("):
        rgb_from(tmp_path / "broken.jpg")


def test_pil_images_that_cannot_be_decoded_are_one_clear_error(tmp_path: Path):
    Image.fromarray(picture(64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])
    with (
        Image.open(tmp_path / "cut.png") as cut,
        pytest.raises(InputError, match=r"^image: cannot be decoded as a picture \(image file is truncated"),
    ):
        rgb_from(cut)
    with Image.open(tmp_path / "whole.png") as closed:
        closed.close()
    with pytest.raises(InputError, match=r"^image: cannot be decoded as a picture \(Operation on closed image\)$"):
        rgb_from(closed)
    with pytest.raises(InputError, match=r"cut\.png: cannot be decoded as a picture \(image file is truncated"):
        rgb_from(tmp_path / "cut.png")


def test_a_callers_pil_image_stays_open():
    image = Image.fromarray(picture(4, 4))
    assert np.array_equal(rgb_from(image), rgb_from(image))


def test_paths_that_cannot_be_looked_at_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match=r"aaa: cannot be read \(File name too long\)$"):
        rgb_from("a" * 5000)

    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(InputError, match=r"locked\.png: cannot be read \(Permission denied\)$"):
        rgb_from(tmp_path / "locked.png")


def test_a_picture_of_the_graphs_size_is_left_alone_without_pillow(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    array = picture(32, 32)
    assert fit(array, SQUASH) is array
    assert fit(array, CROP) is array
    with pytest.raises(MissingExtra, match=r'resize a picture of 5 × 7 .* 32 × 32.*pip install "whymask\[image\]"'):
        fit(picture(5, 7), SQUASH)


@pytest.mark.parametrize(("height", "width"), [(100, 150), (150, 101), (64, 64), (20, 9)])
def test_fit_equals_torchvision(height: int, width: int):
    transforms = pytest.importorskip("torchvision.transforms")
    image = Image.fromarray(picture(height, width))
    squashed = transforms.Resize((32, 32))(image)
    cropped = transforms.CenterCrop(32)(transforms.Resize(64)(image))
    assert np.array_equal(fit(np.asarray(image), SQUASH), np.asarray(squashed))
    assert np.array_equal(fit(np.asarray(image), CROP), np.asarray(cropped))


def test_crop_fractions_that_floating_point_misses_by_a_hair():
    card = dataclasses.replace(CROP, height=224, width=224, crop_fraction=224 / 232)
    assert window_of(232, 464, card) == Window(4 / 232, 120 / 464, 224 / 232, 224 / 464)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (5, 9), (7, 7), (1, 1), (33, 4)])
def test_resize_map_equals_torch(height: int, width: int):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(1).random((2, 14, 11), np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None], (height, width), mode="bilinear", align_corners=False
    )[0]
    resized = resize_map(values, height, width)
    assert resized.dtype == np.float32
    assert np.abs(resized - expected.numpy()).max() <= 1e-6


def test_resize_map_by_hand():
    resized = resize_map(np.array([[0.0, 1.0]], np.float32), 1, 4)
    assert resized.tolist() == [[0.0, 0.25, 0.75, 1.0]]


def test_a_cropped_map_lies_where_the_graph_looked():
    values = np.ones((4, 4), np.float32)
    placed = place_map(values, window_of(100, 200, CROP), 100, 200)
    rows, columns = np.nonzero(placed == 1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (25, 74, 75, 124)
    assert set(np.unique(placed)) == {-1.0, 1.0}


def test_the_whole_picture_is_the_window_where_nothing_is_cropped():
    assert window_of(100, 200, SQUASH) == WHOLE
    assert window_of(32, 32, CROP) == WHOLE


def test_threshold_for_area_keeps_that_share():
    values = np.random.default_rng(2).permutation(100).reshape(10, 10).astype(np.float32)
    for area in (0.01, 0.25, 1.0):
        assert (values >= threshold_for_area(values, area)).mean() == area


def test_find_images_takes_pictures_only(tmp_path: Path):
    for name in ("b.PNG", "a/c.jpeg", "notes.txt", ".hidden.png", ".cache/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_images(tmp_path) == [tmp_path / "a" / "c.jpeg", tmp_path / "b.PNG"]
