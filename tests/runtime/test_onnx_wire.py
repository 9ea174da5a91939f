from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from colour_graph import Options, model

from whymask.runtime.errors import ArtefactError
from whymask.runtime.onnx_wire import encode, identity_model, metadata, node_names, operators

METADATA = {"whymask": '{"größe": 1}', "empty": ""}


def test_operators_are_counted(fused: Path):
    found = operators(fused)
    assert found["Resize"] == 1
    assert found["Where"] == 3
    assert next(iter(found)) == "Div"


def test_counts_equal_the_onnx_packages(fused: Path):
    onnx = pytest.importorskip("onnx")
    nodes = [node.op_type for node in onnx.load(fused).graph.node]
    assert operators(fused) == {name: nodes.count(name) for name in nodes}


@pytest.mark.parametrize("content", [b"", b"no graph at all, but some text", b"\x3a\xff\x01short", b"\x3a\x80"])
def test_other_files_are_refused(tmp_path: Path, content: bytes):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"x\.onnx: not an ONNX file"):
        operators(tmp_path / "x.onnx")


def test_fields_are_written_as_protobuf_does():
    assert encode(1, 300) == b"\x08\xac\x02"
    assert encode(2, b"testing") == b"\x12\x07testing"


def test_the_identity_model_runs():
    session = onnxruntime.InferenceSession(identity_model(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.array([3.0], np.float32)})[0].tolist() == [3.0]


def test_graphs_made_by_hand_are_valid():
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(identity_model(), full_check=True)
    onnx.checker.check_model(model(Options(explanation=True, certify="both")), full_check=True)


def test_metadata_is_read_as_it_was_written(tmp_path: Path):
    entries = [encode(14, encode(1, key.encode()) + encode(2, value.encode())) for key, value in METADATA.items()]
    (tmp_path / "x.onnx").write_bytes(identity_model() + b"".join(entries))
    assert metadata(tmp_path / "x.onnx") == METADATA


def test_metadata_equal_the_onnx_packages(fused: Path):
    onnx = pytest.importorskip("onnx")
    assert metadata(fused) == {entry.key: entry.value for entry in onnx.load(fused).metadata_props}
    assert "whymask" in metadata(fused)


def test_a_graph_without_metadata_has_none(tmp_path: Path):
    (tmp_path / "x.onnx").write_bytes(identity_model())
    assert metadata(tmp_path / "x.onnx") == {}


@pytest.mark.parametrize("content", [b"", b"no graph at all, but some text", b"\x3a\xff\x01short", encode(1, 7)])
def test_metadata_of_other_files_are_refused(tmp_path: Path, content: bytes):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"x\.onnx: not an ONNX file"):
        metadata(tmp_path / "x.onnx")


def test_an_absent_file_is_one_clear_line(tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"absent\.onnx: cannot be read \(No such file or directory\)"):
        metadata(tmp_path / "absent.onnx")


def test_nodes_are_named_in_the_files_order(fused: Path):
    onnx = pytest.importorskip("onnx")
    assert node_names(fused.read_bytes()) == [(node.name, node.op_type) for node in onnx.load(fused).graph.node]
