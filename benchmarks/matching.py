"""Does activation matching do what is published of it? A fresh autoencoder for each of 100 photographs, per classifier.

    python -m whymask.benchmarks.matching run resnet18_noncommercial --setting published   # many hours without a GPU
    python -m whymask.benchmarks.matching run resnet18_noncommercial --setting ours
    python -m whymask.benchmarks.matching page                       # → benchmarks/results/matching/README.md

Two claims of arXiv 2509.23051 and 2509.25686 are judged: that 2 to 5 % of the pixels keep the class, and that the
classifier is surer of the explanation than of the picture. What is published shows examples; here every picture counts.
Pictures that are done are kept in `runs/matching/`: an interrupted run goes on where it stopped.

Letters: B pictures of a chunk, H W the input size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from whymask.benchmarks.baselines import centre_map, random_map
from whymask.benchmarks.evaluation import spread
from whymask.benchmarks.imagenet import REPOSITORY, RESULTS, data_root, evaluation_sets, frozen_classifier
from whymask.benchmarks.machine import describe_machine
from whymask.benchmarks.masking import background_from_fill, compose, keep_first, pixel_order
from whymask.benchmarks.matching_page import KIND, SCHEMA_VERSION, page_from_records, read_record, result_lines
from whymask.benchmarks.method_clock import DEVICE_DEFAULT, DEVICE_HELP, Clock, settings_of_device
from whymask.benchmarks.picture_work import picture_name, read_work, write_work
from whymask.benchmarks.pictures import chunks, read_all
from whymask.benchmarks.program import run_program
from whymask.benchmarks.records import json_from_report
from whymask.benchmarks.refinement import ask_from_classifier
from whymask.benchmarks.result_pages import write_page
from whymask.runtime.card import InputCard
from whymask.runtime.certificate import softmax
from whymask.runtime.errors import InputError, MissingExtra
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import Progress, track
from whymask.runtime.regions import label_regions
from whymask.runtime.versions import installed_versions

if TYPE_CHECKING:
    from whymask.train.classifier import FrozenClassifier
    from whymask.train.matching.config import MatchingConfig

FOLDER, WORK = RESULTS / "matching", REPOSITORY / "runs" / "matching"
SET = "photos_ccby"
PUBLISHED, OURS = "published", "ours"
OTHER_FILLS = {"kept_on_black": (0.0, 0.0, 0.0), "kept_on_white": (255.0, 255.0, 255.0)}
"""RGB in 0–255 of dropped pixels that no network saw: an explanation should not hang on the fill."""
SETTINGS = (PUBLISHED, OURS)
"""Whether robustness is counted without a gradient, as the published code has it, or pushes the mask."""


def config_from(setting: str, network: str, answer: str, steps: int, seed: int) -> MatchingConfig:
    """The configuration of a setting.

    Raises:
        InputError: an unknown setting, or what the configuration refuses.
        MissingExtra: torch is not installed.
    """
    if setting not in SETTINGS:
        raise InputError(f"--setting: got {setting!r}, expected {' or '.join(SETTINGS)}")
    try:
        from whymask.train.matching.config import MatchingConfig
    except ImportError as error:
        raise MissingExtra(error.name or "torch", "train", "train autoencoders") from None
    return MatchingConfig(steps, network=network, as_published=setting == PUBLISHED, answer=answer, seed=seed)


def measure_chunk(
    classifier: FrozenClassifier,
    names: Sequence[str],
    pictures: NDArray[np.uint8],
    config: MatchingConfig,
    on_step: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Explain a chunk of pictures and judge their hard masks: a record a picture.

    Args:
        classifier: asked, never changed.
        names: of the pictures; they seed the random masks.
        pictures: uint8 (B, H, W, 3).
        config: how.
        on_step: told after each step how many are done.
    """
    import torch

    from whymask.train.data import pixels_from_pictures
    from whymask.train.matching.loop import match

    ask = ask_from_classifier(classifier)
    before = ask(pictures)
    target = before.argmax(axis=1)
    device = classifier.mean.device
    pixels, asked, clock = pixels_from_pictures(pictures, device), torch.from_numpy(target).to(device), Clock(device)
    with clock.counted():
        masks = match(classifier, pixels, asked, config, on_step).masks.cpu().numpy() >= np.float32(0.5)
    fill = background_from_fill(config.fill)
    shown = {name: ask(compose(pictures, each, fill)) for name, each in _beside(masks, names).items()}
    for name, colour in OTHER_FILLS.items():
        shown[name] = ask(compose(pictures, masks, background_from_fill(colour)))
    return [
        {
            "picture": name,
            "class": int(target[row]),
            "area": round(float(masks[row].mean()), 6),
            **_parts(masks[row]),
            "before": round(float(softmax(before[row])[target[row]]), 6),
            "after": round(float(softmax(shown["kept"][row])[target[row]]), 6),
            **{key: bool(logits[row].argmax() == target[row]) for key, logits in shown.items()},
            "seconds": round(clock.seconds / len(pictures), 4),
        }
        for row, name in enumerate(names)
    ]


def _parts(mask: NDArray[np.bool_]) -> dict[str, float]:
    """How many parts a mask, bool (H, W), is of, and the share of its pixels in the largest; 0 for an empty one."""
    labels, count = label_regions(mask.astype(np.uint8))
    largest = np.bincount(labels.ravel(), minlength=2)[1:].max()
    return {"parts": count, "largest_part": round(float(largest) / max(1, int(mask.sum())), 6)}


def _beside(masks: NDArray[np.bool_], names: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """The masks, their complements, and random and centred ones of equal area in each picture, bool (B, H, W)."""
    height, width = masks.shape[1:]
    rivals: dict[str, list[NDArray[np.bool_]]] = {"kept_by_random": [], "kept_by_centre": []}
    for mask, name in zip(masks, names, strict=True):
        rng, count = np.random.default_rng(list(name.encode())), int(mask.sum())
        maps = (random_map(height, width, rng), centre_map(height, width))
        for rival, values in zip(rivals, maps, strict=True):
            rivals[rival].append(keep_first(pixel_order(values, rng), count, height, width))
    return {"kept": masks, "kept_without": ~masks, **{name: np.stack(each) for name, each in rivals.items()}}


def measure(
    classifier: FrozenClassifier, files: Sequence[Path], config: MatchingConfig, batch: int, work: Path
) -> list[dict[str, Any]]:
    """Explain every picture that `work` does not hold yet, and give the records of all, in the order of the files.

    Args:
        classifier: asked, never changed.
        files: pictures.
        config: how.
        batch: pictures that are explained together, at least 1.
        work: JSON lines of the pictures done, the settings first.

    Raises:
        ArtefactError: `work` is of other settings.
    """
    rule = classifier.rule.to_card()
    size = [rule.height, rule.width]
    settings = {"schema": SCHEMA_VERSION, "classifier_sha256": classifier.sha256(), "input": size, **asdict(config)}
    settings |= settings_of_device(classifier.mean.device)
    done = read_work(work, json.loads(json.dumps(settings)))
    absent = [file for file in files if picture_name(file) not in done]
    with track(len(absent) * config.steps, "activation matching", "picture steps") as bar:
        for chunk in chunks(absent, batch):
            for record in _records(classifier, chunk, rule, config, bar):
                done[record["picture"]] = record
            write_work(work, settings, done.values())
    return [done[picture_name(file)] for file in files]


def _records(
    classifier: FrozenClassifier, chunk: Sequence[Any], rule: InputCard, config: MatchingConfig, bar: Progress
) -> list[dict[str, Any]]:
    names, pictures = read_all(chunk, rule, "matching")
    return measure_chunk(classifier, names, pictures, config, lambda _: bar.advance(len(names)))


def record_from(
    classifier: FrozenClassifier,
    name: str,
    setting: str,
    config: MatchingConfig,
    pictures: list[dict[str, Any]],
    batch: int,
) -> dict[str, Any]:
    """What is written as JSON: settings, machine, and every picture's own figures."""
    import torch

    from whymask.train.matching.layers import matched_layers

    return {
        "kind": KIND,
        "schema": SCHEMA_VERSION,
        "classifier": name,
        "classifier_sha256": classifier.sha256(),
        "input": [classifier.rule.height, classifier.rule.width],
        "set": SET,
        "setting": setting,
        "config": asdict(config),
        "layers": [[layer.tap.name, layer.weight, layer.cosine] for layer in matched_layers(classifier, config.taps)],
        "batch": batch,
        "threads": torch.get_num_threads(),
        "clock": Clock(classifier.mean.device).words,
        "machine": asdict(describe_machine()),
        "versions": installed_versions(("whymask", "numpy", "torch")),
        "pictures": pictures,
    }


app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@app.command()
def run(
    classifier: str,
    setting: Annotated[str, typer.Option(help="Robustness without a gradient (published), or with it (ours).")] = OURS,
    network: Annotated[str, typer.Option(help="unet or plain.")] = "unet",
    answer: Annotated[str, typer.Option(help="last: the mask at the end; least: the smallest that kept.")] = "last",
    pictures: Annotated[int, typer.Option(min=1, help="Photographs, spread evenly.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="Of Adam a picture.")] = 880,
    size: Annotated[int, typer.Option(min=32, help="Side of the input in pixels.")] = 224,
    batch: Annotated[int, typer.Option(min=1, help="Pictures that are explained together.")] = 4,
    seed: Annotated[int, typer.Option(help="Of networks and backgrounds.")] = 0,
    device: Annotated[str | None, typer.Option(help=DEVICE_HELP, show_default=DEVICE_DEFAULT)] = None,
    work: Annotated[Path, typer.Option(help="Folder of the pictures done so far.")] = WORK,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the result.")] = FOLDER,
) -> None:
    """Explain and judge the pictures of one classifier by one setting.

    Example: python -m whymask.benchmarks.matching run resnet18_noncommercial --setting published
    """
    config = config_from(setting, network, answer, steps, seed)
    from whymask.train.device import device_from_name

    place = device_from_name(device)
    frozen = frozen_classifier(classifier, (size, size)).to(place)
    name = f"{classifier}.{setting}.{network}.{answer}"
    files = spread(evaluation_sets(data_root())[SET], pictures)
    records = measure(frozen, files, config, batch, work / f"{name}.jsonl")
    record = record_from(frozen, classifier, setting, config, records, batch)
    write_atomically(out / f"{name}.json", json_from_report(record) + "\n")
    typer.echo("\n".join(result_lines(json.loads(json.dumps(record)))))
    typer.echo(f"Written: {out / name}.json; next: python -m whymask.benchmarks.matching page")


@app.command()
def page(folder: Annotated[Path, typer.Option(help="Folder of the results.")] = FOLDER) -> None:
    """Write the page of all results in the folder.

    Example: python -m whymask.benchmarks.matching page
    """
    write_page(folder, read_record, page_from_records, "python -m whymask.benchmarks.matching run CLASSIFIER")


if __name__ == "__main__":
    run_program(app)
