"""Teachers: what their maps are worth to a student, where they are kept, and that they line up with the crops."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from whymask.runtime.errors import ArtefactError, InputError
from whymask.runtime.files import write_atomically
from whymask.train import lessons, teacher_cache
from whymask.train.classifier import FrozenClassifier
from whymask.train.config import TEACHERS, TrainConfig
from whymask.train.data import ImageStore, cropped, draw_crops, find_images, larger
from whymask.train.distil import Lesson, distil_loss, kept_shares
from whymask.train.fit import train
from whymask.train.lessons import SHARD, Share, lessons_for_run, spread_positions
from whymask.train.loop import Loop
from whymask.train.masks import standardise
from whymask.train.methods import METHODS
from whymask.train.queries import draw_queries
from whymask.train.run import EXPLAINER_FILE
from whymask.train.step import Objective
from whymask.train.teacher_cache import KEY_FILE, Shard, TeacherCache
from whymask.train.teachers import teacher_from_config

FILL = (124.0, 116.0, 104.0)


@pytest.fixture()
def taught(config: TrainConfig) -> TrainConfig:
    return replace(config, teacher="optimise", teacher_steps=2, teacher_images=10, others=0.0, presence=0.0)


@pytest.fixture()
def store(classifier: FrozenClassifier, pictures: Path) -> ImageStore:
    return ImageStore(find_images([pictures]), larger(classifier.rule.to_card()))


def whole(maps: torch.Tensor) -> Lesson:
    """Uncropped: the transform that changes nothing."""
    still = torch.eye(2, 3).expand(len(maps), 2, 3)
    return Lesson(maps[:, None], still, torch.zeros(len(maps), dtype=torch.int64))


def test_the_teachers_that_a_configuration_takes_are_the_methods():
    assert set(TEACHERS) == set(METHODS)


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_says_everything_that_decides_its_maps(config: TrainConfig, name: str):
    own = teacher_from_config(replace(config, teacher=name), FILL)
    other = teacher_from_config(replace(config, teacher=name, teacher_steps=3, seed=5), (0.0, 0.0, 0.0))
    assert own.steps == METHODS[name].steps
    assert other.steps == 3
    assert json.dumps(own.settings) != json.dumps(other.settings)
    assert len({json.dumps(teacher_from_config(replace(config, teacher=t), FILL).settings) for t in TEACHERS}) == 8


@pytest.mark.parametrize("name", ["marc", "optimise", "activation-matching-plain"])
def test_a_teacher_gives_a_map_a_picture_and_leaves_the_classifier(
    config: TrainConfig, classifier: FrozenClassifier, name: str
):
    before = classifier.sha256()
    pixels = 255.0 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    told: list[int] = []
    teacher = teacher_from_config(replace(config, teacher=name, teacher_steps=2), FILL)
    maps = teacher.explain(classifier, pixels, torch.tensor([0, 1]), on_step=told.append)
    assert (len(maps), maps.ndim, told) == (2, 3, [1, 2])
    assert classifier.sha256() == before


def test_a_map_is_cut_to_exactly_the_area_and_ties_share_what_is_left():
    maps = torch.tensor([[4.0, 3.0, 1.0, 1.0], [9.0, 8.0, 7.0, 6.0]]).view(2, 1, 2, 2)
    shares = kept_shares(maps, torch.tensor([0.625, 0.5]))
    assert shares[0].flatten().tolist() == [1.0, 1.0, 0.25, 0.25]
    assert shares[1].flatten().tolist() == [1.0, 1.0, 0.0, 0.0]


def test_a_crop_of_a_mask_keeps_its_ties():
    """Interpolation weights do not sum to exactly one; an order made of rounding must not be taught."""
    crops = draw_crops(6, torch.Generator().manual_seed(0))
    flat = Lesson(torch.full((6, 1, 16, 16), 0.3), crops, torch.zeros(6))
    assert (flat.at_size(12, 12).flatten(1).std(1) == 0).all()


@pytest.mark.parametrize("stretch", [1.0, 30.0])
def test_the_loss_prefers_the_teachers_order_whatever_its_scale(stretch: float):
    generator = torch.Generator().manual_seed(0)
    ranking = standardise(torch.randn(3, 1, 8, 8, generator=generator))
    lesson, area = whole(stretch * ranking[:, 0] + 5.0), torch.tensor([0.1, 0.3, 0.7])
    agreed, opposed = distil_loss(ranking, lesson, area), distil_loss(-ranking, lesson, area)
    assert (agreed + 0.5 < opposed).all()
    assert torch.allclose(agreed, distil_loss(ranking, whole(ranking[:, 0]), area), atol=1e-4)


def test_descending_the_loss_finds_the_teachers_order():
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(1, 6, 6, generator=generator)
    theta = torch.randn(1, 1, 6, 6, generator=generator).requires_grad_(True)
    optimiser = torch.optim.Adam([theta], lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        distil_loss(standardise(theta), whole(teacher), torch.rand(1, generator=generator)).sum().backward()
        optimiser.step()
    ranks = torch.stack([m.detach().flatten().argsort().argsort().float() for m in (theta, teacher)])
    assert torch.corrcoef(ranks)[0, 1] > 0.95


def test_a_crop_of_the_map_shows_what_the_crop_of_the_picture_shows(store: ImageStore, classifier: FrozenClassifier):
    """The map here is the picture's own red at the input size, which the teacher would have seen."""
    card = classifier.rule.to_card()
    indices = torch.arange(6)
    red = ImageStore(store.paths[:6], card)[indices][:, :1].float()
    crops = draw_crops(6, torch.Generator().manual_seed(2))
    pixels = cropped(store[indices], crops, card.height, card.width)
    maps = Lesson(red, crops, indices).at_size(card.height, card.width)
    for picture, cut, uncut in zip(pixels[:, 0], maps[:, 0], red[:, 0], strict=True):
        right, wrong = (torch.corrcoef(torch.stack([picture.flatten(), m.flatten()]))[0, 1] for m in (cut, uncut))
        assert right > 0.97
        assert right > wrong + 0.05


def test_lessons_cover_pictures_spread_over_the_set(
    taught: TrainConfig, classifier: FrozenClassifier, store: ImageStore, tmp_path: Path
):
    made = lessons_for_run(taught, classifier, store, tmp_path)
    assert made.positions.tolist() == [i * 24 // 10 for i in range(10)]
    assert made.maps.shape[0] == len(made.target) == len(made) == 10
    assert {k: made.facts[k] for k in ("teacher", "teacher_steps", "teacher_images")} == {
        "teacher": "optimise",
        "teacher_steps": 2,
        "teacher_images": 10,
    }
    assert made.facts["teacher_seconds"] >= 0.0
    lesson = made.lesson(torch.tensor([3]), torch.eye(2, 3)[None])
    assert torch.equal(lesson.maps[0, 0], made.maps[3])
    assert spread_positions(5, 0).tolist() == spread_positions(5, 9).tolist() == [0, 1, 2, 3, 4]


def test_an_interrupted_teacher_goes_on_where_it_stopped(
    taught: TrainConfig,
    classifier: FrozenClassifier,
    store: ImageStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    whole_cache = lessons_for_run(taught, classifier, store, tmp_path / "whole")
    asked: list[int] = []

    def counting(config: TrainConfig, fill: tuple[float, float, float], stop_at: int = 99):
        teacher = teacher_from_config(config, fill)

        def explain(*arguments: object, **options: object) -> torch.Tensor:
            if len(asked) == stop_at:
                raise KeyboardInterrupt
            asked.append(len(arguments[1]))  # type: ignore[arg-type]
            return teacher.explain(*arguments, **options)  # type: ignore[arg-type]

        return replace(teacher, explain=explain)

    monkeypatch.setattr(lessons, "teacher_from_config", lambda config, fill: counting(config, fill, stop_at=1))
    with pytest.raises(KeyboardInterrupt):
        lessons_for_run(taught, classifier, store, tmp_path / "broken")
    monkeypatch.setattr(lessons, "teacher_from_config", counting)
    resumed = lessons_for_run(taught, classifier, store, tmp_path / "broken")
    assert asked == [SHARD, 10 - SHARD]
    assert torch.equal(resumed.maps, whole_cache.maps)
    lessons_for_run(taught, classifier, store, tmp_path / "broken")
    assert len(asked) == 2


def test_processes_share_the_pictures_and_read_them_all(
    taught: TrainConfig, classifier: FrozenClassifier, store: ImageStore, tmp_path: Path
):
    waited: list[bool] = []
    with pytest.raises(ArtefactError, match=r"00001\.safetensors cannot be read"):
        lessons_for_run(taught, classifier, store, tmp_path, Share(0, 2, lambda: waited.append(True)))
    second = lessons_for_run(taught, classifier, store, tmp_path, Share(1, 2, lambda: waited.append(True)))
    assert len(second) == 10
    assert waited == [True, True]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teacher_steps": 3}, "steps 2, now 3"),
        ({"teacher": "marc"}, 'teacher "optimise", now "marc"'),
        ({"teacher_images": 4}, "pictures 10, now 4"),
        ({"tv": 0.5}, "settings "),
    ],
)
def test_a_cache_of_something_else_is_refused(
    taught: TrainConfig,
    classifier: FrozenClassifier,
    store: ImageStore,
    tmp_path: Path,
    change: dict[str, object],
    said: str,
):
    cache = tmp_path / "cache"
    kept = replace(taught, teacher_cache=str(cache))
    lessons_for_run(kept, classifier, store, tmp_path)
    with pytest.raises(ArtefactError, match=f"holds the maps of another teacher .*{said}.*--teacher-cache"):
        lessons_for_run(replace(kept, **change), classifier, store, tmp_path)  # type: ignore[arg-type]


def test_a_cache_of_other_pictures_or_another_classifier_is_refused(
    taught: TrainConfig, classifier: FrozenClassifier, store: ImageStore, tmp_path: Path
):
    lessons_for_run(taught, classifier, store, tmp_path)
    store.paths.reverse()
    with pytest.raises(ArtefactError, match="pictures_sha256"):
        lessons_for_run(taught, classifier, store, tmp_path)
    store.paths.reverse()
    with torch.no_grad():
        next(classifier.model.parameters()).add_(0.1)
    with pytest.raises(ArtefactError, match="classifier_sha256"):
        lessons_for_run(taught, classifier, store, tmp_path)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path):
    shard = Shard(torch.rand(2, 4, 4), torch.tensor([0, 1]), 1.5, 0.5)
    cache, other = TeacherCache(tmp_path / "a", {"steps": 1}), TeacherCache(tmp_path / "b", {"steps": 2})
    cache.write(0, shard)
    other.write(0, shard)
    read = cache.read(0)
    assert torch.equal(read.maps, shard.maps) and torch.equal(read.target, shard.target)
    assert (read.seconds, read.cpu_seconds) == (1.5, 0.5)
    file = tmp_path / "a" / "00000.safetensors"
    file.write_bytes((tmp_path / "b" / "00000.safetensors").read_bytes())
    with pytest.raises(ArtefactError, match=r"another teacher than teacher\.json beside it says"):
        cache.read(0)
    file.write_bytes(b"torn")
    with pytest.raises(ArtefactError, match=r"cannot be read .* remove it, and it is made again"):
        cache.read(0)
    cache.write(0, shard._replace(maps=shard.maps / 0.0))
    with pytest.raises(ArtefactError, match="no numbers"):
        cache.read(0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(ArtefactError, match=f"exists and has no {KEY_FILE}"):
        TeacherCache(tmp_path / "mine", {})


def test_only_the_teacher_moves_the_ranking_of_taught_pictures(
    taught: TrainConfig, classifier: FrozenClassifier, store: ImageStore, monkeypatch: pytest.MonkeyPatch
):
    """No explanation is shown to the classifier with a gradient, and the explainer still gets one."""
    from whymask.train.explainers import build_explainer

    quiet = replace(taught, tv=0.0, binarisation=0.0)
    explainer = build_explainer(quiet.explainer_config(), classifier).train()
    pixels = store[torch.arange(4)].float()[..., :32, :32]
    target = classifier(classifier.normalise(pixels)).argmax(1)
    monkeypatch.setattr(Objective, "_held", lambda *_: pytest.fail("the classifier was asked about an explanation"))
    lesson = Lesson(torch.rand(4, 1, 8, 8), torch.eye(2, 3).expand(4, 2, 3), target)
    result = Objective(quiet, classifier, FILL)(explainer, pixels, 0.1, torch.Generator().manual_seed(0), lesson)
    result.loss.backward()
    assert explainer.out.weight.grad is not None and explainer.out.weight.grad.abs().sum() > 0
    assert result.figures["taught"] == 1.0
    assert all(parameter.grad is None for parameter in classifier.parameters())
    unseen = lesson._replace(target=classifier(classifier.normalise(pixels)).argmin(1))
    unsure = Objective(quiet, classifier, FILL)(explainer, pixels, 0.1, torch.Generator().manual_seed(0), unseen)
    assert (unsure.figures["taught"], unsure.figures["distil"]) == (0.0, 0.0)


def test_a_crop_is_asked_about_the_class_that_was_explained_where_it_is_seen(classifier: FrozenClassifier):
    x = classifier.normalise(255.0 * torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    asked = draw_queries(classifier, x, 0.5, torch.Generator().manual_seed(0))
    logits = torch.tensor([[3.0, 2.9, 2.8, 0.0, -9.0]]).repeat(4, 1)
    asked = replace(asked, logits=logits, target=torch.zeros(4, dtype=torch.int64))
    about = asked.about(torch.tensor([1, 1, 1, 4]))
    assert asked.own.tolist() == [False, False, True, True]
    assert about.target.tolist() == [0, 0, 1, 0]
    assert about.seen.tolist() == [True] * 4


def test_a_taught_run_says_so_and_leaves_the_classifier_bit_identical(taught: TrainConfig, tmp_path: Path):
    run = train(replace(taught, others=0.5, presence=1.0), tmp_path / "run")
    assert run.classifier.sha256() == run.card.classifier.sha256
    assert run.card.training["teacher"] == "optimise"
    assert (run.card.training["teacher_steps"], run.card.training["teacher_images"]) == (2, 10)
    assert run.card.training["teacher_seconds"] > 0
    assert (tmp_path / "run" / "teacher" / KEY_FILE).is_file()
    head, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert {"distil", "taught", "asked"} <= set(head.split(","))
    assert len(rows) == 4


def test_a_resumed_student_equals_an_unbroken_one(taught: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):

    torch.set_num_threads(1)
    taught = replace(taught, teacher_until=0.75)  # broken off while it is taught; the last two steps are not
    train(taught, tmp_path / "unbroken")
    original = Loop.step

    def stop(self: Loop) -> dict[str, float]:
        if self.progress.step == 5:
            raise KeyboardInterrupt
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(taught, tmp_path / "broken")
    train(replace(taught, teacher_cache=str(tmp_path / "unbroken" / "teacher")), tmp_path / "broken", resume=True)
    before, after = (load_file(tmp_path / name / EXPLAINER_FILE) for name in ("unbroken", "broken"))
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"teacher": "rise"}, "teacher is 'rise', expected one of activation-matching"),
        ({"teacher_steps": 5}, "teacher_steps is 5 without a teacher; name one with --teacher"),
        ({"teacher": "marc", "distil": 0.0}, "it would teach nothing"),
        ({"teacher": "marc", "teacher_until": 1.5}, r"teacher_until is 1.5, expected a number in \[0, 1\]"),
        ({"teacher": "marc", "teacher_images": -1}, "teacher_images is -1, expected a number ≥ 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(config: TrainConfig, fields: dict[str, object], message: str):
    with pytest.raises(InputError, match=message):
        replace(config, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", ["half", "whole"])
def test_two_processes_that_begin_one_cache_at_once_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    """The other process writes between this one's look at the key and its look at the folder."""
    folder, looked = tmp_path / "cache", []
    original = Path.is_file

    def is_file(path: Path) -> bool:
        found = original(path)
        if path.name == KEY_FILE and not looked:
            looked.append(path)
            if moment == "half":
                folder.mkdir()
                (folder / ".teacher.0123abcd.json").write_text("{")
            else:
                TeacherCache(folder, {"steps": 1}).write(0, Shard(torch.rand(1, 2, 2), torch.tensor([0]), 1.0, 1.0))
        return found

    monkeypatch.setattr(Path, "is_file", is_file)
    cache = TeacherCache(folder, {"steps": 1})
    assert looked
    assert (0 in cache) == (moment == "whole")


def test_another_key_that_was_written_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        teacher_cache, "write_atomically", lambda path, text: write_atomically(path, text.replace("1", "2"))
    )
    with pytest.raises(ArtefactError, match="holds the maps of another teacher"):
        TeacherCache(tmp_path / "cache", {"steps": 1})
