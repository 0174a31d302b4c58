"""A policy that plays without PyTorch: the network of a checkpoint, computed by NumPy.

`Policy` computes the same in another order, so the last bits of its logits differ. Here the bits of a row do
not depend on how many rows are computed at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_rl_core.checkpoint_file import (
    CheckpointArrays,
    check_arrays,
    check_finite,
    check_size,
    expected_arrays,
    load_arrays,
    network_errors,
    wrong_features,
)

EPSILON = 1e-4  # of RunningNormalizer, like `clip` below: a checkpoint does not store them
Array32 = NDArray[np.float32]


def _tanh(x: Array32) -> Array32:
    return np.tanh(x, out=x)


def _relu(x: Array32) -> Array32:
    return np.maximum(x, 0, out=x)


_ACTIVATIONS: dict[str, Callable[[Array32], Array32]] = {"tanh": _tanh, "relu": _relu}


def linear(x: Array32, weight: Array32, bias: Array32) -> Array32:
    """Compute x W' + b, float32 [N, fan_out].

    BLAS is not used. Its threads wait for each other in busy loops: on two cores that other programs use as
    well, a layer took 100 times as long. Without it, a row's bits are the same in any batch, too.

    Args:
        x: [N, fan_in].
        weight: [fan_out, fan_in].
        bias: [fan_out].
    """
    return np.einsum("ni,oi->no", x, weight, optimize=False) + bias


def layer_norm(x: Array32, weight: Array32, bias: Array32, epsilon: float) -> Array32:
    """Normalize each row of x [N, D] to zero mean and unit variance, times weight [D] plus bias [D].

    epsilon: added to the variance.
    """
    centered = x - x.mean(-1, keepdims=True)
    variance = np.square(centered).mean(-1, keepdims=True)
    return centered / np.sqrt(variance + np.float32(epsilon)) * weight + bias


class NumpyPolicy:
    """A network with the metadata that it needs to play, as `Policy`, in float32.

    `is_q_network`: its scores are action values, not logits. `shift`, `scale` and `clip`: normalized features
    are (features - shift) * scale, clipped to [-clip, clip].
    `norm_epsilon`: what LayerNorm adds to variances.
    """

    clip: float = 10.0
    norm_epsilon: float = 1e-5  # of torch.nn.LayerNorm

    def __init__(self, checkpoint: CheckpointArrays, where: str | os.PathLike[str] = "checkpoint") -> None:
        """Take the network of a checkpoint.

        Args:
            checkpoint: what `load_arrays` returns.
            where: name of the file, for messages.

        Raises:
            CheckpointError: metadata and weights do not fit each other, or a weight is not finite.
        """
        arrays, self.metadata = checkpoint
        with network_errors(where):
            check_size(self.metadata, [array.size for array in arrays.values()])
            expected = expected_arrays(self.metadata)
        check_arrays(where, expected, {n: (a.shape, str(a.dtype)) for n, a in arrays.items()})
        check_finite(where, arrays)
        self.arrays: Mapping[str, NDArray[Any]] = arrays
        self.is_q_network = self.metadata["kind"] == "q_network"
        self.feature_size = int(self.metadata["feature_size"])
        self.activation = str(self.metadata["activation"]) if self.is_q_network else "tanh"
        self.temperature = float(self.metadata.get("temperature", 0.0)) if self.is_q_network else 0.0
        with np.errstate(all="ignore"):  # as in PyTorch, a nonsensical variance gives NaN and no warning
            self.shift: Array32 = arrays["normalizer.mean"].astype(np.float32)
            self.scale: Array32 = (1 / np.sqrt(arrays["normalizer.var"] + EPSILON)).astype(np.float32)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NumpyPolicy:
        """Load the policy of a checkpoint.

        Args:
            path: file to read.

        Raises:
            CheckpointError: the file is missing, damaged or foreign, or weights and metadata do not fit.
        """
        return cls(load_arrays(path), path)

    @property
    def has_values(self) -> bool:
        """Whether there is a trained critic: cloning leaves the scale of its returns at 1."""
        return not self.is_q_network and float(self.arrays["value_std"]) != 1

    def layers(self, name: str) -> list[tuple[Array32, Array32]]:
        """Return weight and bias of each layer of "policy", "value", "trunk" or "advantage".

        A weight with one axis is a LayerNorm's, which comes before the activation.
        """
        numbers = sorted(
            int(key.split(".")[1]) for key in self.arrays if key.startswith(f"{name}.") and key[-1] == "t"
        )
        return [(self.arrays[f"{name}.{i}.weight"], self.arrays[f"{name}.{i}.bias"]) for i in numbers]

    def scores(self, features: NDArray[np.floating[Any]]) -> Array32:
        """Return logits, or action values, float32 [N, A] of features [N, D].

        Raises:
            CheckpointError: the network takes another number of features.
        """
        inputs = self._normalized(features)
        if not self.is_q_network:
            return self._mlp("policy", inputs)
        x = _ACTIVATIONS[self.activation](self._mlp("trunk", inputs))
        advantage = self._mlp("advantage", x)
        if self.temperature > 0.0:
            top = advantage.max(-1, keepdims=True)
            log_sum = np.log(np.exp(advantage - top).sum(-1, keepdims=True))
            log_policy = (advantage - top) - log_sum
            value = self._mlp("value", inputs, "relu")
            return value + np.float32(self.temperature) * log_policy
        if not self.metadata["dueling"]:
            return advantage
        return self._mlp("value", x) + advantage - advantage.mean(-1, keepdims=True)

    def values(self, features: NDArray[np.floating[Any]]) -> Array32:
        """Return the critic's state values float32 [N] of features [N, D], in units of return.

        Raises:
            CheckpointError: the network takes another number of features.
            ValueError: a Q-network has no critic.
        """
        if self.is_q_network:
            raise ValueError("a Q-network has no critic")
        value = self._mlp("value", self._normalized(features))[:, 0]
        return self.arrays["value_mean"] + self.arrays["value_std"] * value

    def _normalized(self, features: NDArray[np.floating[Any]]) -> Array32:
        x = np.asarray(features, np.float32)
        if x.ndim != 2 or x.shape[1] != self.feature_size:
            raise wrong_features(self.feature_size, x.shape)
        return np.clip((x - self.shift) * self.scale, -self.clip, self.clip, dtype=np.float32)

    def _mlp(self, name: str, x: Array32, activation: str = "") -> Array32:
        layers = self.layers(name)
        for i, (weight, bias) in enumerate(layers):
            if weight.ndim == 1:
                x = layer_norm(x, weight, bias, self.norm_epsilon)
            else:
                x = linear(x, weight, bias)
            if i < len(layers) - 1 and layers[i + 1][0].ndim == 2:
                x = _ACTIVATIONS[activation or self.activation](x)
        return x
