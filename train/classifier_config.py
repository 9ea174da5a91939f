"""What the configuration of any training says of its classifier and pictures, and how it is written and read again."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, TypeVar

from whymask.runtime.checks import MOST_SEED
from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.from_json import dataclass_from_record

Config = TypeVar("Config", bound="ClassifierConfig")


def check_seed(seed: int) -> None:
    """Refuse a seed that generators do not take.

    Raises:
        InputError: below 0 or above MOST_SEED.
    """
    if not 0 <= seed <= MOST_SEED:
        raise InputError(f"seed is {seed}, expected a whole number from 0 to {MOST_SEED}")


def option(default: Any, help: str) -> Any:
    """A field with its description, which is also its help on the command line."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class ClassifierConfig:
    """The part that all configurations share; a subclass may word a field's help anew, which leaves its place."""

    model: str = dataclasses.field(metadata={"help": "torchvision:NAME, timm:NAME or FILE.py:FACTORY."})
    data: tuple[str, ...] = dataclasses.field(metadata={"help": "Folder of images."})
    weights: str | None = option(None, "Weights: a .safetensors or .pth file, or 'random'. Default: pretrained ones.")
    labels: str | None = option(None, "Class names: a text file, one a line, or JSON.")
    size: tuple[int, int] | None = option(None, "Input height and width in pixels. Default: the model's own.")
    mean: tuple[float, float, float] | None = option(None, "Mean of RGB in [0, 1]. Default: the model's own.")
    std: tuple[float, float, float] | None = option(None, "Deviation of RGB in [0, 1]. Default: the model's own.")
    resize: str = option("squash", "squash shows the graph the whole picture; crop its centre.")
    taps: tuple[str, ...] | None = option(None, "Module to read, finest first; repeatable. Default: chosen.")
    licence: str = option("unstated", "Licence of classifier and explainer together, for the card.")

    def check_rule(self) -> None:
        """Refuse a normalisation that makes no numbers.

        Raises:
            InputError: which value, and what was expected.
        """
        if self.mean is not None and not all(map(math.isfinite, self.mean)):
            raise InputError(f"mean is {self.mean}, expected three finite numbers")
        if self.std is not None and not all(0.0 < each < math.inf for each in self.std):
            raise InputError(f"std is {self.std}, expected three finite numbers above 0: pictures are divided by them")

    def to_json(self) -> str:
        """As indented JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls: type[Config], text: str) -> Config:
        """Read a configuration.

        Raises:
            ArtefactError: not JSON, or an unknown key.
        """
        try:
            return dataclass_from_record(cls, "config.json", json.loads(text))
        except json.JSONDecodeError as error:
            raise ArtefactError(f"config.json is not valid JSON ({error}); train again") from None
