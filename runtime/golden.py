"""The golden bundle: pictures with the right answers to them, by which a device verifies a graph or an engine alone.

One `.npz` file that numpy reads without pickle:

    meta        uint8, UTF-8 of a JSON object: schema, source, is_synthetic, card_sha256, tolerances by precision
    card        uint8, UTF-8 of the card's JSON
    images      uint8 (N, H, W, 3), RGB 0–255, at the graph's input size
    targets     int64 (N,), the classes asked for, −1 for the predicted one; absent where none was asked for
    against     int64 (N,), the classes that these are held against, −1 for none; absent as above
    output.X    the reference's output X for them: (N, …), X being logits, saliency and mask, and, where the graph has
                them, classes, class_saliency and class_mask

Letters: N pictures, H W the graph's input size.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.backends import CLASS_OUTPUTS, OUTPUTS, REQUIRED_OUTPUTS, Arrays, Backend, contract_shape
from whymask.runtime.batches import OnPictures, run_all
from whymask.runtime.bounds import Bounds, Form, bounds_of, check_one_model, form_of, tolerances_from
from whymask.runtime.card import AGAINST, CLASSES, LOGITS, TARGET, Card
from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import write_atomically
from whymask.runtime.from_json import record_from_json
from whymask.runtime.images import Picture
from whymask.runtime.parity import Tolerances, compare, logit_scale, own_figures

GOLDEN_SCHEMA = 1
AGAIN = "whymask export RUN -o FILE.onnx --golden 16"
OUTPUT = "output."
"""What an output's name begins with inside the file."""
KEYS = {TARGET: "targets", AGAINST: "against"}
"""Names inside the file of what the graph's inputs ask for."""
OPTIONS = {TARGET: "--target", AGAINST: "--contrast"}
"""Options of `whymask export` that add these inputs."""


@dataclass(frozen=True)
class Golden:
    """Pictures with the right answers to them.

    Attributes:
        images: uint8, (N, H, W, 3), RGB 0–255.
        targets: int64, (N,), classes that were asked for, −1 for the predicted one; None where none was.
        outputs: the reference's `logits`, `saliency` and `mask` for them, as in the card's contract, and the maps of
            the likeliest classes where the graph has them.
        tolerances: largest differences allowed, by the precision of the form that is verified.
        card: of the graph that the bundle was written with.
        source: what gave the reference outputs.
        is_synthetic: whether the images are drawn, not photographed.
        against: int64, (N,), classes that the explained ones are held against, −1 for none; None where none was.
    """

    images: Picture
    targets: NDArray[np.int64] | None
    outputs: Arrays
    tolerances: Mapping[str, Tolerances]
    card: Card
    source: str
    is_synthetic: bool
    against: NDArray[np.int64] | None = None

    @property
    def asked(self) -> Arrays:
        """The classes asked for, by the name of the graph's input; nothing where none was."""
        given = {TARGET: self.targets, AGAINST: self.against}
        return {name: values for name, values in given.items() if values is not None}


def golden_bytes(golden: Golden) -> bytes:
    """The whole file of a bundle.

    Args:
        golden: the bundle.
    """
    card = _text(golden.card.to_json())
    meta = {
        "schema": GOLDEN_SCHEMA,
        "source": golden.source,
        "is_synthetic": golden.is_synthetic,
        "card_sha256": _digest(card),
        "tolerances": {precision: bounds.as_dict() for precision, bounds in golden.tolerances.items()},
    }
    arrays: dict[str, Any] = {"meta": _text(json.dumps(meta, ensure_ascii=False)), "card": card}
    arrays |= {"images": golden.images} | {KEYS[name]: values for name, values in golden.asked.items()}
    arrays |= {f"{OUTPUT}{name}": values for name, values in golden.outputs.items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def write_golden(path: Path, golden: Golden) -> None:
    """Write a bundle, whole or not at all.

    Args:
        path: of the `.npz` file.
        golden: the bundle.

    Raises:
        ArtefactError: the file cannot be written.
    """
    write_atomically(path, golden_bytes(golden))


def read_golden(path: Path) -> Golden:
    """Read a bundle and check all that is in it.

    Args:
        path: of the `.npz` file.

    Raises:
        ArtefactError: no such file, cut short, another kind of file, a newer schema, or arrays that do not belong
            together.
    """
    arrays = _arrays(path)
    try:
        return _golden(arrays)
    except KeyError as error:
        raise ArtefactError(
            f"{path}: lacks {error.args[0]!r}, so this is no golden bundle; write one: {AGAIN}"
        ) from None
    except UnicodeDecodeError:
        raise ArtefactError(f"{path}: meta or card is not UTF-8 text; write the bundle again: {AGAIN}") from None
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from None


def verify_golden(
    backend: Backend, golden: Golden, name: str = "graph", on_pictures: OnPictures = lambda count: None
) -> dict[str, float]:
    """Run a graph or an engine on the bundle's pictures and compare it with the bundle's answers.

    Args:
        backend: the loaded graph.
        golden: the bundle.
        name: what to call the graph in messages.
        on_pictures: told of each batch's size when it is done.

    Returns:
        figures by name; `check(figures, golden_bounds(backend, golden).tolerances)` judges them.

    Raises:
        ArtefactError: graph and bundle are of two models, or the graph cannot be asked for the bundle's classes.
    """
    bounds = golden_bounds(backend, golden, name)
    return golden_figures(backend, golden, golden_outputs(backend, golden, name, on_pictures), bounds)


def golden_bounds(backend: Backend, golden: Golden, name: str = "graph") -> Bounds:
    """The bounds of the graph's own precision: its card's, and never looser than the bundle's.

    Args:
        backend, golden, name: see `verify_golden`.

    Raises:
        ArtefactError: graph and bundle are of two models, or the bundle has no tolerances for the graph's precision.
    """
    form = form_of(backend, name)
    check_one_model(form, Form("the golden bundle", golden.card.precision, golden.card))
    own = bounds_of([form])
    if form.precision not in golden.tolerances:
        known = ", ".join(golden.tolerances)
        raise ArtefactError(
            f"{name} is {form.precision}, and the golden bundle has tolerances for {known} alone; "
            f"write it again: {AGAIN}"
        )
    return Bounds(
        own.precision,
        own.tolerances.stricter(golden.tolerances[form.precision]),
        f"{own.source}, and no looser than the bundle's",
    )


def golden_outputs(
    backend: Backend, golden: Golden, name: str = "graph", on_pictures: OnPictures = lambda count: None
) -> Arrays:
    """The graph's outputs for the bundle's pictures.

    Args:
        backend, golden, name, on_pictures: see `verify_golden`.

    Raises:
        ArtefactError: the bundle asks for classes, and the graph has no input for that; or both explain the likeliest
            classes, and not as many of them.
    """
    missing = [asked for asked in golden.asked if asked not in backend.inputs]
    if missing:
        raise ArtefactError(
            f"{name}: has no input {missing[0]!r}, and the golden bundle asks for classes; export both anew with one "
            f"line, with {OPTIONS[missing[0]]} or without"
        )
    _check_top(backend, golden, name)
    return run_all(backend, golden.images, golden.targets, on_pictures, golden.against)


def _check_top(backend: Backend, golden: Golden, name: str) -> None:
    """Refuse a graph that explains another number of classes at once than the bundle holds."""
    tensor, held = backend.outputs.get(CLASSES), golden.outputs.get(CLASSES)
    if tensor is not None and held is not None and tensor.shape[1] != held.shape[1]:
        raise ArtefactError(
            f"{name}: explains {tensor.shape[1]} classes at once, and the golden bundle holds {held.shape[1]}; export "
            "both anew with one line, with the same --top"
        )


def golden_figures(backend: Backend, golden: Golden, outputs: Arrays, bounds: Bounds) -> dict[str, float]:
    """Figures of the graph's outputs for the bundle's pictures.

    Certificate and explanation are judged on the graph's own masks, by the graph's own logits: the classifier's modules
    are not at hand here, and these logits are held to the reference's by the other figures.

    Args:
        backend, golden: see `verify_golden`.
        outputs: as `golden_outputs` gives them.
        bounds: as `golden_bounds` gives them.
    """
    fill = np.asarray(backend.card.fill)
    scale = logit_scale(golden.outputs)
    figures = compare(golden.outputs, outputs, bounds.tolerances, golden.targets)
    return figures | own_figures(outputs, golden.images, fill, lambda images: run_all(backend, images)[LOGITS], scale)


def _text(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _digest(text: NDArray[np.uint8]) -> str:
    return hashlib.sha256(text.tobytes()).hexdigest()


def _arrays(path: Path) -> Arrays:
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file, expected a golden bundle; write one: {AGAIN}")
    if not zipfile.is_zipfile(path):
        raise _broken(path, "no whole .npz file")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _broken(path, error) from None


def _broken(path: Path, reason: object) -> ArtefactError:
    return ArtefactError(
        f"{path}: not a golden bundle ({reason}): cut short on its way here, or another kind of file; copy it again, "
        f"or write one: {AGAIN}"
    )


def _golden(arrays: Arrays) -> Golden:
    meta = record_from_json(arrays["meta"].tobytes().decode(), "golden bundle", GOLDEN_SCHEMA, "write the bundle again")
    if meta["card_sha256"] != _digest(arrays["card"]):
        raise ArtefactError(f"its card is not the one it was written with; write the bundle again: {AGAIN}")
    golden = Golden(
        arrays["images"],
        arrays.get(KEYS[TARGET]),
        {name.removeprefix(OUTPUT): values for name, values in arrays.items() if name.startswith(OUTPUT)},
        {name: tolerances_from(bounds, f"tolerances.{name}") for name, bounds in meta["tolerances"].items()},
        Card.from_json(arrays["card"].tobytes().decode()),
        meta["source"],
        meta["is_synthetic"],
        arrays.get(KEYS[AGAINST]),
    )
    _check_arrays(golden)
    return golden


def _check_arrays(golden: Golden) -> None:
    frame, count = golden.card.input, len(golden.images)
    expected: dict[str, tuple[Any, str, list[Any]]] = {
        "images": (golden.images, "uint8", [count or "N", frame.height, frame.width, 3])
    }
    expected |= {KEYS[name]: (values, "int64", [count]) for name, values in golden.asked.items()}
    for name in (*REQUIRED_OUTPUTS, *(CLASS_OUTPUTS if CLASSES in golden.outputs else ())):
        dtype, letters = OUTPUTS[name]
        expected[OUTPUT + name] = golden.outputs[name], dtype, [count, *contract_shape(letters, golden.card)[1:]]
    for name, (values, dtype, shape) in expected.items():
        _check_array(name, values, dtype, shape)


def _check_array(name: str, values: NDArray[Any], dtype: str, shape: list[Any]) -> None:
    """Refuse another type or shape; a letter in the shape fits any size."""
    fits = len(shape) == values.ndim and all(
        isinstance(want, str) or want == got for want, got in zip(shape, values.shape, strict=True)
    )
    if values.dtype != dtype or not fits or not values.size:
        expected = ", ".join(map(str, shape))
        raise ArtefactError(
            f"{name}: got {values.dtype} {values.shape}, expected {dtype} ({expected}); write the bundle again: {AGAIN}"
        )
