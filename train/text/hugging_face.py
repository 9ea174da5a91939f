"""Sequence classifiers of Hugging Face's `transformers` as text classifiers. Needs the extra `text`.

A folder written by `save_pretrained`, or a name on the hub, which `transformers` fetches where it is reachable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whymask.runtime.errors import ArtefactError, InputError, MissingExtra
from whymask.runtime.words import check_length
from whymask.train.text.classifier import Tokens
from whymask.train.text.reading import Reading


class HuggingFaceClassifier:
    """A `TextClassifier` around a sequence classifier and its fast tokeniser.

    Args:
        model: takes `inputs_embeds` and `attention_mask`, returns an object with `logits`; frozen from here on.
        tokeniser: a fast one, which tells character offsets, with a PAD token.
        name: for records.

    Raises:
        InputError: a tokeniser without offsets or without PAD, or a model with a single output.
    """

    def __init__(self, model: nn.Module, tokeniser: Any, name: str) -> None:
        if not getattr(tokeniser, "is_fast", False):
            raise InputError(
                f"{name}: its tokeniser tells no character offsets; save it with a fast one (tokenizer.json)"
            )
        if tokeniser.pad_token_id is None:
            raise InputError(f"{name}: its tokeniser has no PAD token, which dropped tokens become; give it one")
        config: Any = model.config
        if config.num_labels < 2:
            raise InputError(f"{name}: has {config.num_labels} output; expected a classifier of at least 2 classes")
        if getattr(config, "pad_token_id", 0) is None:
            config.pad_token_id = tokeniser.pad_token_id  # without one, decoders refuse more than one text
        self.model, self.tokeniser, self.name = model.eval().requires_grad_(False), tokeniser, name
        self._last_head = _last_token_head(model)
        self._reads_padded = False
        self.labels = tuple(str(config.id2label[number]) for number in range(config.num_labels))
        # Positions that some models (RoBERTa) lose to an offset are known to their tokeniser alone.
        longest = getattr(config, "max_position_embeddings", None) or tokeniser.model_max_length
        self._longest = min(int(longest), int(tokeniser.model_max_length))

    def tokenise(self, text: str) -> Tokens:
        """The tokeniser's tokens; those that it adds are special.

        Raises:
            InputError: no token, or more than the model has positions.
        """
        read = self.tokeniser(text, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False)
        check_length(len(read["input_ids"]), self._longest, self.name)
        return Tokens(
            text,
            tuple(read["input_ids"]),
            tuple((int(start), int(end)) for start, end in read["offset_mapping"]),
            tuple(bool(flag) for flag in read["special_tokens_mask"]),
        )

    def embed(self, ids: Tensor) -> Tensor:
        """Word embeddings, float32 (N, D); the model adds positions itself."""
        rows: Tensor = self._embedding()(ids).float()
        return rows

    def pad(self) -> Tensor:
        """PAD's embedding, float32 (D,)."""
        return self.embed(torch.tensor([self.tokeniser.pad_token_id]))[0]

    def logits(self, embeddings: Tensor) -> Tensor:
        """float32 (K, C) of float32 (K, N, D)."""
        seen = torch.ones(embeddings.shape[:2], dtype=torch.int64)
        found: Tensor = self.model(inputs_embeds=embeddings, attention_mask=seen).logits.float()
        return found

    @property
    def module(self) -> nn.Module:
        """The model."""
        return self.model

    @property
    def pad_id(self) -> int:
        """PAD's number."""
        return int(self.tokeniser.pad_token_id)

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The tokeniser's own additions, declared or not; [UNK] stands for a word of the text."""
        read = self.tokeniser("a", return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False)
        added = {each for each, flag in zip(read["input_ids"], read["special_tokens_mask"], strict=True) if flag}
        declared = {each for each in self.tokeniser.all_special_ids if each != self.tokeniser.unk_token_id}
        return tuple(sorted(int(each) for each in added | declared))

    @property
    def max_tokens(self) -> int:
        """Longest text, its special tokens counted."""
        return self._longest

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Empty: the tokeniser is not `whymask.runtime.words`."""
        return ()

    @property
    def tokenizer_json(self) -> str:
        """What the runtime cuts texts by."""
        return str(self.tokeniser.backend_tokenizer.to_str())

    def read(self, embeddings: Tensor, seen: Tensor) -> Reading:
        """Logits and the model's hidden states of float32 (K, N, D), with `seen` bool (K, N).

        Raises:
            InputError: a model that answers otherwise where longer texts are beside a text.
        """
        reading = self._reading(embeddings, seen)
        if not self._reads_padded and not torch.compiler.is_compiling() and not bool(seen.all()):
            self._refuse_other_answers(embeddings, seen, reading.logits)
            self._reads_padded = True
        return reading

    def _reading(self, embeddings: Tensor, seen: Tensor) -> Reading:
        model: Any = self.model if self._last_head is None else self.model.base_model
        found = model(inputs_embeds=embeddings, attention_mask=seen.long(), output_hidden_states=True)
        if self._last_head is None:
            logits: Tensor = found.logits
        else:  # of embeddings, decoders themselves read the last place, where a shorter text has PAD
            places = torch.arange(seen.shape[1], device=seen.device)
            last = (places * seen).argmax(1)
            logits = self._last_head(found.last_hidden_state[torch.arange(len(seen), device=seen.device), last])
        return Reading(logits.float(), tuple(each.float() for each in found.hidden_states))

    @torch.no_grad()
    def _refuse_other_answers(self, embeddings: Tensor, seen: Tensor, logits: Tensor) -> None:
        """Hold the first shorter text's answer to the one that it gets alone."""
        row = int((~seen.all(1)).nonzero()[0])
        alone = self.logits(embeddings[row : row + 1, seen[row]])[0]
        if not torch.allclose(logits[row], alone, rtol=1e-3, atol=1e-3):
            raise InputError(
                f"{self.name}: answers otherwise where a longer text is beside a text ({type(self.model).__name__} "
                "reads PAD); expected a classifier that attention_mask keeps from it: use another, or whymask "
                "rationale, which asks one text at a time"
            )

    def _embedding(self) -> nn.Module:
        model: Any = self.model
        module: nn.Module = model.get_input_embeddings()
        return module


def _last_token_head(model: nn.Module) -> nn.Module | None:
    """What decoders (GPT-2, Llama) read their last token's state by, as `transformers` names it; None in others."""
    head = getattr(model, "score", None)
    return head if isinstance(head, nn.Module) and hasattr(model, "base_model") else None


def load_hugging_face(source: str) -> HuggingFaceClassifier:
    """Load a sequence classifier.

    Args:
        source: folder, or name on the hub.

    Raises:
        MissingExtra: transformers is not installed.
        ArtefactError: nothing of this name can be loaded, or its file has no classification head.
    """
    try:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError:
        raise MissingExtra("transformers", "text", "load a Hugging Face classifier") from None
    try:
        tokeniser = AutoTokenizer.from_pretrained(source)
        # Single precision whatever the file holds: an explanation is no place to lose digits.
        model, told = AutoModelForSequenceClassification.from_pretrained(
            source, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()
        raise ArtefactError(
            f"--model {source}: cannot be loaded ({reason[0] if reason else type(error).__name__}); give a folder of "
            "save_pretrained, a folder of a whymask text classifier, or a name that the hub has and this machine "
            "reaches"
        ) from None
    if told["missing_keys"]:
        first = sorted(told["missing_keys"])[0]
        raise ArtefactError(
            f"--model {source}: its file lacks {len(told['missing_keys'])} of the classifier's tensors ({first}, …), "
            "which would be random; give one that was trained for sequence classification"
        )
    return HuggingFaceClassifier(model, tokeniser, Path(source).name if Path(source).is_dir() else source)
