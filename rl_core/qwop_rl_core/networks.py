"""The two networks: an actor-critic for PPO and cloning, a Q-network for DQN and PQN."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from qwop_rl_core.losses import log_softmax
from qwop_rl_core.normalizer import RunningNormalizer
from qwop_rl_core.tanh_mlp import tanh_mlp

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
HIDDEN_GAIN = math.sqrt(2.0)
# A nearly uniform first policy: Andrychowicz et al. 2021, "What matters...", section 3.2.
POLICY_HEAD_GAIN = 0.01


class MLP(nn.Sequential):
    """Linear layers with an activation between them.

    `precision` None computes layer by layer, in float32. torch.float32 and torch.bfloat16 are for training
    and need tanh: forward and backward pass are written by hand (tanh_mlp.py). Their float32 differs from
    that of None by some 1e-7. Under bfloat16 the hidden layers multiply in bfloat16 (8 bits of mantissa).
    Weights, their gradients, the last layer and its output stay float32. The input may be bfloat16 as well;
    it is rounded in any case.
    """

    precision: torch.dtype | None = None  # not in state_dict: checkpoints do not store it

    def forward(self, input: Tensor) -> Tensor:
        if self.precision is None:
            return cast("Tensor", super().forward(input))
        rows = input.reshape(-1, input.shape[-1]).to(self.precision)
        return tanh_mlp(rows, *self.parameters()).view(*input.shape[:-1], -1)


def mlp(
    sizes: Sequence[int],
    head_gain: float,
    activation: str,
    generator: torch.Generator | None,
    layer_norm: bool = False,
) -> MLP:
    """Make linear layers with an activation between them and none after the last.

    Weights are orthogonal (Saxe et al. 2014) with gain sqrt(2); biases are zero.

    Args:
        sizes: number of inputs, of the units of each hidden layer, and of outputs.
        head_gain: gain of the last layer's weights.
        activation: a name in ACTIVATIONS.
        generator: source of the weights; None: torch's global one.
        layer_norm: normalize the units of each hidden layer before their activation (Ba et al. 2016).

    Returns:
        The layers, in float32.
    """
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        linear = nn.Linear(fan_in, fan_out)
        nn.init.orthogonal_(linear.weight, head_gain if last else HIDDEN_GAIN, generator=generator)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if not last:
            if layer_norm:
                layers.append(nn.LayerNorm(fan_out))
            layers.append(ACTIVATIONS[activation]())
    return MLP(*layers)


class ActorCritic(nn.Module):
    """A policy MLP and a value MLP that share only the observation normalizer.

    With separate networks the value loss cannot move the policy: a new critic can be trained for a cloned
    policy (critic warm-up) without changing it.

    The value MLP's output is in standard deviations of the returns, v = mean + std * MLP (Pop-Art, van
    Hasselt et al. 2016, "Learning values across many orders of magnitude"). Without this, returns of tens
    saturate every tanh unit, and a saturated critic does not recover.
    """

    value_mean: Tensor  # float32 [], of the returns
    value_std: Tensor  # float32 []

    def __init__(
        self,
        feature_size: int,
        num_actions: int,
        hidden: Sequence[int] = (256, 256),
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.feature_size = int(feature_size)  # spaces give NumPy numbers, metadata needs plain ones
        self.num_actions = int(num_actions)
        self.hidden = tuple(hidden)
        self.normalizer = RunningNormalizer(feature_size)
        self.policy = mlp([feature_size, *hidden, num_actions], POLICY_HEAD_GAIN, "tanh", generator)
        self.value = mlp([feature_size, *hidden, 1], 1.0, "tanh", generator)
        self.register_buffer("value_mean", torch.zeros(()))
        self.register_buffer("value_std", torch.ones(()))

    def compute_in(self, precision: torch.dtype | None) -> ActorCritic:
        """Set the `precision` of both MLPs; see `MLP`."""
        self.policy.precision = self.value.precision = precision
        return self

    @property
    def architecture(self) -> dict[str, Any]:
        """Plain data from which `build_network` makes a network of this shape."""
        return {
            "kind": "policy",
            "feature_size": self.feature_size,
            "num_actions": self.num_actions,
            "hidden": list(self.hidden),
        }

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [..., A] and values [...] of features [..., D]."""
        return self.logits(features), self.values(features)

    def logits(self, features: Tensor) -> Tensor:
        """Return the unnormalized log-probabilities [..., A] of features [..., D]."""
        return self.policy(self.normalizer(features))

    def values(self, features: Tensor) -> Tensor:
        """Return the state values [...] of features [..., D], in units of return."""
        return self.values_of_normalized(self.normalizer(features))

    def values_of_normalized(self, inputs: Tensor) -> Tensor:
        """Return the state values [...] of normalized features [..., D], in units of return."""
        return self.value_mean + self.value_std * self.value(inputs).squeeze(-1)

    @torch.no_grad()
    def rescale_values(self, mean: Tensor | float, std: Tensor | float) -> None:
        """Change the units of the value MLP's output without changing any value.

            w' = w std / std',  b' = (std b + mean - mean') / std'       (Pop-Art, equations of proposition 1)

        Args:
            mean: new mean of the returns.
            std: new standard deviation of the returns.
        """
        head = self.value[-1]
        assert isinstance(head, nn.Linear)
        head.weight.mul_(self.value_std / std)
        head.bias.mul_(self.value_std).add_(self.value_mean - mean).div_(std)
        self.value_mean.fill_(mean)
        self.value_std.fill_(std)


class QNetwork(nn.Module):
    """Action values, optionally with one of two dueling heads.

        dueling:      Q(s, a) = V(s) + A(s, a) - mean_a' A(s, a')           (Wang et al. 2016, equation 9)
        temperature:  Q(s, a) = V(s) + temperature * ln softmax(A)(a | s)   (Nachum et al. 2017, equation 11)

    In the second form V is a network of its own, with LayerNorm, and A are the logits of the policy that is
    the softmax of Q / temperature, whose soft value V is. An error that all actions share moves V alone, and
    one in an action that the policy takes almost always hardly moves the policy.
    """

    def __init__(
        self,
        feature_size: int,
        num_actions: int,
        hidden: Sequence[int] = (256, 256),
        dueling: bool = False,
        activation: str = "relu",
        generator: torch.Generator | None = None,
        layer_norm: bool = False,
        temperature: float = 0.0,
    ):
        """Make a network with new weights.

        Args:
            feature_size: number of features D.
            num_actions: number of actions A.
            hidden: units of each hidden layer.
            dueling: see above.
            activation: a name in ACTIVATIONS, for `trunk`.
            generator: source of the weights; None: torch's global one.
            layer_norm: LayerNorm in the hidden layers of `trunk`.
            temperature: see above, in units of return; 0: not this form.

        Raises:
            ValueError: the activation is unknown, the temperature is negative, or both heads are chosen.
        """
        super().__init__()
        if not (math.isfinite(temperature) and temperature >= 0.0):
            raise ValueError(f"temperature is {temperature}: it must be a number of 0 or more")
        if temperature > 0.0 and dueling:
            raise ValueError("a network has either a temperature or the dueling head")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}: choose one of {', '.join(ACTIVATIONS)}")
        self.feature_size = int(feature_size)  # spaces give NumPy numbers, metadata needs plain ones
        self.num_actions = int(num_actions)
        self.hidden = tuple(hidden)
        self.dueling = dueling
        self.activation = activation
        self.layer_norm = layer_norm
        self.temperature = float(temperature)
        self.normalizer = RunningNormalizer(feature_size)
        trunk = list(mlp([feature_size, *hidden], HIDDEN_GAIN, activation, generator, layer_norm))
        if layer_norm:
            trunk.append(nn.LayerNorm(self.hidden[-1]))
        self.trunk = nn.Sequential(*trunk, ACTIVATIONS[activation]())
        self.advantage = mlp([self.hidden[-1], num_actions], 1.0, activation, generator)
        self.value = mlp([self.hidden[-1], 1], 1.0, activation, generator) if dueling else None
        if temperature > 0.0:
            self.value = mlp([feature_size, *hidden, 1], 1.0, "relu", generator, layer_norm=True)

    @classmethod
    def from_policy(
        cls,
        policy: ActorCritic,
        dueling: bool = False,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> QNetwork:
        """Make a Q-network whose greedy action is the policy's most likely one.

        The policy's hidden layers and normalizer are copied, and its logits become the action values (with a
        dueling head or a temperature: A, and V = 0). The ranking of the actions is kept; the scale of the
        values has to be learned.

        Args:
            policy: the policy.
            dueling: see `QNetwork`.
            temperature: see `QNetwork`.
            generator: source of the weights of a new value network; None: torch's global one.
        """
        sizes = policy.feature_size, policy.num_actions, policy.hidden
        network = cls(*sizes, dueling, "tanh", generator, temperature=temperature)
        network.normalizer.load_state_dict(policy.normalizer.state_dict())
        *hidden_layers, head = policy.policy
        for copy, original in zip(network.trunk, hidden_layers, strict=True):
            copy.load_state_dict(original.state_dict())
        network.advantage[0].load_state_dict(head.state_dict())
        if network.value is not None:
            nn.init.zeros_(network.value[-1].get_parameter("weight"))
        return network

    @property
    def architecture(self) -> dict[str, Any]:
        """Plain data from which `build_network` makes a network of this shape."""
        return {
            "kind": "q_network",
            "feature_size": self.feature_size,
            "num_actions": self.num_actions,
            "hidden": list(self.hidden),
            "dueling": self.dueling,
            "activation": self.activation,
            "layer_norm": self.layer_norm,
            "temperature": self.temperature,
        }

    def forward(self, features: Tensor) -> Tensor:
        """Return the action values [..., A] of features [..., D]."""
        inputs = self.normalizer(features)
        x = self.trunk(inputs)
        advantage = self.advantage(x)
        if self.value is None:
            return advantage
        if self.temperature > 0.0:
            return self.value(inputs) + self.temperature * log_softmax(advantage)
        return self.value(x) + advantage - advantage.mean(-1, keepdim=True)


def build_network(architecture: dict[str, Any]) -> ActorCritic | QNetwork:
    """Make the network that an `architecture` describes, with new weights.

    Args:
        architecture: a network's `architecture`; other keys are ignored.

    Returns:
        The network, on the CPU.

    Raises:
        ValueError: unknown kind of network.
        KeyError: a size is missing.
    """
    sizes = (architecture["feature_size"], architecture["num_actions"], architecture["hidden"])
    kind = architecture["kind"]
    if kind == "policy":
        return ActorCritic(*sizes)
    if kind == "q_network":
        return QNetwork(
            *sizes,
            dueling=architecture["dueling"],
            activation=architecture["activation"],
            layer_norm=architecture.get("layer_norm", False),  # checkpoints before PQN have neither
            temperature=architecture.get("temperature", 0.0),
        )
    raise ValueError(f"kind is {kind!r}, not 'policy' or 'q_network'")
