"""Ground truth: read from every form, brought to the graph's input, broken rows named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from whymask.benchmarks.imagenet import data_root
from whymask.benchmarks.truth_files import picture_size
from whymask.benchmarks.truth_sets import (
    TruthSet,
    boxed_images,
    fit_mask,
    mosaics,
    planted_objects,
    procedural,
    truth_for,
    where_predicted,
)
from whymask.runtime.card import InputCard
from whymask.runtime.errors import InputError

RULE = InputCard(8, 8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def photo(path: Path, height: int = 16, width: int = 32) -> Path:
    return save(path, np.full((height, width, 3), 90, np.uint8))


def half(height: int = 16, width: int = 32) -> np.ndarray:
    """The left half is object."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    return mask


def planted(root: Path) -> Path:
    photo(root / "images" / "a.png").rename(root / "images" / "a.jpg")
    save(root / "masks" / "a.png", half())
    root.with_suffix(".csv").write_text("name,class_index\na,7\n")
    return root


def boxed(root: Path, boxes: str = '"[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]"') -> Path:
    for i in range(4):
        photo(root / f"{i}.png")
    rows = "".join(f"{i}.png,{i},{boxes}\n" for i in range(4))
    root.with_suffix(".csv").write_text(f"file,class_index,boxes_xyxy_normalised\n{rows}")
    return root


def test_planted_objects_bring_their_pixels_and_class(tmp_path: Path):
    found = planted_objects(planted(tmp_path / "planted"))
    assert (found.name, len(found), found.classes) == ("planted", 1, (7,))
    assert found.truth(0, RULE).sum(axis=0).tolist() == [8, 8, 8, 8, 0, 0, 0, 0]


def test_boxes_of_a_picture_are_joined_and_the_odd_half_is_taken(tmp_path: Path):
    found = boxed_images(boxed(tmp_path / "boxes"))
    assert [path.name for path in found.images] == ["1.png", "3.png"]
    assert found.classes == (1, 3)
    expected = np.kron(np.eye(2), np.ones((4, 4))).astype(bool)
    assert np.array_equal(found.truth(1, RULE), expected)
    assert len(boxed_images(tmp_path / "boxes", "all")) == 4


def test_truth_is_cropped_as_the_picture_is(tmp_path: Path):
    crop = replace(RULE, resize="crop")
    save(tmp_path / "masks" / "a.png", half())
    found = truth_for(f"masks:{tmp_path / 'masks'}", [photo(tmp_path / "a.png")])
    # A square from the middle of 16 × 32: columns 8 to 23, of which the first eight are object.
    assert found.truth(0, crop).sum(axis=0).tolist() == [8, 8, 8, 8, 0, 0, 0, 0]
    corner = np.zeros((16, 32), bool)
    corner[:, :4] = True
    assert not fit_mask(corner, (16, 32), crop).any()
    assert fit_mask(corner, (16, 32), RULE).sum() == 8


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_every_kind_of_png_mask_is_read_alike(tmp_path: Path, mode: str):
    path = tmp_path / "masks" / "a.png"
    path.parent.mkdir()
    Image.fromarray(half()).convert(mode).save(path)
    found = truth_for(f"masks:{path.parent}", [photo(tmp_path / "a.png"), photo(tmp_path / "other.png")])
    assert [image.name for image in found.images] == ["a.png"]
    assert found.truth(0, RULE).mean() == 0.5


def test_boxes_in_pixels_belong_to_the_picture_that_their_path_ends_with(tmp_path: Path):
    csv = tmp_path / "boxes.csv"
    csv.write_text(
        "file,left,top,right,bottom\none/a.png,0,0,16,16\ntwo/a.png,0,0,32,8\nb.png,0,0,8,4\nb.png,24,0,40,4\n"
    )
    images = [photo(tmp_path / name) for name in ("one/a.png", "two/a.png", "x/b.png", "c.png")]
    found = truth_for(f"boxes:{csv}", images)
    assert list(found.images) == images[:3]
    one, two, b = (found.truth(i, RULE) for i in range(3))
    assert one.sum(axis=0).tolist() == [8] * 4 + [0] * 4
    assert two.sum(axis=1).tolist() == [8] * 4 + [0] * 4
    assert b.sum(axis=0).tolist() == [2, 2, 0, 0, 0, 0, 2, 2]


def test_a_picture_that_was_taken_upright_counts_so(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((16, 32, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert picture_size(tmp_path / "a.jpg") == (32, 16)


def test_only_pictures_whose_class_is_predicted_stay():
    images = tuple(np.full((8, 8, 3), 40 * i, np.uint8) for i in range(4))
    marked = TruthSet("four", images, lambda i, rule: np.full((8, 8), i % 2 == 0), classes=(0, 1, 0, 1))

    def ask(pictures: np.ndarray) -> np.ndarray:
        return np.eye(2, dtype=np.float32)[(pictures[:, 0, 0, 0] > 60).astype(int)]

    kept = where_predicted(marked, ask, RULE)
    assert [int(image[0, 0, 0]) for image in kept.images] == [0, 120]
    assert kept.classes == (0, 1)
    assert [kept.truth(i, RULE).all() for i in range(2)] == [True, False]
    with pytest.raises(InputError, match="the classifier sees the object's class in none of 2"):
        where_predicted(marked.at([1, 2]), ask, RULE)
    with pytest.raises(InputError, match="its classes are not known"):
        where_predicted(replace(marked, classes=None), ask, RULE)


def test_a_mosaic_holds_four_classes_and_its_truth_is_the_asked_tile():
    colours = np.arange(5, dtype=np.uint8) * 50
    pictures = np.broadcast_to(colours[:, None, None, None], (5, 8, 8, 3)).copy()
    found = mosaics(pictures, np.arange(5), RULE, 6, seed=1)
    corners = found.images[:, [0, 0, -1, -1], [0, -1, 0, -1], 0]
    assert np.array_equal(corners, found.classes * 50)
    assert all(len(set(row)) == 4 for row in found.classes.tolist())
    truth = found.truth_set()
    for i in range(6):
        inside = truth.truth(i, RULE)
        assert inside.sum() == 16
        assert (found.images[i][inside] == 50 * truth.classes[i]).all()
    assert np.array_equal(mosaics(pictures, np.arange(5), RULE, 6, seed=1).images, found.images)
    with pytest.raises(InputError, match="sees 3 classes in these pictures; at least 4 are needed"):
        mosaics(pictures, np.array([0, 1, 2, 2, 2]), RULE, 1)


def test_drawn_shapes_bring_exact_masks():
    found = procedural(3, 32, seed=4)
    assert len(found) == 3
    assert all(0.02 < found.truth(i, replace(RULE, height=32, width=32)).mean() < 0.6 for i in range(3))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,5,0,5,4", r"line 2: box \['5', '0', '5', '4'\], expected 0 ≤ left < right and 0 ≤ top < bottom"),
        ("a.png,x,0,5,4", "line 2: box .* expected the four numbers"),
        ("a.png,1,0,5", "line 2: a field is empty"),
        ("a.png,99,0,120,4", "line 2: the box lies outside of its picture of 32 × 16 pixels"),
        ("b.png,1,0,5,4", "lists 1 files, none of them one of the 1 pictures"),
        ("a.png,nan,0,5,4", "line 2: box .* expected 0 ≤ left"),
        ("a.png,0,0,inf,4", "line 2: box .* expected 0 ≤ left < right and 0 ≤ top < bottom, all finite"),
    ],
)
def test_a_broken_row_is_named_with_its_line(tmp_path: Path, row: str, message: str):
    csv = tmp_path / "boxes.csv"
    csv.write_text(f"file,left,top,right,bottom\n{row}\n")
    with pytest.raises(InputError, match=message):
        truth_for(f"boxes:{csv}", [photo(tmp_path / "a.png")])


@pytest.mark.parametrize(
    "content", [b"\xff\xfe,0,0,5,4", b"a.png," + b"1" * 200_000 + b",0,5,4"], ids=["encoding", "field"]
)
def test_a_file_that_is_no_csv_is_one_clear_error(tmp_path: Path, content: bytes):
    csv = tmp_path / "boxes.csv"
    csv.write_bytes(b"file,left,top,right,bottom\n" + content)
    with pytest.raises(
        InputError, match=r"boxes\.csv: cannot be read \(.*\), expected a CSV in UTF-8 with the columns f"
    ):
        truth_for(f"boxes:{csv}", [photo(tmp_path / "a.png")])


def test_broken_files_are_named(tmp_path: Path):
    image = photo(tmp_path / "a.png")
    with pytest.raises(InputError, match="truth: 'outline:x', expected masks:DIR"):
        truth_for("outline:x", [image])
    with pytest.raises(InputError, match="no such folder"):
        truth_for(f"masks:{tmp_path / 'absent'}", [image])
    with pytest.raises(InputError, match="no such file, expected a CSV with the columns file, left"):
        truth_for("boxes:absent.csv", [image])
    (tmp_path / "short.csv").write_text("file,left\na.png,1\n")
    with pytest.raises(InputError, match="no column top, right, bottom"):
        truth_for(f"boxes:{tmp_path / 'short.csv'}", [image])
    mask = save(tmp_path / "masks" / "a.png", half(8, 8))
    with pytest.raises(InputError, match=r"8 × 8 pixels, its picture \(16, 32\)"):
        truth_for(f"masks:{mask.parent}", [image]).truth(0, RULE)
    save(mask, np.zeros((16, 32), np.uint8))
    with pytest.raises(InputError, match="no pixel above zero"):
        truth_for(f"masks:{mask.parent}", [image]).truth(0, RULE)
    mask.write_bytes(b"no picture")
    with pytest.raises(InputError, match="cannot be read as a picture"):
        truth_for(f"masks:{mask.parent}", [image]).truth(0, RULE)
    with pytest.raises(InputError, match=r"line 3: boxes '\[\]', expected"):
        boxed_images(boxed(tmp_path / "empty", "[]"))


@pytest.mark.data
def test_the_studys_own_sets_are_read():
    try:
        root = data_root() / "images"
    except InputError as error:
        pytest.skip(str(error))
    rule = replace(RULE, height=160, width=160)
    objects, boxes = planted_objects(root / "planted_objects"), boxed_images(root / "imagenet_val_boxes")
    assert (len(objects), len(boxes)) == (160, 325)
    assert 0.02 < np.mean([objects.truth(i, rule).mean() for i in range(0, 160, 8)]) < 0.5
    assert 0.2 < np.mean([boxes.truth(i, rule).mean() for i in range(0, 320, 8)]) < 0.8
