from __future__ import annotations

import pytest
import torch
from torch import nn

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier
from whymask.train.model_spec import load_classifier
from whymask.train.taps import describe_output, recording


@pytest.mark.parametrize(
    ("shape", "layout", "channels", "height", "prefix"),
    [
        ((1, 64, 7, 7), "nchw", 64, 7, 0),
        ((1, 14, 14, 96), "nhwc", 96, 14, 0),
        ((1, 196, 192), "tokens", 192, 14, 0),
        ((1, 197, 192), "tokens", 192, 14, 1),
        ((1, 201, 192), "tokens", 192, 14, 5),
    ],
)
def test_a_module_output_is_brought_to_channels_first_maps(
    shape: tuple[int, ...], layout: str, channels: int, height: int, prefix: int
) -> None:
    output = torch.arange(float(torch.tensor(shape).prod())).view(shape)
    tap = describe_output("block", output, 224, 224)
    assert tap is not None
    assert (tap.layout, tap.channels, tap.height, tap.prefix) == (layout, channels, height, prefix)
    assert tap.to_map(output).shape == (1, channels, height, height)


def test_tokens_become_rows_of_patches() -> None:
    tokens = torch.arange(10.0).view(1, 10, 1)  # one class token, then a 3 × 3 grid
    tap = describe_output("block", tokens, 96, 96)
    assert tap is not None
    assert tap.to_map(tokens)[0, 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize("shape", [(1, 1000), (1, 3, 5, 9), (1, 512, 1, 1), (4, 49, 96), (4, 8, 7, 7)])
def test_what_is_no_feature_map_is_passed_over(shape: tuple[int, ...]) -> None:
    assert describe_output("block", torch.zeros(shape), 224, 224) is None


@pytest.mark.parametrize(
    ("spec", "size", "sizes", "evidence"),
    [
        ("torchvision:resnet18", 64, (8, 4, 2), True),
        ("torchvision:resnet50", 64, (8, 4, 2), True),
        ("timm:resnet18", 64, (8, 4, 2), True),
        ("torchvision:mobilenet_v2", 64, (8, 4, 2), True),
        ("torchvision:squeezenet1_1", 64, (15, 7, 3), True),
        ("timm:mobilenetv3_small_050", 64, (8, 4, 2), False),
        ("timm:vit_tiny_patch16_224", 224, (14, 14, 14), True),
        ("torchvision:swin_t", 64, (8, 4, 2), True),
        ("timm:mobilevit_xxs", 64, (8, 4, 2), True),
    ],
)
def test_taps_are_chosen_for_convolutional_and_transformer_classifiers(
    spec: str, size: int, sizes: tuple[int, ...], evidence: bool
) -> None:
    classifier = load_classifier(spec, weights="random", size=(size, size))
    _, features = classifier.with_taps(torch.zeros(2, 3, size, size))
    assert tuple(f.shape[-1] for f in features)[-3:] == sizes
    assert [f.shape[1] for f in features] == [tap.channels for tap in classifier.tap_specs]
    assert classifier.has_class_evidence is evidence


def test_a_tap_can_be_named(classifier: FrozenClassifier) -> None:
    named = FrozenClassifier(classifier.model, "tiny", classifier.rule, taps=["body.1", "body.2"])
    assert named.taps == ("body.1", "body.2")


def test_an_unknown_tap_names_its_neighbours(classifier: FrozenClassifier) -> None:
    with pytest.raises(InputError, match=r"tap 'body\.7' is not a module with a feature map.*near names: body"):
        FrozenClassifier(classifier.model, "tiny", classifier.rule, taps=["body.7"])


def test_hooks_are_gone_after_recording_even_when_the_body_raises() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    with pytest.raises(RuntimeError, match="on purpose"), recording(model, ["0"]):
        raise RuntimeError("on purpose")
    assert not model[0]._forward_hooks
