"""The token-mask head: one number a token from the frozen classifier's hidden states, in the pass that classifies.

    h_j = gelu(Σ_l A_l · norm_l(s_lj) + c_y),  z_j = o · norm(h_j + gelu(Σ_i B_i · h_{j+i})),  |i| ≤ reach / 2

A_l reads layer l, c_y is a learnt row of the class that is explained, B looks at neighbours. m_j = sigmoid(z_j).

Letters: K texts, N tokens of the longest, D_l width of layer l, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NOWHERE = -30.0
"""z where no token of the text is: sigmoid gives 1e-13, below every threshold."""


class TokenMaskHead(nn.Module):
    """See the module.

    Args:
        widths: D_l of every state that is read.
        classes: C.
        width: of the head.
        reach: tokens that the mixing layer sees at once, odd.
    """

    def __init__(self, widths: Sequence[int], classes: int, width: int, reach: int) -> None:
        super().__init__()
        # Without learnt scales, which the projections have already.
        self.norms = nn.ModuleList(nn.LayerNorm(each, elementwise_affine=False) for each in widths)
        self.projections = nn.ModuleList(nn.Linear(each, width, bias=False) for each in widths)
        self.rows = nn.Embedding(classes, width)
        self.mix = nn.Conv1d(width, width, reach, padding=reach // 2)
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)

    def forward(self, states: Sequence[Tensor], own: Tensor, target: Tensor) -> Tensor:
        """Scores before the sigmoid.

        Args:
            states: float32 (K, N, D_l) each.
            own: bool (K, N), true at a text's own tokens.
            target: int64 (K,), the class to explain.

        Returns:
            float32 (K, N); NOWHERE where `own` is false.
        """
        parts = [
            project(norm(state)) for norm, project, state in zip(self.norms, self.projections, states, strict=True)
        ]
        read = torch.stack(parts).sum(0) + self.rows(target)[:, None]
        # What stands after a text's end must not reach its last words.
        hidden = nn.functional.gelu(read) * own[..., None]
        near = nn.functional.gelu(self.mix(hidden.transpose(1, 2)).transpose(1, 2))
        scores: Tensor = self.out(self.norm(hidden + near))[..., 0]
        return scores.masked_fill(~own, NOWHERE)
