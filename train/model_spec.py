"""From what a user types to a frozen classifier: its source, its weights, its labels."""

from __future__ import annotations

import difflib
import importlib.util
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from whymask.runtime.errors import InputError, WhymaskError
from whymask.train.classifier import FrozenClassifier, InputRule, find_head

if TYPE_CHECKING:
    from whymask.train.config import TrainConfig
    from whymask.train.flint.config import FlintConfig

Triple = tuple[float, float, float]
State = dict[str, Tensor]

RANDOM_WEIGHTS = "random"
"""Value of `--weights` that asks for seeded random weights: for latency and smoke tests, never for explanations."""


def load_classifier(
    spec: str,
    *,
    weights: str | None = None,
    labels: Path | None = None,
    size: tuple[int, int] | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    resize: str = "squash",
    taps: Sequence[str] | None = None,
    seed: int = 0,
) -> FrozenClassifier:
    """Build and freeze a classifier.

    Args:
        spec: `torchvision:NAME`, `timm:NAME` or `FILE.py:FACTORY`.
        weights: .safetensors or .pth file; `random`; None takes the library's pretrained weights (a factory's own).
        labels: text file with one label a line, or JSON (a list, or ImageNet's {"index": [wnid, name]}).
        size: input (height, width) in pixels; the model's own when None.
        mean, std: of RGB in [0, 1]; the model's own when None.
        resize: `squash` or `crop`.
        taps: module names; automatic when None.
        seed: of random weights.

    Raises:
        InputError: an unknown source or name, weights that do not fit, labels of another number.
    """
    source, _, name = spec.rpartition(":")
    builders: dict[str, Callable[[str, str | None, int], tuple[nn.Module, InputRule]]] = {
        "torchvision": _torchvision_model,
        "timm": _timm_model,
    }
    if not source or not name:
        raise InputError(f"model {spec!r}: expected torchvision:NAME, timm:NAME or FILE.py:FACTORY")
    if source in builders:
        model, rule = builders[source](name, weights, seed)
    elif source.endswith(".py"):
        model, rule = _factory_model(Path(source), name, weights)
        spec = f"{Path(source).name}:{name}"  # the card travels; folders of this machine stay out of it
    else:
        raise InputError(f"model {spec!r}: unknown source {source!r}; expected torchvision, timm or a FILE.py")
    height, width = size or (rule.height, rule.width)
    crop = rule.crop_fraction if resize == "crop" else 1.0
    rule = replace(
        rule, height=height, width=width, mean=mean or rule.mean, std=std or rule.std, resize=resize, crop_fraction=crop
    )
    return FrozenClassifier(model, spec, rule, read_labels(labels) if labels else (), taps)


def classifier_from_config(config: TrainConfig | FlintConfig) -> FrozenClassifier:
    """Load the classifier that a configuration names."""
    return load_classifier(
        config.model,
        weights=config.weights,
        labels=Path(config.labels) if config.labels else None,
        size=config.size,
        mean=config.mean,
        std=config.std,
        resize=config.resize,
        taps=config.taps,
        seed=config.seed,
    )


def _torchvision_model(name: str, weights: str | None, seed: int) -> tuple[nn.Module, InputRule]:
    from torchvision import models

    classifiers = models.list_models(module=models)  # not those that find, segment or watch videos
    if name not in classifiers:
        raise InputError(f"torchvision has no model {name!r}{_near(name, classifiers) or '; expected a classifier'}")
    preset = models.get_model_weights(name).DEFAULT
    transforms = preset.transforms()
    side = transforms.crop_size[0]
    rule = InputRule(
        side, side, tuple(transforms.mean), tuple(transforms.std), "squash", side / transforms.resize_size[0]
    )

    def build(num_classes: int | None) -> nn.Module:
        torch.manual_seed(seed)
        model: nn.Module = models.get_model(name, **({} if num_classes is None else {"num_classes": num_classes}))
        return model

    if weights is None:
        return _downloaded(lambda: models.get_model(name, weights=preset), f"torchvision:{name}"), rule
    return _with_weights(build, weights), rule


def _timm_model(name: str, weights: str | None, seed: int) -> tuple[nn.Module, InputRule]:
    import timm
    from timm.data.config import resolve_model_data_config

    if not timm.is_model(name):
        raise InputError(f"timm has no model {name!r}{_near(name, timm.list_models())}")

    def build(num_classes: int | None) -> nn.Module:
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(name, num_classes=num_classes)
        return model

    if weights is None:
        model = _downloaded(lambda: timm.create_model(name, pretrained=True), f"timm:{name}")
    else:
        model = _with_weights(build, weights)
    config: dict[str, Any] = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    _, height, width = config["input_size"]
    return model, InputRule(
        height, width, tuple(config["mean"]), tuple(config["std"]), "squash", float(config["crop_pct"])
    )


def _factory_model(path: Path, factory: str, weights: str | None) -> tuple[nn.Module, InputRule]:
    """Call FACTORY of FILE.py. The file is the user's own code and is run as such."""
    if not path.is_file():
        raise InputError(f"model file {path} does not exist; expected FILE.py:FACTORY")
    module_spec = importlib.util.spec_from_file_location(f"_whymask_user_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise InputError(f"model file {path} cannot be imported as Python")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # dataclasses and pickling inside the file look themselves up by name
    _own_code(path, partial(module_spec.loader.exec_module, module))
    build = getattr(module, factory, None)
    if not callable(build):
        names = [n for n in vars(module) if not n.startswith("_")]
        raise InputError(f"{path} has no factory {factory!r}{_near(factory, names)}")
    model = _own_code(path, build)
    if not isinstance(model, nn.Module):
        raise InputError(f"{path}:{factory} returned {type(model).__name__}, expected a torch.nn.Module")
    if weights == RANDOM_WEIGHTS:
        raise InputError(
            f"--weights random needs torchvision:NAME or timm:NAME; {path}:{factory} brings its own weights"
        )
    if weights is not None:
        _load_state(model, read_state(Path(weights)), weights)
    return model, InputRule()


def _own_code(path: Path, run: Callable[[], Any]) -> Any:
    """Run a user's own code; where it fails, the error says so in a line, with the place in the user's file."""
    try:
        return run()
    except WhymaskError:
        raise
    except Exception as error:
        frames = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename) == path]
        place = f"{path}, line {frames[-1].lineno}" if frames else str(path)
        raise InputError(
            f"model file {place}: its own code fails ({type(error).__name__}: {error}); expected FILE.py:FACTORY, "
            "where FACTORY() returns the classifier"
        ) from error


def _downloaded(build: Callable[[], Any], spec: str) -> nn.Module:
    try:
        model: nn.Module = build()
    except Exception as error:  # the libraries raise many kinds here, all of which mean: no weights
        raise InputError(
            f"the pretrained weights of {spec} could not be fetched ({type(error).__name__}: {error}); "
            "give a file with --weights FILE.safetensors or FILE.pth"
        ) from None
    return model


def _with_weights(build: Callable[[int | None], nn.Module], weights: str) -> nn.Module:
    """Build with the number of classes that the weights have, and load them."""
    model = build(None)
    if weights == RANDOM_WEIGHTS:
        return model
    state = read_state(Path(weights))
    head = _head_of_untrained(model)
    rows = state.get(f"{head}.weight") if head else None
    if rows is not None and rows.shape != model.state_dict()[f"{head}.weight"].shape:
        model = build(int(rows.shape[0]))
    _load_state(model, state, weights)
    return model


def _head_of_untrained(model: nn.Module) -> str | None:
    for classes in (1000, 21841, 21843, 11821, 12000):
        head = find_head(model, classes)
        if head:
            return head
    return None


def read_state(path: Path) -> State:
    """Tensors of a .safetensors or .pth file; pickled code is never run (`weights_only=True`).

    Raises:
        InputError: the file is absent, of another kind, or holds no tensors.
    """
    if not path.is_file():
        raise InputError(f"weights file {path} does not exist; say with --weights where it is")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and pickle raise many kinds, all of which mean: not a weights file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"weights file {path} cannot be read ({reason}); expected .safetensors or a .pth state dict"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not any(isinstance(v, Tensor) for v in loaded.values()):
        raise InputError(f"weights file {path} holds {type(loaded).__name__}, expected a state dict of tensors")
    return {k.removeprefix("module."): v for k, v in loaded.items() if isinstance(v, Tensor)}


def _load_state(model: nn.Module, state: State, weights: str) -> None:
    own = model.state_dict()
    wrong = [
        f"{k} is {tuple(v.shape)}, expected {tuple(own[k].shape)}"
        for k, v in state.items()
        if k in own and v.shape != own[k].shape
    ]
    absent = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    unknown = [k for k in state if k not in own]
    problems = wrong + [f"lacks {k}" for k in absent] + [f"has unknown {k}" for k in unknown]
    if problems:
        shown = "; ".join(problems[:3])
        raise InputError(f"weights {weights} do not fit the model ({len(problems)} differences): {shown}")
    model.load_state_dict(state, strict=False)


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names of a file: one a line, a JSON list, or ImageNet's index {"0": ["n01440764", "tench"], …}.

    Raises:
        InputError: the file is absent, no UTF-8 or of another form.
    """
    if not path.is_file():
        raise InputError(f"labels file {path} does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors put a mark before the first name
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"labels file {path} cannot be read ({error}); expected text in UTF-8") from None
    if path.suffix != ".json":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        record = json.loads(text)
        if isinstance(record, dict):
            record = [record[str(i)] for i in range(len(record))]
    except (json.JSONDecodeError, KeyError):
        record = None
    if not isinstance(record, list) or [] in record:
        raise InputError(f'labels file {path}: expected a JSON list, or an object with the keys "0", "1", …')
    return tuple(str(entry[-1] if isinstance(entry, list) else entry) for entry in record)


def _near(name: str, names: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, names, 3)
    return f"; did you mean {', '.join(nearest)}?" if nearest else ""
