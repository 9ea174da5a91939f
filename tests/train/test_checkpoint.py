from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from whymask.runtime.errors import ArtefactError, InputError
from whymask.train.allocator import keep_freed_memory
from whymask.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from whymask.train.config import TrainConfig


def test_a_checkpoint_gives_back_what_it_was_given(config: TrainConfig, tmp_path: Path) -> None:
    progress = Progress(7, best=0.4, since_best=1, rows=[{"step": 5.0, "loss": 1.25}])
    save_checkpoint(tmp_path / "c.pt", config, progress, {"w": torch.ones(2)}, {"state": {}})
    back, explainer, optimizer = load_checkpoint(tmp_path / "c.pt", config)
    assert back == progress
    assert torch.equal(explainer["w"], torch.ones(2))
    assert optimizer == {"state": {}}


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut short", b"", b"garbage"])
def test_a_damaged_checkpoint_is_one_clear_error(config: TrainConfig, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"checkpoint .*c\.pt cannot be read .*train again without --resume"):
        load_checkpoint(tmp_path / "c.pt", config)


def test_only_options_that_do_not_change_the_result_may_differ(config: TrainConfig, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", config, Progress(), {}, {})
    load_checkpoint(tmp_path / "c.pt", replace(config, max_minutes=3.0, workers=1))
    with pytest.raises(InputError, match=r"tv was 3\.0 when this run began and is 4\.0 now"):
        load_checkpoint(tmp_path / "c.pt", replace(config, tv=4.0))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt belongs to glibc")
def test_freed_memory_can_be_kept() -> None:
    assert keep_freed_memory()
