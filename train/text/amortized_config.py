"""How a token-mask head is trained: MaRC's objective over many texts, or copies of masks that were made before."""

from __future__ import annotations

import math
from dataclasses import dataclass

from whymask.runtime.errors import InputError


@dataclass(frozen=True)
class AmortizedConfig:
    """Settings of the head and of its training. Weights, flips and noise are those of `TextMarcConfig`.

    Attributes:
        steps: of Adam, under a one-cycle rate.
        batch_size: texts a step.
        max_rate: peak of the rate.
        width: of the head.
        reach: tokens that the head's mixing layer sees at once, odd.
        keep: weight of −log P_y(kept).
        lose: weight of −log(1 − P_y(left)).
        sparsity: weight of (mean m)².
        smoothness: weight of the mean step between neighbours, which stands for MaRC's −mean log σ.
        ranked: weight of the same two decisions at an area drawn anew for each text, so that the order of tokens is
            right at every area and not at one; 0 trains MaRC's objective alone.
        least_area, most_area: between which that area is drawn, logarithmically, in (0, 1).
        flips: share of the tokens whose m is set to 0, and of those for which it is set to 1, drawn anew at each step.
        noise: deviation of the noise on embeddings, in deviations of the text's own embeddings.
        holdout: share of the texts that are kept for the threshold.
        alpha, delta: the threshold promises to keep 1 − alpha of the decisions with confidence 1 − delta.
        seed: of everything random.
    """

    steps: int = 600
    batch_size: int = 32
    max_rate: float = 2e-3
    width: int = 32
    reach: int = 5
    keep: float = 1.0
    lose: float = 1.0
    sparsity: float = 4.0
    smoothness: float = 0.1
    ranked: float = 1.0
    least_area: float = 0.03
    most_area: float = 0.6
    flips: float = 0.05
    noise: float = 0.1
    holdout: float = 0.2
    alpha: float = 0.1
    delta: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that train nothing."""
        if self.steps < 2 or self.batch_size < 1 or not 0.0 < self.max_rate < math.inf:
            raise InputError(
                f"amortized text: {self.steps} steps, batch_size {self.batch_size}, max_rate {self.max_rate}; expected "
                "at least 2, at least 1, and a rate above 0"
            )
        if self.width < 1 or self.reach < 1 or self.reach % 2 == 0:
            raise InputError(
                f"amortized text: width {self.width}, reach {self.reach}; expected at least 1, and an odd number"
            )
        weights = (self.keep, self.lose, self.sparsity, self.smoothness, self.ranked, self.noise)
        if min(weights) < 0.0 or not 0.0 <= self.flips < 0.5:
            raise InputError(
                f"amortized text: weights {weights[:-1]}, noise {self.noise}, flips {self.flips}; expected "
                "none below 0, and flips below 0.5"
            )
        shares = (self.least_area, self.most_area, self.holdout, self.alpha, self.delta)
        if not all(0.0 < share < 1.0 for share in shares) or self.least_area > self.most_area:
            raise InputError(
                f"amortized text: areas {self.least_area} to {self.most_area}, holdout {self.holdout}, alpha "
                f"{self.alpha}, delta {self.delta}; expected shares in (0, 1), and areas that rise"
            )
