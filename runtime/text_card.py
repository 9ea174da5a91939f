"""The contract of a fused graph of texts: its tensor names, and the card that travels with it.

Letters: B batch, N tokens of the longest text, C classes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from whymask.runtime.card import LOGITS, MASK, SALIENCY, GuaranteeCard
from whymask.runtime.from_json import dataclass_from_record, record_from_json

SCHEMA_VERSION = 1
METADATA_KEY = "whymask-text"
"""Not `whymask`: a graph of texts is never taken for one of pictures."""
AGAIN = "train or export again"
"""What to do about a broken card."""
CARD_FILE = "text-card.json"
"""Name of the card in the folder of a training."""
INPUT_IDS = "input_ids"
"""Input, int64 (B, N): numbers of tokens, anything after a text's end."""
ATTENTION_MASK = "attention_mask"
"""Input, int64 (B, N): 1 at a text's tokens, special ones among them, and 0 after its end."""
INPUTS = (INPUT_IDS, ATTENTION_MASK)
OUTPUTS = (LOGITS, SALIENCY, MASK)
"""float32 (B, C); float32 (B, N) in [0, 1]; uint8 (B, N), 1 where the saliency reaches the threshold. Saliency and mask
are 0 at special tokens and after a text's end."""


@dataclass(frozen=True)
class TextCard:
    """What a runtime must know of a graph of texts.

    Attributes:
        classifier: as the user named it.
        sha256: of its weights.
        labels: one a class.
        max_tokens: longest text, special tokens counted.
        pad_id: number of PAD, which dropped tokens become.
        special_ids: numbers of tokens that are none of a text's own.
        threshold: tokens whose saliency reaches it are the rationale.
        guarantee: what was promised of it; `mean_area` is a share of tokens, `n` counts texts.
        parameters: of the head.
        seed: of its training.
        training: how it was trained.
        versions: of packages, by name.
        vocabulary: words by number, where `whymask.runtime.words` cuts the texts; empty where another tokeniser does.
        metrics: parity figures of an exported graph, by name.
    """

    classifier: str
    sha256: str
    labels: tuple[str, ...]
    max_tokens: int
    pad_id: int
    special_ids: tuple[int, ...]
    threshold: float
    guarantee: GuaranteeCard
    parameters: int
    seed: int
    training: dict[str, Any]
    versions: dict[str, str]
    vocabulary: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)

    def to_json(self, indent: int | None = None) -> str:
        """As JSON text."""
        record = {"kind": "whymask.text-explainer", "schema": SCHEMA_VERSION, **dataclasses.asdict(self)}
        return json.dumps(record, ensure_ascii=False, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> TextCard:
        """Read a card.

        Raises:
            ArtefactError: not JSON, a newer schema, an unknown or a missing key, or a value of a wrong type.
        """
        record = record_from_json(text, "text card", SCHEMA_VERSION, AGAIN)
        plain = {key: value for key, value in record.items() if key not in ("kind", "schema")}
        if "guarantee" in plain:
            plain["guarantee"] = dataclass_from_record(GuaranteeCard, "guarantee", plain["guarantee"], AGAIN)
        return dataclass_from_record(cls, "text card", plain, AGAIN)
