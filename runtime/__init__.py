"""Use a fused graph without torch.

    from whymask.runtime import load

    explainer = load("fused.onnx")
    result = explainer.explain("photo.jpg")
    print(result.label, result.confidence, result.area)

Everything that a user writes is one import from here. The names below are loaded on first use, so that importing this
package costs no more than a few milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whymask.runtime.card import Card
    from whymask.runtime.certificate import Certificate
    from whymask.runtime.errors import (
        ArtefactError,
        BackendError,
        InputError,
        MissingExtra,
        ParityError,
        TrainingError,
        WhymaskError,
    )
    from whymask.runtime.explainer import Explainer, load
    from whymask.runtime.explanation import Explanation
    from whymask.runtime.instances import Instance
    from whymask.runtime.prediction import Prediction
    from whymask.runtime.text_explainer import TextExplainer, load_text
    from whymask.runtime.text_explanation import TextExplanation
    from whymask.runtime.trigger import Trigger

__all__ = [
    "ArtefactError",
    "BackendError",
    "Card",
    "Certificate",
    "Explainer",
    "Explanation",
    "InputError",
    "Instance",
    "MissingExtra",
    "ParityError",
    "Prediction",
    "TextExplainer",
    "TextExplanation",
    "TrainingError",
    "Trigger",
    "WhymaskError",
    "load",
    "load_text",
]

_HOMES = {"Card": "card", "Explainer": "explainer", "load": "explainer", "Explanation": "explanation"} | {
    "Prediction": "prediction",
    "Certificate": "certificate",
    "Instance": "instances",
    "Trigger": "trigger",
    "TextExplainer": "text_explainer",
    "TextExplanation": "text_explanation",
    "load_text": "text_explainer",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return __all__
