from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from whymask.runtime.errors import InputError, TrainingError
from whymask.train.classifier import FrozenClassifier, InputRule
from whymask.train.config import TrainConfig
from whymask.train.flint.config import FlintConfig
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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.txt", "é\n".encode("latin-1"), r"labels file .*l\.txt cannot be read \(.*\); expected text in UTF-8"),
        ("l.json", b'["a", []]', r"labels file .*l\.json: expected a JSON list"),
    ],
)
def test_labels_that_are_none_are_one_clear_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / name)


def test_the_mark_of_windows_editors_is_no_part_of_a_label(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("cat\ndog\n", encoding="utf-8-sig")
    assert read_labels(tmp_path / "l.txt") == ("cat", "dog")


def test_a_buffer_that_no_file_holds_may_not_move_either(classifier: FrozenClassifier) -> None:
    classifier.model.register_buffer("shift", torch.zeros(3), persistent=False)
    identity, bits = classifier.sha256(), classifier.bits_sha256()
    classifier.model.get_buffer("shift").add_(1.0)
    assert classifier.sha256() == identity
    assert classifier.bits_sha256() != bits


@pytest.mark.parametrize("module", ["whymask.train.fit", "whymask.train.flint.run"])
def test_a_training_that_moves_such_a_buffer_is_stopped(
    model_file: Path, pictures: Path, tmp_path: Path, module: str
) -> None:
    moving = tmp_path / "moving.py"
    text = model_file.read_text().replace(
        "        self.head =",
        '        self.register_buffer("calls", torch.zeros(1), persistent=False)\n        self.head =',
    )
    moving.write_text(text.replace("        return self.head(", "        self.calls += 1\n        return self.head("))
    options = {"data": (str(pictures),), "size": (32, 32), "steps": 1, "batch_size": 4}
    config = (TrainConfig if module.endswith("fit") else FlintConfig)(f"{moving}:build", **options)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="the frozen classifier changed during training"):
        importlib.import_module(module).train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import no_such_package\n",
            r"own\.py, line 1: its own code fails \(ModuleNotFoundError: No module named 'no_s",
        ),
        ("def build(:\n", r"model file .*own\.py: its own code fails \(SyntaxError: "),
        (
            "def build(x):\n    return x\n",
            r"its own code fails \(TypeError: build\(\) missing 1 required .*FACTORY\(\)",
        ),
        ("\ndef build():\n    return 1 / 0\n", r"own\.py, line 3: its own code fails \(ZeroDivisionError: "),
    ],
    ids=["import", "syntax", "argument", "factory"],
)
def test_a_factory_that_fails_is_one_clear_error(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "own.py").write_text(code)
    with pytest.raises(InputError, match=message):
        load_classifier(f"{tmp_path / 'own.py'}:build")


def test_a_model_of_torchvision_that_is_no_classifier_is_one_clear_error() -> None:
    with pytest.raises(InputError, match="torchvision has no model 'maskrcnn_resnet50_fpn'; "):
        load_classifier("torchvision:maskrcnn_resnet50_fpn", weights="random")
