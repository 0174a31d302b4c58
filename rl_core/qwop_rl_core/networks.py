"""The two networks: an actor-critic for PPO and cloning, a Q-network for DQN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qwop_rl_core.normaliser import RunningNormaliser

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
_ONEDNN = (  # private operators: a PyTorch without them takes the other way
    torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    and torch.ops.mkldnn._is_mkldnn_bf16_supported()
)
HIDDEN_GAIN = math.sqrt(2.0)
POLICY_HEAD_GAIN = (
    0.01  # nearly uniform first policy: Andrychowicz et al. 2021, "What matters...", section 3.2
)


def linear_tanh(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """tanh(x W' + b) in bfloat16: [N, fan_in], [fan_out, fan_in], [fan_out] -> [N, fan_out]. No autograd.

    PyTorch's tanh of bfloat16 on a CPU takes three times as long as the layer before it. Where oneDNN can, it
    takes the tanh of the sums before they are rounded, in the same pass; elsewhere it goes by way of float32.
    """
    if x.device.type == "cpu" and _ONEDNN:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "tanh", [], "")
    y = nn.functional.linear(x, weight, bias)
    return y.copy_(y.float().tanh_())


class MLP(nn.Sequential):
    """Linear layers with an activation between them; `precision` is that of all but the last, the head.

    Under torch.bfloat16 (8 bits of mantissa; the activation has to be tanh) the hidden layers multiply and
    pass on bfloat16. Weights, their gradients, the head and its output stay float32: only what is measured
    between them is rounded. Input may come in bfloat16 then; it would be rounded anyway.
    """

    precision: torch.dtype = torch.float32  # not a weight: checkpoints do not carry it

    def forward(self, input: Tensor) -> Tensor:
        if self.precision == torch.float32:
            return super().forward(input)
        rows = input.reshape(-1, input.shape[-1]).to(self.precision)
        output = _RoundedMLP.apply(rows, *self.parameters())
        return output.view(*input.shape[:-1], -1)  # pyright: ignore[reportOptionalMemberAccess]


class _RoundedMLP(torch.autograd.Function):
    """Linear layers with tanh between them: rows [N, D] in bfloat16 -> [N, outputs] in float32.

    By hand, because autograd under autocast takes half as long again: it converts more than is needed.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, *parameters: Tensor) -> Tensor:
        """parameters: weight and bias of every layer in turn."""
        *weights, head = parameters[::2]
        *biases, head_bias = parameters[1::2]
        weights = [weight.to(rows.dtype) for weight in weights]
        passed_on = [rows]  # the input of every layer
        for weight, bias in zip(weights, biases, strict=True):
            passed_on.append(linear_tanh(passed_on[-1], weight, bias.to(rows.dtype)))
        last = passed_on[-1].to(head.dtype)
        ctx.save_for_backward(*passed_on, *weights, last, head)
        return nn.functional.linear(last, head, head_bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """gradients: that of the output; returned is None for the rows and then one for each parameter."""
        *saved, last, head = ctx.saved_tensors
        layers = len(saved) // 2
        passed_on, weights = saved[: layers + 1], saved[layers + 1 :]
        (d,) = gradients  # the loss's derivative by a layer's output, from the last layer to the first
        by_parameter = [d.T @ last, d.sum(0)]
        d = d.to(rounded := passed_on[0].dtype) @ head.to(rounded)
        for i in reversed(range(layers)):
            d = torch.ops.aten.tanh_backward(d, passed_on[i + 1])  # d (1 - y^2)
            by_parameter = [d.T @ passed_on[i], d.sum(0), *by_parameter]  # autograd converts to float32
            if i > 0:
                d = d @ weights[i]
        return None, *by_parameter


def mlp(sizes: Sequence[int], head_gain: float, activation: str, generator: torch.Generator | None) -> MLP:
    """Linear layers of the given sizes with the activation between them, none after the last.

    Weights are orthogonal (Saxe et al. 2014) with gain sqrt(2), the last layer's with `head_gain`;
    biases are zero.
    """
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = i == len(sizes) - 2
        linear = nn.Linear(fan_in, fan_out)
        nn.init.orthogonal_(linear.weight, head_gain if last else HIDDEN_GAIN, generator=generator)
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if not last:
            layers.append(ACTIVATIONS[activation]())
    return MLP(*layers)


def flatten_parameters(module: nn.Module) -> nn.Parameter:
    """One vector [number of weights] that holds a module's parameters, all on one device, from now on.

    Each becomes a view of its part of the vector, and its gradient of the vector's gradient, so that norms,
    clipping and optimizer steps are one operation instead of one per parameter. Gradients have to be set to
    zero in place (`zero_grad(set_to_none=False)`), and the module has to stay on its device.
    """
    parameters = list(module.parameters())
    flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    sizes = [parameter.numel() for parameter in parameters]
    parts = zip(parameters, flat.detach().split(sizes), flat.grad.split(sizes), strict=True)
    for parameter, values, gradient in parts:
        parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
    return flat


class ActorCritic(nn.Module):
    """A policy MLP and a value MLP that share nothing but the observation normaliser.

    Separate networks keep the value loss from moving the policy: a critic can be trained from nothing
    beside a cloned policy (critic warm-up) without touching it.

    The value MLP's output is in standard deviations of the returns, v = mean + std * MLP (Pop-Art, van
    Hasselt et al. 2016, "Learning values across many orders of magnitude"). Returns of some tens, learnt
    as they are, first drive every tanh unit to the limit that brings the output closest, and a saturated
    critic does not recover.
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
        self.feature_size = int(feature_size)  # spaces speak numpy, metadata is plain data
        self.num_actions = int(num_actions)
        self.hidden = tuple(hidden)
        self.normaliser = RunningNormaliser(feature_size)
        self.policy = mlp([feature_size, *hidden, num_actions], POLICY_HEAD_GAIN, "tanh", generator)
        self.value = mlp([feature_size, *hidden, 1], 1.0, "tanh", generator)
        self.register_buffer("value_mean", torch.zeros(()))
        self.register_buffer("value_std", torch.ones(()))

    def compute_in(self, precision: torch.dtype) -> ActorCritic:
        """Run the hidden layers of both MLPs in torch.float32 or torch.bfloat16 from now on; see `MLP`."""
        self.policy.precision = self.value.precision = precision
        return self

    @property
    def architecture(self) -> dict[str, Any]:
        """Plain data from which `build_network` makes this network again (without its weights)."""
        return {
            "kind": "policy",
            "feature_size": self.feature_size,
            "num_actions": self.num_actions,
            "hidden": list(self.hidden),
        }

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features [..., D] -> logits [..., A], values [...]."""
        return self.logits(features), self.values(features)

    def logits(self, features: Tensor) -> Tensor:
        """features [..., D] -> unnormalised log-probabilities [..., A]."""
        return self.policy(self.normaliser(features))

    def values(self, features: Tensor) -> Tensor:
        """features [..., D] -> state values [...]."""
        return self.value_mean + self.value_std * self.value(self.normaliser(features)).squeeze(-1)

    @torch.no_grad()
    def rescale_values(self, mean: Tensor | float, std: Tensor | float) -> None:
        """Change the units of the value MLP's output without changing any value.

        w' = w std / std',  b' = (std b + mean - mean') / std'       (Pop-Art, equations of proposition 1)
        """
        head = self.value[-1]
        assert isinstance(head, nn.Linear)
        head.weight.mul_(self.value_std / std)
        head.bias.mul_(self.value_std).add_(self.value_mean - mean).div_(std)
        self.value_mean.fill_(mean)
        self.value_std.fill_(std)


class QNetwork(nn.Module):
    """Action values, optionally with the dueling head of Wang et al. 2016.

    dueling: Q(s, a) = V(s) + A(s, a) - mean_a' A(s, a')        (Wang et al. 2016, equation 9)
    """

    def __init__(
        self,
        feature_size: int,
        num_actions: int,
        hidden: Sequence[int] = (256, 256),
        dueling: bool = False,
        activation: str = "relu",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}: choose one of {', '.join(ACTIVATIONS)}")
        self.feature_size = int(feature_size)  # spaces speak numpy, metadata is plain data
        self.num_actions = int(num_actions)
        self.hidden = tuple(hidden)
        self.dueling = dueling
        self.activation = activation
        self.normaliser = RunningNormaliser(feature_size)
        trunk = mlp([feature_size, *hidden], HIDDEN_GAIN, activation, generator)
        self.trunk = nn.Sequential(*trunk, ACTIVATIONS[activation]())
        self.advantage = mlp([self.hidden[-1], num_actions], 1.0, activation, generator)
        self.value = mlp([self.hidden[-1], 1], 1.0, activation, generator) if dueling else None

    @classmethod
    def from_policy(cls, policy: ActorCritic, dueling: bool = False) -> QNetwork:
        """A Q-network whose greedy action is the policy's most likely one.

        The policy's hidden layers and normaliser are copied and its logits become the action values
        (with a dueling head: the advantages, and V = 0). The ranking of actions survives, the scale of
        the values has to be learnt.
        """
        network = cls(policy.feature_size, policy.num_actions, policy.hidden, dueling, activation="tanh")
        network.normaliser.load_state_dict(policy.normaliser.state_dict())
        *hidden_layers, head = policy.policy
        for copy, original in zip(network.trunk, hidden_layers, strict=True):
            copy.load_state_dict(original.state_dict())
        network.advantage[0].load_state_dict(head.state_dict())
        if network.value is not None:
            nn.init.zeros_(network.value[0].get_parameter("weight"))
        return network

    @property
    def architecture(self) -> dict[str, Any]:
        """Plain data from which `build_network` makes this network again (without its weights)."""
        return {
            "kind": "q_network",
            "feature_size": self.feature_size,
            "num_actions": self.num_actions,
            "hidden": list(self.hidden),
            "dueling": self.dueling,
            "activation": self.activation,
        }

    def forward(self, features: Tensor) -> Tensor:
        """features [..., D] -> action values [..., A]."""
        x = self.trunk(self.normaliser(features))
        advantage = self.advantage(x)
        if self.value is None:
            return advantage
        return self.value(x) + advantage - advantage.mean(-1, keepdim=True)


def build_network(architecture: dict[str, Any]) -> ActorCritic | QNetwork:
    """The network that an `architecture` describes, with fresh weights; other keys are ignored.

    Raises ValueError for an unknown kind, KeyError for a missing size.
    """
    sizes = (architecture["feature_size"], architecture["num_actions"], architecture["hidden"])
    kind = architecture["kind"]
    if kind == "policy":
        return ActorCritic(*sizes)
    if kind == "q_network":
        return QNetwork(*sizes, dueling=architecture["dueling"], activation=architecture["activation"])
    raise ValueError(f"kind is {kind!r}, not 'policy' or 'q_network'")
