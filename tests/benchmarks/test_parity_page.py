from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whymask.benchmarks.parity_page import COLUMNS, parity_block, read_parity
from whymask.runtime.errors import ArtefactError

MEASURED = dict(zip(COLUMNS, (0.995, 2, 1.25e-3, 0.99921, 0.00042, 0.99987), strict=True))


def written(path: Path, **changes: Any) -> Path:
    record = {
        "passed": True,
        "images": {"count": 200, "source": "photos"},
        "versions": {"onnxruntime": "1.31.1"},
        "figures": [{"name": name, "measured": value} for name, value in MEASURED.items()],
    }
    path.write_text(json.dumps({**record, **changes}), encoding="utf-8")
    return path


def test_a_row_says_how_far_half_precision_is(tmp_path: Path) -> None:
    text = parity_block([read_parity(written(tmp_path / "small_net.fp16.json"))])
    assert "| small_net | 99.5 % | 2 | 1.3e-03 | 0.9992 | 0.042 % | 0.99987 | yes |" in text
    assert "in ONNX Runtime 1.31.1 on a CPU, against the modules in FP32, on 200 pictures of photos" in text


def test_a_comparison_out_of_tolerance_is_shown_as_such(tmp_path: Path) -> None:
    assert "| no |" in parity_block([read_parity(written(tmp_path / "net.fp16.json", passed=False))])


@pytest.mark.parametrize("wrong", [{"figures": []}, {"figures": None}])
def test_another_record_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ArtefactError, match="not a record of whymask verify, it lacks top1_agreement_min"):
        read_parity(written(tmp_path / "net.fp16.json", **wrong))
