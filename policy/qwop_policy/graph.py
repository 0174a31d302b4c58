"""The ONNX graph of a policy: features, network, and what the next decision needs."""

from __future__ import annotations

import importlib
import json
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qwop_cli import CommandError
from qwop_game import FEATURE_SIZE, FEATURE_VERSION, OBSERVATION_SIZE, PARTS, PolicySpec, next_hip_modes
from qwop_game.encoder import (
    CLEARANCE_SCALE,
    FEATURE_BLOCKS,
    HIP_MODE_BITS,
    JOINT_A,
    JOINT_B,
    KEY_BITS,
    LANDMARK_REACH,
    LANDMARKS,
    METERS,
    REFERENCE_ANGLE,
    SPEED,
)
from qwop_game.geometry import (
    FEET,
    FEET_HALF_HEIGHT,
    FEET_HALF_WIDTH,
    KNEE_END,
    KNEE_HALF_HEIGHT,
    KNEE_PARTS,
    PELVIS_X,
    PELVIS_Y,
)
from qwop_game.observation import CENTER, DEVIATION, FIELDS, RAW_HIGH, RAW_LOW, TRACK_Y, UNITS_PER_METER
from qwop_rl_core import CheckpointError, NumpyPolicy

OPSET, IR_VERSION = 17, 8
"""Both of 2022: onnxruntime 1.12 and later can run the graph."""
Observation: TypeAlias = Literal["raw", "qwop_gym"]
"""What the graph takes: raw observations, or qwop-gym's, which are scaled to [-1, 1]."""
METADATA = "qwop_stride"
"""Name of the model's property that says, in JSON, how the policy plays."""
_TORSO = 0
assert PARTS[_TORSO] == "torso"


def import_onnx() -> Any:
    """Return the package `onnx`. Raises CommandError if it is not installed."""
    try:
        return importlib.import_module("onnx")  # its stubs leave much out
    except ImportError:
        raise CommandError("onnx is missing: pip install 'qwop-stride[onnx]'") from None


class _Builder:
    """Nodes and constants of a graph. A value is the name of a node's output, a constant an array."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, array: NDArray[Any]) -> str:
        """Return the name of a constant; equal arrays share one."""
        key = str(array.dtype), array.shape, array.tobytes()
        if key not in self._names:
            self._names[key] = f"constant_{len(self._names)}"
            tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), self._names[key])
            tensor.dims[:] = array.shape  # ascontiguousarray gives a scalar an axis
            self.constants.append(tensor)
        return self._names[key]

    def __call__(
        self, kind: str, *inputs: str | NDArray[Any] | np.generic, name: str = "", **attributes: Any
    ) -> str:
        """Add a node and return the name of its output."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        names = [i if isinstance(i, str) else self.constant(np.asarray(i)) for i in inputs]
        self.nodes.append(self._onnx.helper.make_node(kind, names, [name], **attributes))
        return name

    def columns(self, x: str, columns: NDArray[np.integer[Any]] | list[int]) -> str:
        """Return some columns of x [N, D]."""
        return self("Gather", x, np.asarray(columns, np.int64), axis=1)

    def rows(self, table: NDArray[Any], index: str, name: str = "") -> str:
        """Return the row of a constant table for each element of an int64 index [N]."""
        return self("Gather", table, index, axis=0, name=name)

    def integers(self, x: str) -> str:
        """Return uint8 as int64, which indices have to be."""
        return self("Cast", x, to=self._onnx.TensorProto.INT64)


def policy_graph(
    policy: NumpyPolicy, spec: PolicySpec, observation: Observation, facts: dict[str, Any]
) -> Any:
    """Return the ONNX model of a policy.

    Inputs: the observation float32 [N, 60]; `hip_mode` uint8 [N] and `last_keys` uint8 [N], both 0 at the
    start of an episode and later what the decision before returned. Outputs: `logits` (or `action_values`)
    float32 [N, A]; `action` int64 [N], the best one; `keys` uint8 [N], its mask, to hold for `frame_skip`
    frames; `next_hip_mode` uint8 [N]; `value` float32 [N] if there is a trained critic.

    Args:
        policy: the network.
        spec: how it plays.
        observation: what the graph takes.
        facts: further entries of the model's metadata.

    Raises:
        CheckpointError: the network takes other features than this release computes.
        CommandError: the package onnx is not installed.
    """
    if policy.feature_size != FEATURE_SIZE:
        raise CheckpointError(f"it takes {policy.feature_size} features, this release has {FEATURE_SIZE}")
    onnx = import_onnx()
    add = _Builder(onnx)
    if observation == "raw":
        raw = "raw_observation"
    else:
        raw = add("Add", add("Mul", "observation", DEVIATION), CENTER)
    hip_mode, last_keys = add.integers("hip_mode"), add.integers("last_keys")
    x = _normalized(add, policy, _features(add, raw, hip_mode, last_keys))

    masks = spec.action_masks
    scores = "action_values" if policy.is_q_network else "logits"
    _scores(add, policy, x, scores)
    add("ArgMax", scores, axis=1, keepdims=0, name="action")
    add.rows(masks, "action", "keys")
    modes = np.arange(len(HIP_MODE_BITS), dtype=np.uint8)
    after = next_hip_modes(modes[None], masks[:, None])  # [A, modes]
    chosen = add("Add", add("Mul", "action", np.int64(len(modes))), hip_mode)
    add.rows(after.reshape(-1), chosen, "next_hip_mode")

    types = onnx.TensorProto
    outputs = [
        (scores, types.FLOAT, ["N", len(masks)], "of each action; the highest is the best"),
        ("action", types.INT64, ["N"], "number of the best action"),
        ("keys", types.UINT8, ["N"], "its key mask, Q = 1, W = 2, O = 4, P = 8: the next last_keys"),
        ("next_hip_mode", types.UINT8, ["N"], "hip_mode of the next decision, if `keys` are held"),
    ]
    if policy.has_values:
        add("Squeeze", _value(add, policy, x), np.array([1]), name="value")
        outputs.append(("value", types.FLOAT, ["N"], "the critic's estimate of the return"))
    what = {
        "raw": "12 parts x (x, y, angle, vx, vy), world units: info['raw_observation'] of QWOPEnv",
        "qwop_gym": "qwop-gym's observation: the 60 numbers scaled to [-1, 1]",
    }
    inputs = [
        (
            "raw_observation" if observation == "raw" else "observation",
            types.FLOAT,
            ["N", OBSERVATION_SIZE],
            what[observation],
        ),
        ("hip_mode", types.UINT8, ["N"], "0 at the start of an episode, then next_hip_mode"),
        ("last_keys", types.UINT8, ["N"], "0 at the start of an episode, then keys"),
    ]
    graph = onnx.helper.make_graph(
        add.nodes,
        "policy",
        [onnx.helper.make_tensor_value_info(*value) for value in inputs],
        [onnx.helper.make_tensor_value_info(*value) for value in outputs],
        add.constants,
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="qwop-stride",
        doc_string="A policy that plays QWOP. Feed keys and next_hip_mode back as last_keys and hip_mode.",
    )
    properties = {
        "observation": observation,
        "action_set": spec.action_set,
        "action_masks": masks.tolist(),
        "frame_skip": spec.frame_skip,
        "feature_version": FEATURE_VERSION,
        **facts,
    }
    onnx.helper.set_model_props(model, {METADATA: json.dumps(properties)})
    onnx.checker.check_model(model, full_check=True)
    return model


def _features(add: _Builder, raw: str, hip_mode: str, last_keys: str) -> str:
    """Compute what `qwop_game.encode` computes, [N, FEATURE_SIZE], with the same operations."""
    raw = add("Max", add("Min", raw, RAW_HIGH), RAW_LOW)
    fields = np.arange(OBSERVATION_SIZE).reshape(len(PARTS), len(FIELDS)).T
    x, y, angle, vx, vy = (add.columns(raw, columns) for columns in fields)
    others = np.arange(1, len(PARTS))

    def torso(value: str) -> str:
        return add.columns(value, [_TORSO])

    def relative(value: str) -> str:
        return add("Sub", add.columns(value, others), torso(value))

    sin, cos = add("Sin", angle), add("Cos", angle)
    joint = add("Sub", add.columns(angle, JOINT_B), add.columns(angle, JOINT_A))

    track, meter = np.float32(TRACK_Y), np.float32(UNITS_PER_METER)
    pelvis = add(
        "Add",
        add("Add", torso(y), add("Mul", torso(sin), PELVIS_X)),
        add("Mul", torso(cos), PELVIS_Y),
    )
    below_foot = add(
        "Add",
        add("Abs", add("Mul", add.columns(sin, FEET), FEET_HALF_WIDTH)),
        add("Abs", add("Mul", add.columns(cos, FEET), FEET_HALF_HEIGHT)),
    )
    below_knee = add(
        "Add",
        add("Mul", add.columns(sin, KNEE_PARTS), KNEE_END),
        add("Abs", add("Mul", add.columns(cos, KNEE_PARTS), KNEE_HALF_HEIGHT)),
    )
    ends = add("Add", add.columns(y, KNEE_PARTS), below_knee)
    lowest = {
        "foot": add("Add", add.columns(y, FEET), below_foot),
        "knee": add("Max", add.columns(ends, [0, 1]), add.columns(ends, [2, 3])),
    }
    clearance = [add("Div", add("Sub", track, low), meter) for low in lowest.values()]
    ahead = add("Div", add("Sub", LANDMARKS[:, 0], torso(x)), LANDMARK_REACH[:, 0])
    blocks = {
        "position": add("Mul", add("Concat", relative(x), relative(y), axis=1), METERS),
        "velocity": add(
            "Mul", add("Concat", torso(vx), relative(vx), torso(vy), relative(vy), axis=1), SPEED
        ),
        "sin": sin,
        "cos": cos,
        "joint_angle": add("Sub", joint, REFERENCE_ANGLE[:, 0]),
        "height": add(
            "Concat",
            add("Mul", add("Sub", track, torso(y)), METERS),
            add("Div", add("Sub", track, pelvis), meter),
            axis=1,
        ),
        "clearance": add("Mul", add("Concat", *clearance, axis=1), CLEARANCE_SCALE),
        "landmark": add("Clip", ahead, np.float32(-1), np.float32(1)),
        "hip_mode": add.rows(HIP_MODE_BITS, hip_mode),
        "last_keys": add.rows(KEY_BITS, last_keys),
    }
    assert list(blocks) == list(FEATURE_BLOCKS)
    return add("Concat", *blocks.values(), axis=1, name="features")


def _normalized(add: _Builder, policy: NumpyPolicy, features: str) -> str:
    x = add("Mul", add("Sub", features, policy.shift), policy.scale)
    return add("Clip", x, np.float32(-policy.clip), np.float32(policy.clip))


def _scores(add: _Builder, policy: NumpyPolicy, x: str, name: str) -> None:
    if not policy.is_q_network:
        _mlp(add, policy, "policy", x, name)
        return
    inputs = x
    x = add(_activation(policy), _mlp(add, policy, "trunk", x))
    if policy.temperature > 0.0:
        log_policy = add("LogSoftmax", _mlp(add, policy, "advantage", x), axis=1)
        scaled = add("Mul", log_policy, np.float32(policy.temperature))
        add("Add", _mlp(add, policy, "value", inputs, activation="Relu"), scaled, name=name)
        return
    if not policy.metadata["dueling"]:
        _mlp(add, policy, "advantage", x, name)
        return
    advantage = _mlp(add, policy, "advantage", x)
    mean = add("ReduceMean", advantage, axes=[1], keepdims=1)
    add("Sub", add("Add", _mlp(add, policy, "value", x), advantage), mean, name=name)


def _value(add: _Builder, policy: NumpyPolicy, x: str) -> str:
    value = add("Mul", _mlp(add, policy, "value", x), policy.arrays["value_std"])
    return add("Add", value, policy.arrays["value_mean"])


def _mlp(
    add: _Builder, policy: NumpyPolicy, layers: str, x: str, name: str = "", activation: str = ""
) -> str:
    every = policy.layers(layers)
    for i, (weight, bias) in enumerate(every):
        last = i == len(every) - 1
        if weight.ndim == 1:
            x = _layer_norm(add, policy, x, weight, bias, name if last else "")
        else:
            x = add("Gemm", x, weight, bias, transB=1, name=name if last else "")
        if not last and every[i + 1][0].ndim == 2:
            x = add(activation or _activation(policy), x)
    return x


def _layer_norm(
    add: _Builder, policy: NumpyPolicy, x: str, weight: NDArray[Any], bias: NDArray[Any], name: str
) -> str:
    centered = add("Sub", x, add("ReduceMean", x, axes=[1], keepdims=1))
    variance = add("ReduceMean", add("Mul", centered, centered), axes=[1], keepdims=1)
    scale = add("Sqrt", add("Add", variance, np.float32(policy.norm_epsilon)))
    return add("Add", add("Mul", add("Div", centered, scale), weight), bias, name=name)


def _activation(policy: NumpyPolicy) -> str:
    return {"tanh": "Tanh", "relu": "Relu"}[policy.activation]
