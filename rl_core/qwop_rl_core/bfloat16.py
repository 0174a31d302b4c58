"""An MLP's forward and backward pass in bfloat16, written by hand for speed."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

_ONEDNN = (  # private operators; a PyTorch without them takes the slower path
    torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    and torch.ops.mkldnn._is_mkldnn_bf16_supported()
)


def linear_tanh(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute tanh(x W' + b) in bfloat16, without autograd.

    On a CPU, PyTorch's tanh of bfloat16 takes three times as long as the layer before it. Where oneDNN has
    bfloat16, it applies tanh to the unrounded sums in the same pass. Elsewhere tanh is computed in float32.

    Args:
        x: bfloat16 [N, fan_in].
        weight: bfloat16 [fan_out, fan_in].
        bias: bfloat16 [fan_out].

    Returns:
        bfloat16 [N, fan_out].
    """
    if x.device.type == "cpu" and _ONEDNN:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "tanh", [], "")
    y = nn.functional.linear(x, weight, bias)
    return y.copy_(y.float().tanh_())


def tanh_mlp(rows: Tensor, *parameters: Tensor) -> Tensor:
    """Apply linear layers with tanh between them; the last layer computes in float32.

    Autograd under autocast takes 1.4 times as long, because it converts more than is needed.

    Args:
        rows: bfloat16 [N, D].
        *parameters: float32, weight and bias of every layer in turn.

    Returns:
        float32 [N, outputs]; its gradients by the parameters are float32.
    """
    return cast("Tensor", _TanhMLP.apply(rows, *parameters))


class _TanhMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, *parameters: Tensor) -> Tensor:
        *weights, head = parameters[::2]
        *biases, head_bias = parameters[1::2]
        weights = [weight.to(rows.dtype) for weight in weights]
        inputs = [rows]  # of every layer
        for weight, bias in zip(weights, biases, strict=True):
            inputs.append(linear_tanh(inputs[-1], weight, bias.to(rows.dtype)))
        head_input = inputs[-1].to(head.dtype)
        ctx.save_for_backward(*inputs, *weights, head_input, head)
        return nn.functional.linear(head_input, head, head_bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return None for the rows, and the gradient by each parameter."""
        *saved, head_input, head = ctx.saved_tensors
        layers = len(saved) // 2
        inputs, weights = saved[: layers + 1], saved[layers + 1 :]
        (d,) = gradients  # derivative of the loss by a layer's output, from the last layer to the first
        by_parameter = [d.T @ head_input, d.sum(0)]
        bfloat16 = inputs[0].dtype
        d = d.to(bfloat16) @ head.to(bfloat16)
        for i in reversed(range(layers)):
            d = torch.ops.aten.tanh_backward(d, inputs[i + 1])  # d (1 - y^2)
            by_parameter = [d.T @ inputs[i], d.sum(0), *by_parameter]  # autograd converts to float32
            if i > 0:
                d = d @ weights[i]
        return None, *by_parameter
