"""Running mean and variance of the observations, stored with the policy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qwop_rl_core.ranks import merged_moments


class RunningNormalizer(nn.Module):
    """Shift and scale features to zero mean and unit variance, then clip them to [-clip, clip].

    The statistics are buffers: a policy's `state_dict` stores them, and a resumed run continues with the same
    numbers. They are float64, because a float32 mean over 10^8 steps would stop changing. Before the first
    `update` the module only clips.

    Batches are merged by the formulas for two sets of any size of Chan, Golub & LeVeque 1979, "Updating
    formulae and a pairwise algorithm for computing sample variances".
    """

    mean: Tensor  # float64 [D]
    var: Tensor  # float64 [D], population variance
    count: Tensor  # float64 [], number of rows seen

    def __init__(self, size: int, clip: float = 10.0, epsilon: float = 1e-4):
        """Make a normalizer without statistics.

        Args:
            size: number of features D.
            clip: bound of the output, in standard deviations.
            epsilon: added to the variance. A feature that was constant so far is scaled by at most
                1 / sqrt(epsilon) once it changes.
        """
        super().__init__()
        self.clip = clip
        self.epsilon = epsilon
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("var", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Merge a batch of features [..., D] into the statistics."""
        batch = features.reshape(-1, features.shape[-1]).to(torch.float64)
        batch_count = batch.shape[0]
        if batch_count == 0:
            return
        batch_mean = batch.mean(0)
        batch_var = (batch - batch_mean).square_().mean(0)  # torch.var_mean takes three times as long
        batch_mean, batch_var, batch_count = merged_moments(batch_mean, batch_var, batch_count)
        if self.count == 0:  # the initial mean 0 and variance 1 are placeholders, not data
            self.mean.copy_(batch_mean)
            self.var.copy_(batch_var)
            self.count.fill_(batch_count)
            return
        total = self.count + batch_count
        delta = batch_mean - self.mean
        squares = (
            self.var * self.count + batch_var * batch_count + delta**2 * (self.count * batch_count / total)
        )
        self.mean.add_(delta * (batch_count / total))
        self.var.copy_(squares / total)
        self.count.copy_(total)

    def forward(self, features: Tensor) -> Tensor:
        """Return the normalized features float32 [..., D]."""
        shift = self.mean.to(features.dtype)
        scale = (self.var + self.epsilon).rsqrt().to(features.dtype)
        return ((features - shift) * scale).clamp(-self.clip, self.clip)
