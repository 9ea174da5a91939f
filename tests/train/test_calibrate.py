from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest

from whymask.train import calibrate as calibration
from whymask.train.calibrate import THRESHOLDS, calibrate, lower_bound


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (15, 20), (97, 100), (300, 300)])
def test_the_bound_is_the_exact_one(successes: int, n: int) -> None:
    exact = binomtest(successes, n).proportion_ci(confidence_level=0.90, method="exact").low
    assert lower_bound(successes, n, 0.05) == pytest.approx(exact, abs=1e-9)


def calibrated(monkeypatch: pytest.MonkeyPatch, needed: torch.Tensor, alpha: float) -> calibration.Calibration:
    """Calibrate on images that keep their class up to a threshold of their own; a mask's area is 1 − threshold."""

    def kept_at(*_: object, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
        return needed >= threshold, torch.full((len(needed),), 1.0 - threshold)

    monkeypatch.setattr(calibration, "held_out_saliency", lambda *_: (None, None))
    monkeypatch.setattr(calibration, "kept_at", kept_at)
    nothing: object = None
    return calibrate(
        nothing,  # type: ignore[arg-type]
        nothing,  # type: ignore[arg-type]
        nothing,  # type: ignore[arg-type]
        torch.zeros(1),
        alpha=alpha,
        delta=0.05,
        device=torch.device("cpu"),
    )


def test_the_highest_threshold_that_keeps_the_promise_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = torch.linspace(0, 1, 400)
    found = calibrated(monkeypatch, needed, alpha=0.2)
    assert found.guarantee.met
    assert found.guarantee.lower_bound >= 0.8
    higher = THRESHOLDS[THRESHOLDS.index(found.threshold) + 1]
    assert lower_bound(int((needed >= higher).sum()), 400, 0.05) < 0.8


def test_a_promise_that_cannot_be_met_says_what_can(monkeypatch: pytest.MonkeyPatch) -> None:
    found = calibrated(monkeypatch, torch.full((10,), 1.0), alpha=0.05)
    assert not found.guarantee.met
    assert found.threshold == THRESHOLDS[0]
    assert found.guarantee.lower_bound == pytest.approx(0.05 ** (1 / 10))


def test_over_many_splits_the_promise_is_broken_in_at_most_delta_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    population = torch.rand(20_000, generator=generator)
    broken, splits = 0, 400
    for _ in range(splits):
        sample = population[torch.randint(len(population), (200,), generator=generator)]
        found = calibrated(monkeypatch, sample, alpha=0.1)
        true_retention = float((population >= found.threshold).float().mean())
        broken += found.guarantee.met and true_retention < 0.9
    # The exact test of "at most 5 %": its p-value must not be small.
    assert binomtest(broken, splits, 0.05, alternative="greater").pvalue > 0.01
