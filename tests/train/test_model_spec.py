from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from whymask.runtime.errors import InputError
from whymask.train.classifier import FrozenClassifier, InputRule
from whymask.train.model_spec import load_classifier, read_labels, read_state


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18", "expected torchvision:NAME, timm:NAME or FILE.py:FACTORY"),
        ("torchvision:resnet19", r"torchvision has no model 'resnet19'; did you mean .*resnet18"),
        ("timm:resnet1o8", "timm has no model 'resnet1o8'; did you mean"),
        ("hub:resnet18", "unknown source 'hub'"),
        ("nowhere.py:build", "model file nowhere.py does not exist"),
    ],
)
def test_a_wrong_model_is_one_clear_error(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_classifier(spec, weights="random")


def test_a_wrong_factory_names_the_right_one(model_file: Path) -> None:
    with pytest.raises(InputError, match=r"has no factory 'bild'; did you mean build"):
        load_classifier(f"{model_file}:bild")
    with pytest.raises(InputError, match=r"not_a_model returned int, expected a torch.nn.Module"):
        load_classifier(f"{model_file}:not_a_model")


def test_the_card_names_a_factory_without_the_folders_of_this_machine(model_file: Path) -> None:
    classifier = load_classifier(f"{model_file}:build", size=(32, 32))
    assert classifier.card().id == "tiny.py:build"


def test_the_number_of_classes_comes_from_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = models.squeezenet1_1(num_classes=7).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    classifier = load_classifier("torchvision:squeezenet1_1", weights=str(tmp_path / "w.safetensors"), size=(64, 64))
    assert classifier.num_classes == 7
    assert torch.equal(classifier.model.state_dict()["classifier.1.weight"], state["classifier.1.weight"])


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": Path}, tmp_path / "evil.pth")  # a class object: needs unpickling of code
    with pytest.raises(InputError, match="cannot be read"):
        read_state(tmp_path / "evil.pth")


def test_weights_that_do_not_fit_name_the_difference(tmp_path: Path, model_file: Path) -> None:
    torch.save({"head.weight": torch.zeros(9, 16)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"do not fit the model .*head.weight is \(9, 16\), expected \(5, 16\)"):
        load_classifier(f"{model_file}:build", weights=str(tmp_path / "w.pth"))


def test_normalisation_and_size_come_from_the_library() -> None:
    classifier = load_classifier("timm:mobilenetv3_small_050", weights="random")
    assert (classifier.rule.height, classifier.rule.width) == (224, 224)
    vit = load_classifier("timm:vit_tiny_patch16_224", weights="random")
    assert vit.rule.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "tench\ngoldfish\n"),
        ("labels.json", json.dumps(["tench", "goldfish"])),
        ("index.json", json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]})),
    ],
)
def test_labels_are_read_from_text_list_and_imagenet_index(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_labels(tmp_path / name) == ("tench", "goldfish")


def test_labels_of_another_number_are_refused(tmp_path: Path, model_file: Path) -> None:
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="2 labels for 5 classes"):
        load_classifier(f"{model_file}:build", labels=tmp_path / "labels.txt")


def test_the_classifier_stays_in_eval_mode_and_its_digest_sees_every_bit(classifier: FrozenClassifier) -> None:
    classifier.train()
    assert not any(module.training for module in classifier.modules())
    before = classifier.sha256()
    with torch.no_grad():
        classifier.model.body[0][1].running_mean[0] += 1e-7
    assert classifier.sha256() != before


def test_a_classifier_of_one_class_has_no_decision_to_explain() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    with pytest.raises(InputError, match="has 1 class, expected two or more"):
        FrozenClassifier(model, "tests:one", InputRule(32, 32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)))
