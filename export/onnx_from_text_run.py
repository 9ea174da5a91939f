"""From the folder of an amortized explainer of texts to one checked ONNX graph, and the classifier alone beside it.

Nothing is written before both gates have passed: onnx's checker, and ONNX Runtime against torch on texts of several
lengths, side by side and alone. Letters: n texts, N tokens of the longest, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from whymask.export.config import classifier_path
from whymask.export.onnx_from_module import onnx_from_module
from whymask.export.text_graph import FusedTextGraph, TextClassifierGraph
from whymask.runtime.backends import Arrays
from whymask.runtime.card import LOGITS, MASK, SALIENCY
from whymask.runtime.errors import InputError, ParityError
from whymask.runtime.files import atomic_path
from whymask.runtime.ort import ERRORS_ONLY, new_cpu_session
from whymask.runtime.parity import TOLERANCES, check, compare, logit_scale
from whymask.runtime.text_card import ATTENTION_MASK, INPUT_IDS, INPUTS, METADATA_KEY, OUTPUTS, TextCard
from whymask.runtime.text_tokenizer import TOKENIZER_KEY, tokenizer_from_json
from whymask.runtime.versions import installed_versions
from whymask.runtime.words import RESERVED
from whymask.train.text.amortized_run import TextRun
from whymask.train.text.classifier import Tokens
from whymask.train.text.reading import ReadableClassifier, batch_of

TOKENS = "tokens"
"""Name of the open length."""
MAX_BATCH = 32
COMPARED = 128
"""Made-up texts, compared where none are given."""
TOGETHER = 8
"""Texts that both forms see at once, so that most are filled up to a longer one."""
PACKAGES = ("whymask", "torch", "onnx", "onnxscript", "onnxruntime")
TOLERANCE = TOLERANCES["fp32"]


def export_text_run(
    run: TextRun, out: Path, *, texts: Sequence[str] = (), opset: int = 17, max_batch: int = MAX_BATCH
) -> TextCard:
    """Export a run as `out`, and its classifier alone as `<stem>.classifier.onnx` beside it.

    Args:
        run: left exactly as it is.
        out: the fused graph's file, ending in `.onnx`.
        texts: to compare file and modules on; texts of random words, of every length, where there are none.
        opset: operator set, 17 or more.
        max_batch: largest batch; batch and length are open.

    Returns:
        The card that the file holds.

    Raises:
        InputError: the name of the file, or a text that the classifier does not read.
        ArtefactError: the modules do not export, or a file cannot be written.
        MissingExtra: the classifier has a tokenizer of its own, and tokenizers is not installed.
        ParityError: the file disagrees with the modules, or its tokens with the classifier's; nothing is written.
    """
    if out.suffix != ".onnx":
        raise InputError(f"output file is {out.name!r}, expected a name ending in .onnx")
    compared = [run.classifier.tokenise(text) for text in texts] if texts else _made_up(run)
    check_special(run.classifier, compared)  # before the graphs, which take far longer
    check_tokenizer(run.classifier, compared)
    fused, alone = (
        _exported(run, graph.eval(), names, opset, max_batch)
        for graph, names in ((FusedTextGraph(run), OUTPUTS), (TextClassifierGraph(run), (LOGITS,)))
    )
    figures = text_parity(run, fused.SerializeToString(), alone.SerializeToString(), compared)
    stated = {f"parity_{name.removesuffix('_min')}": value for name, value in figures.items()}
    stated |= {"parity_texts": float(len(compared)), "parity_synthetic": float(not texts)}
    versions = run.card.versions | installed_versions(PACKAGES) | {"opset": str(opset)}
    card = replace(run.card, metrics=run.card.metrics | stated, versions=versions)
    check(figures, TOLERANCE, "the graph disagrees with the torch modules", "Nothing was written")
    for key, value in ((METADATA_KEY, card.to_json()), (TOKENIZER_KEY, run.classifier.tokenizer_json)):
        if value:
            entry = fused.metadata_props.add()
            entry.key, entry.value = key, value
    for file, model in ((out, fused), (classifier_path(out), alone)):
        with atomic_path(file) as temporary:
            temporary.write_bytes(model.SerializeToString())
    return card


def check_special(classifier: ReadableClassifier, texts: Sequence[Tokens]) -> None:
    """The graph knows special tokens by their number, torch by the tokeniser's word: both must be the same.

    Raises:
        ParityError: one of these texts has a token that is special to one of them alone.
    """
    special_ids = set(classifier.special_ids)
    for each in texts:
        for number, special in zip(each.ids, each.special, strict=True):
            if special != (number in special_ids):
                raise ParityError(
                    f"{classifier.name}: token {number} of {each.text[:40]!r} is {'' if special else 'not '}special to "
                    f"the tokenizer; the special ones are {sorted(special_ids)}. Nothing was written; leave texts with "
                    "special tokens in them out, or declare the tokens in the tokenizer"
                )


def check_tokenizer(classifier: ReadableClassifier, texts: Sequence[Tokens]) -> None:
    """Hold the tokenizer that goes into the file to the classifier's own; nothing to do where there is a vocabulary.

    Raises:
        MissingExtra: tokenizers is not installed.
        ParityError: it cuts one of these texts otherwise.
    """
    if not classifier.tokenizer_json:
        return
    cut = tokenizer_from_json(classifier.tokenizer_json, classifier.name)
    for each in texts:
        ids, spans = cut(each.text)
        own = [(0, 0) if special else span for span, special in zip(each.spans, each.special, strict=True)]
        if list(ids) != list(each.ids) or [tuple(span) for span in spans] != own:
            raise ParityError(
                f"{classifier.name}: its tokenizer.json cuts {each.text[:40]!r} into {len(ids)} tokens otherwise than "
                f"the classifier's own tokenizer, {len(each.ids)} tokens. Nothing was written; save the tokenizer anew"
            )


def text_parity(run: TextRun, fused: bytes, alone: bytes, texts: Sequence[Tokens]) -> dict[str, float]:
    """Figures of two serialised graphs against the run's own modules.

    Args:
        run: the reference.
        fused, alone: serialised ONNX graphs.
        texts: compared some together, filled up to the longest of them.

    Returns:
        Figures by the names of `whymask.runtime.parity`; a token's flip counts as a pixel's does.
    """
    longest = max(len(each.ids) for each in texts)
    batches = [
        batch_of(texts[start : start + TOGETHER], run.classifier.pad_id) for start in range(0, len(texts), TOGETHER)
    ]
    fed = [{INPUT_IDS: each.ids.numpy(), ATTENTION_MASK: each.seen.long().numpy()} for each in batches]
    graph = FusedTextGraph(run).eval()
    expected = _together([_by_torch(graph, each) for each in fed], longest)
    actual = _together(_by_onnx(fused, OUTPUTS, fed), longest)
    logits = _together(_by_onnx(alone, (LOGITS,), fed), longest)[LOGITS]
    error = float(np.abs(logits - actual[LOGITS]).max()) / logit_scale(expected)
    return compare(expected, actual, TOLERANCE) | {"classifier_max": error}


def _exported(run: TextRun, graph: nn.Module, outputs: Sequence[str], opset: int, max_batch: int) -> onnx.ModelProto:
    # Sizes that neither are 1 nor equal: the exporter takes 1 for a constant, and ties what is equal.
    ids = torch.full((2, min(7, run.card.max_tokens)), run.card.pad_id)
    ids[0, 0] = ids[1, 0] + 1
    longest = {1: (TOKENS, run.card.max_tokens)}
    return onnx_from_module(graph, (ids, torch.ones_like(ids)), INPUTS, outputs, opset, max_batch, longest)


def _made_up(run: TextRun) -> list[Tokens]:
    """Texts of random words of the vocabulary, of every length from 1 to the longest.

    Raises:
        InputError: another tokeniser than ours makes the tokens.
    """
    words = run.card.vocabulary[len(RESERVED) :]
    if not words:
        raise InputError("parity: the classifier's words are not known here; give texts to compare on, with --texts")
    draw = np.random.default_rng(run.card.seed)
    lengths = np.linspace(1, run.card.max_tokens, COMPARED).round().astype(int)
    return [run.classifier.tokenise(" ".join(draw.choice(words, size=length))) for length in draw.permutation(lengths)]


@torch.no_grad()
def _by_torch(graph: FusedTextGraph, feeds: Arrays) -> Arrays:
    outputs = graph(*(torch.from_numpy(feeds[name]) for name in INPUTS))
    return {name: value.numpy() for name, value in zip(OUTPUTS, outputs, strict=True)}


def _by_onnx(graph: bytes, names: Sequence[str], fed: Sequence[Arrays]) -> list[Arrays]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    session = new_cpu_session(onnxruntime, graph, options)
    return [dict(zip(names, session.run(list(names), each), strict=True)) for each in fed]


def _together(parts: Sequence[Arrays], longest: int) -> Arrays:
    """Batches one after the other, maps of tokens filled up with 0 to one length."""
    filled = [
        {
            name: np.pad(value, ((0, 0), (0, longest - value.shape[1]))) if name in (SALIENCY, MASK) else value
            for name, value in each.items()
        }
        for each in parts
    ]
    return {name: np.concatenate([each[name] for each in filled]) for name in filled[0]}
