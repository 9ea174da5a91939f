"""The circuit read-out, on a classifier whose paths are known."""

from __future__ import annotations

import xml.etree.ElementTree

import pytest
import torch
from torch import nn

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier, InputRule
from whymask.train.matching.circuit import GRADIENT, RULES, WEIGHT, read_circuit
from whymask.train.matching.circuit_svg import svg_from_circuit

SIZE = 16


class Pipes(nn.Module):
    """Red, green and blue run through pipes of their own to a class each; what is negative does not pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 2, 2, bias=False)
        self.head = nn.Linear(3, 3, bias=False)
        for convolution in (self.first, self.second):
            nn.init.zeros_(convolution.weight)
            for channel in range(3):
                convolution.weight.data[channel, channel] = 1.0
        nn.init.eye_(self.head.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) → (B, 3)."""
        logits: torch.Tensor = self.head(self.second(self.first(x.relu())).mean((2, 3)))
        return logits


@pytest.fixture
def pipes() -> FrozenClassifier:
    rule = InputRule(SIZE, SIZE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return FrozenClassifier(Pipes(), "tests:pipes", rule, taps=("first", "second"))


def halves() -> tuple[torch.Tensor, torch.Tensor]:
    """Green on the left, blue on the right; the mask keeps the left."""
    pixels = torch.zeros(3, SIZE, SIZE)
    pixels[1, :, : SIZE // 2] = 255.0
    pixels[2, :, SIZE // 2 :] = 204.0
    mask = torch.zeros(SIZE, SIZE)
    mask[:, : SIZE // 2] = 1.0
    return pixels, mask


@pytest.mark.parametrize("rule", RULES)
def test_the_pipe_that_carries_picture_and_explanation_is_found(pipes: FrozenClassifier, rule: str):
    circuit = read_circuit(pipes, *halves(), 1, top=1, rule=rule, fill=(0.0, 0.0, 0.0))
    assert [layer["name"] for layer in circuit["layers"]] == ["first", "second", "class"]
    assert [[node["channel"] for node in layer["nodes"]] for layer in circuit["layers"]] == [[1], [1], [1]]
    assert [node["explanation"] for layer in circuit["layers"][:2] for node in layer["nodes"]] == [1.0, 1.0]
    assert circuit["layers"][0]["nodes"][0]["image"] == pytest.approx(255 / (255 + 204), abs=1e-5)
    assert [layer["overlap"] for layer in circuit["layers"][:2]] == [1.0, 1.0]
    assert circuit["edges"] == [
        {"layer": 0, "source": 1, "target": 1, "score": 1.0},
        {"layer": 1, "source": 1, "target": 1, "score": 1.0},
    ]


@pytest.mark.parametrize("rule", RULES)
def test_no_edge_runs_between_pipes(pipes: FrozenClassifier, rule: str):
    pixels, _ = halves()
    circuit = read_circuit(pipes, pixels, torch.ones(SIZE, SIZE), 2, top=2, rule=rule)
    between = [edge for edge in circuit["edges"] if edge["source"] != edge["target"]]
    assert all(edge["score"] == 0.0 for edge in between)
    of_class = [edge for edge in circuit["edges"] if edge["layer"] == 1]
    assert of_class == [{"layer": 1, "source": 2, "target": 2, "score": 1.0}]
    assert {node["channel"] for node in circuit["layers"][0]["nodes"]} == {1, 2}


def test_overlap_tells_of_channels_that_the_explanation_lost(pipes: FrozenClassifier):
    pixels, mask = halves()
    circuit = read_circuit(pipes, pixels, 1.0 - mask, 2, top=1, fill=(0.0, 0.0, 0.0))
    assert circuit["layers"][0]["overlap"] == 0.0  # green is the picture's strongest, blue the explanation's
    assert circuit["layers"][-1]["nodes"][0]["explanation"] > circuit["layers"][-1]["nodes"][0]["image"]


def test_the_picture_has_a_dot_a_channel_and_a_line_an_edge(pipes: FrozenClassifier):
    circuit = read_circuit(pipes, *halves(), 1, top=3)
    root = xml.etree.ElementTree.fromstring(svg_from_circuit(circuit, "cat & <dog>"))
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert tags.count("circle") == 7
    assert tags.count("path") == len(circuit["edges"]) == 5 + 2
    assert "cat & <dog>" in [element.text for element in root.iter()]


def test_what_cannot_be_read_is_refused(pipes: FrozenClassifier, classifier: FrozenClassifier):
    with pytest.raises(InputError, match="circuit: 0 channels a layer by rule 'gradient'; expected at least 1"):
        read_circuit(pipes, *halves(), 1, top=0)
    with pytest.raises(InputError, match="1 channels a layer by rule 'guess'; expected at least 1, by gradient or we"):
        read_circuit(pipes, *halves(), 1, top=1, rule="guess")
    tiny = torch.zeros(3, 32, 32), torch.ones(32, 32)
    taps = ("body.0", "body.2")  # 8 and 16 channels, with 12 between them
    with pytest.raises(InputError, match=r"has no convolution from 8 to 16 channels.*take rule 'gradient'"):
        read_circuit(classifier, *tiny, 0, rule=WEIGHT, taps=taps)
    assert read_circuit(classifier, *tiny, 0, rule=GRADIENT, taps=taps)["edges"]
