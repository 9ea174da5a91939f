"""Run a fused graph of texts without torch.

    from whymask.runtime import load_text

    explainer = load_text("reviews.onnx")
    why = explainer.explain("The case is really sturdy.")
    print(why.label, [span.text for span in why.spans])

Letters: B texts, N tokens of the longest, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whymask.runtime.backends import Arrays
from whymask.runtime.card import LOGITS, MASK, SALIENCY
from whymask.runtime.certificate import Certificate, softmax
from whymask.runtime.closing import Closing
from whymask.runtime.errors import ArtefactError, InputError, MissingExtra
from whymask.runtime.ort import OrtBackend
from whymask.runtime.text_card import ATTENTION_MASK, INPUT_IDS, INPUTS, METADATA_KEY, OUTPUTS, TextCard
from whymask.runtime.text_explanation import TextExplanation, own_tokens, spans_of
from whymask.runtime.text_tokenizer import TOKENIZER_KEY, Offsets, Tokenizer, tokenizer_from_json
from whymask.runtime.words import check_length, ids_with_spans


def load_text(
    path: str | Path, tokenizer: Tokenizer | None = None, provider: str | None = None, threads: int | None = None
) -> TextExplainer:
    """Load a graph that `whymask export-text` wrote.

    Args:
        path: the ONNX file.
        tokenizer: cuts texts as the classifier's own does; None takes the vocabulary or the tokenizer in the file.
        provider: `cpu`, `cuda` or ONNX Runtime's own name; None takes CUDA where it loads, else the CPU.
        threads: inside one operator on the CPU; None leaves it to ONNX Runtime.

    Raises:
        ArtefactError: no graph of texts, or one that does not say how texts are cut where no tokenizer is given.
        BackendError: the provider that was asked for does not load.
        MissingExtra: onnxruntime is not installed, or tokenizers, for a file with a tokenizer in it.
    """
    backend = OrtBackend(path, provider, threads)
    try:
        card, held = _card(backend, path), backend.metadata.get(TOKENIZER_KEY)
        if tokenizer is None and held:
            tokenizer = tokenizer_from_json(held, str(path))
        return TextExplainer(backend, card, tokenizer, str(path))
    except (ArtefactError, MissingExtra):
        backend.close()
        raise


class TextExplainer(Closing):
    """A loaded graph of texts. `explain` may be called from several threads at once.

    Args:
        backend: that runs it.
        card: of the graph.
        tokenizer: see `load_text`.
        name: of the graph in messages.

    Raises:
        ArtefactError: the card has no vocabulary, and no tokenizer is given.
    """

    def __init__(self, backend: OrtBackend, card: TextCard, tokenizer: Tokenizer | None, name: str) -> None:
        if tokenizer is None and not card.vocabulary:
            raise ArtefactError(
                f"{name}: {card.classifier} cuts texts with a tokenizer of its own, which the file does not hold; give "
                "it: load_text(path, tokenizer=…)"
            )
        self.card = card
        self._backend, self._name = backend, name
        self._ids = {word: number for number, word in enumerate(card.vocabulary)}
        self._tokenizer = tokenizer or (lambda text: ids_with_spans(text, self._ids))

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of what runs the graph."""
        return self._backend.provider

    def explain(self, text: str) -> TextExplanation:
        """Classify a text and say which words hold the decision, in one pass.

        Raises:
            InputError: no word, or more tokens than the classifier reads.
            BackendError: the graph fails, or was closed.
        """
        return self.explain_batch([text])[0]

    def explain_batch(self, texts: Sequence[str]) -> list[TextExplanation]:
        """The same for some texts, side by side.

        Raises:
            InputError: no text, or one as for `explain`.
            BackendError: as for `explain`.
        """
        if isinstance(texts, str) or not texts:
            raise InputError(f"explain_batch: got {texts!r}, expected a list of at least one text")
        read = [self._read(text) for text in texts]
        shape = len(texts), max(len(ids) for ids, _ in read)
        ids, seen = np.full(shape, self.card.pad_id, np.int64), np.zeros(shape, np.int64)
        for row, (numbers, _) in enumerate(read):
            ids[row, : len(numbers)], seen[row, : len(numbers)] = numbers, 1
        found = self.run(ids, seen)
        return [
            self._explanation(text, each, found, row) for row, (text, each) in enumerate(zip(texts, read, strict=True))
        ]

    def certify(self, why: TextExplanation) -> Certificate:
        """Ask the classifier about the rationale alone and about the rest, PAD elsewhere: one more pass over two texts.

        Args:
            why: what `explain` of this explainer gave.

        Raises:
            BackendError: the graph fails, or was closed.
        """
        keep = why.mask.astype(bool)
        parts = [np.where(shown | ~why.own, why.ids, self.card.pad_id) for shown in (keep, ~keep)]
        ids = np.stack(parts).astype(np.int64)
        logits = self.run(ids, np.ones_like(ids))[LOGITS]
        predicted = int(why.logits.argmax())
        alone, without = (float(softmax(row)[predicted]) for row in logits)
        keeps, stays = (int(row.argmax()) == predicted for row in logits)
        return Certificate(keeps, bool(keep.any()) and not stays, alone, without)

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Arrays:
        """The graph's outputs by name: `logits` (B, C), `saliency` (B, N), `mask` (B, N).

        Args:
            input_ids: int64 (B, N).
            attention_mask: int64 (B, N), 1 at tokens and 0 after a text's end.

        Raises:
            InputError: two shapes, another type, or more tokens than the classifier reads.
            BackendError: the graph fails, or was closed.
        """
        told = f"{input_ids.dtype} {input_ids.shape} and {attention_mask.dtype} {attention_mask.shape}"
        same = input_ids.shape == attention_mask.shape and input_ids.ndim == 2
        if not same or {input_ids.dtype, attention_mask.dtype} != {np.dtype(np.int64)} or not input_ids.size:
            raise InputError(f"{self._name}: ids and mask are {told}; expected two of int64 (texts, tokens)")
        if input_ids.shape[1] > self.card.max_tokens:
            raise InputError(
                f"{self._name}: {input_ids.shape[1]} tokens, the classifier reads {self.card.max_tokens}; shorten them"
            )
        return self._backend.run({INPUT_IDS: input_ids, ATTENTION_MASK: attention_mask}, OUTPUTS)

    def close(self) -> None:
        """Let go of the graph; closing twice does nothing."""
        self._backend.close()

    def _read(self, text: str) -> tuple[Sequence[int], Offsets]:
        ids, offsets = self._tokenizer(text)
        if len(ids) != len(offsets):
            raise InputError(f"tokenizer: {len(ids)} ids and {len(offsets)} spans; expected one span a token")
        if not own_tokens(offsets).any():
            raise InputError(f"text {text[:40]!r}: no token to explain; give a text with at least one word")
        check_length(len(ids), self.card.max_tokens, self.card.classifier)
        return ids, offsets

    def _explanation(self, text: str, read: tuple[Sequence[int], Offsets], found: Arrays, row: int) -> TextExplanation:
        ids, offsets = np.asarray(read[0], np.int64), tuple(read[1])
        count, logits = len(offsets), found[LOGITS][row]
        saliency, mask = found[SALIENCY][row, :count], found[MASK][row, :count]
        predicted, shares = int(logits.argmax()), softmax(logits)
        spans = spans_of(text, offsets, saliency, mask != 0, own_tokens(offsets))
        label = self.card.labels[predicted]
        return TextExplanation(text, label, float(shares[predicted]), logits, saliency, mask, ids, offsets, spans)


def _card(backend: OrtBackend, path: str | Path) -> TextCard:
    """The card in the file, of a graph that obeys its contract."""
    text = backend.metadata.get(METADATA_KEY)
    absent = [name for name in (*INPUTS, *OUTPUTS) if name not in {**backend.inputs, **backend.outputs}]
    if text is None or absent:
        what = "no text card" if text is None else f"no {', '.join(absent)}"
        raise ArtefactError(
            f"{path}: this graph has {what}; expected one made by whymask export-text (one of pictures is for load)"
        )
    return TextCard.from_json(text)
