"""A randomly initialised BERT of two layers with its tokeniser, saved as Hugging Face saves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = ("the", "case", "is", "stur", "##dy", ".")


def save_tiny_bert(folder: Path, pieces: Sequence[str] = PIECES, *, head: bool = True) -> Path:
    """Save a classifier of three classes, or the encoder alone, whose tokeniser knows these pieces of words."""
    words = [*SPECIAL, *pieces]
    cut = Tokenizer(WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    cut.normalizer, cut.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    cut.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(tokenizer_object=cut, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        num_labels=3,
    )
    (BertForSequenceClassification(config) if head else BertModel(config)).save_pretrained(folder)
    return folder
