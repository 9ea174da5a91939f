"""What a study of amortized explainers of texts computes once and keeps: MaRC's masks, and trained heads.

Each mask and each head is written as soon as it is there, so that a study that was cut off goes on from it. What was
made with other settings is refused, never used.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whymask.benchmarks.records import json_from_report
from whymask.runtime.errors import ArtefactError
from whymask.runtime.files import write_atomically
from whymask.runtime.progress import track

if TYPE_CHECKING:
    from torch import Tensor

    from whymask.train.text.amortized_config import AmortizedConfig
    from whymask.train.text.amortized_head import TokenMaskHead
    from whymask.train.text.classifier import Tokens
    from whymask.train.text.reading import ReadableClassifier


@dataclass(frozen=True)
class TaughtMasks:
    """MaRC's masks of some texts.

    Attributes:
        masks: float32 (N,) a text.
        seconds: of processor time, one a text.
    """

    masks: list[Tensor]
    seconds: list[float]


@dataclass(frozen=True)
class Student:
    """A trained head.

    Attributes:
        head: in eval mode.
        seconds: of processor time that its training took, masks that it copies included.
        steps: that were made.
        texts: that it learned from.
    """

    head: TokenMaskHead
    seconds: float
    steps: int
    texts: int


def taught_masks(
    classifier: ReadableClassifier,
    texts: Sequence[Tokens],
    settings: Mapping[str, Any],
    file: Path | None,
    seconds: float = math.inf,
) -> TaughtMasks:
    """MaRC's masks of texts' predicted classes, one after the other, kept in a file.

    Args:
        classifier: asked.
        texts: to explain.
        settings: fields of `TextMarcConfig`; text i takes its seed plus i.
        file: JSON; None keeps nothing.
        seconds: of processor time after which no further text is begun.

    Raises:
        ArtefactError: the file was made with other settings.
    """
    import torch

    from whymask.train.text.marc import TextMarcConfig, explain_text

    rows: list[dict[str, Any]] = read_kept(file, settings, "masks") if file is not None and file.is_file() else []
    with track(len(texts) if math.isinf(seconds) else None, "MaRC", "texts") as bar:
        bar.advance(len(rows))
        for number in range(len(rows), len(texts)):
            if sum(row["seconds"] for row in rows) >= seconds:
                break
            begin, tokens = time.process_time(), texts[number]
            target = int(classifier.logits(classifier.embed(torch.tensor([tokens.ids]))).argmax())
            config = TextMarcConfig(**{**settings, "seed": settings["seed"] + number})
            mask = [round(value, 6) for value in explain_text(classifier, tokens, target, config).tolist()]
            rows.append({"seconds": round(time.process_time() - begin, 4), "mask": mask})
            if file is not None:
                write_atomically(file, json_from_report({"settings": dict(settings), "masks": rows}) + "\n")
            bar.advance()
    return TaughtMasks([torch.tensor(row["mask"]) for row in rows], [row["seconds"] for row in rows])


def kept_student(
    classifier: ReadableClassifier,
    name: str,
    config: AmortizedConfig,
    folder: Path,
    train: Callable[[Callable[[int], None]], tuple[TokenMaskHead, float, int]],
) -> Student:
    """A head from its file, or trained and kept there.

    Args:
        classifier: whose head.
        name: of the file.
        config: of the head.
        folder: of its file.
        train: told how to count steps; gives the head, seconds of processor time spent before, and texts learned from.

    Raises:
        ArtefactError: the file was made with other settings, or is damaged.
    """
    import dataclasses

    from safetensors.torch import load_file, save

    from whymask.train.text.amortized_fit import new_head

    settings = dataclasses.asdict(config)
    facts, weights = folder / f"{name}.json", folder / f"{name}.safetensors"
    if facts.is_file():
        head, told = new_head(classifier, config), read_kept(facts, settings, "student")
        head.load_state_dict(load_file(weights))
        return Student(head.eval(), **told)
    done = [0]
    with track(None, name, "steps") as bar:

        def count(steps: int) -> None:
            done[0] = steps
            bar.advance()

        begin = time.process_time()
        head, before, texts = train(count)
    student = Student(head, round(before + time.process_time() - begin, 3), done[0], texts)
    write_atomically(weights, save(head.state_dict()))
    told = {"seconds": student.seconds, "steps": student.steps, "texts": texts}
    write_atomically(facts, json.dumps({"settings": settings, "student": told}) + "\n")
    return student


def read_kept(file: Path, settings: Mapping[str, Any], key: str) -> Any:
    """What a study kept under a key of a JSON file, beside the `settings` that it was made with.

    Raises:
        ArtefactError: the file is damaged, or was made with other settings.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        told, found = record["settings"], record[key]
    except (OSError, ValueError, KeyError) as error:
        raise ArtefactError(f"{file}: cannot be read ({error}); remove it") from None
    if told != dict(settings):
        raise ArtefactError(f"{file}: was made with other settings than {dict(settings)}; remove it")
    return found
