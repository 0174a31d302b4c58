"""The model card of a policy: what it is, how it was made, what it does, how to use it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from qwop_cli import escape_unprintable
from qwop_game import ENV_ID
from qwop_policy.information import PolicyInfo

PROJECT = "https://github.com/qwop-stride/qwop-stride"
PROTOCOL = f"{PROJECT}/blob/main/docs/guides/evaluation.md#protocol-p"
TAGS = ("reinforcement-learning", "deep-reinforcement-learning", "gymnasium", "qwop", "safetensors")
MAX_VALUE = 200
"""Longest value of a setting that is printed whole, in characters."""
# Figures of `qwop-eval --json`: name, words, factor, unit.
_FIGURES = (
    ("finish_rate", "finished", 100, "%"),
    ("median_time_s", "median time of finished episodes", 1, "s"),
    ("best_time_s", "best time", 1, "s"),
    ("mean_distance_m", "mean distance", 1, "m"),
)
_GAIT = (
    ("knee_near", "frames with a knee within 0.12 m of the track", 100, "%"),
    ("upright", "upright frames", 100, "%"),
    ("stride_length_m", "stride length", 1, "m"),
    ("cadence_steps_per_minute", "steps per minute", 1, ""),
    ("symmetry", "symmetry of the steps, 1 is even", 1, ""),
    ("flight", "frames in the air", 100, "%"),
    ("pelvis_height_m", "height of the pelvis", 1, "m"),
    ("torso_pitch_deg", "lean of the torso, forward", 1, "degrees"),
    ("key_switches_per_s", "changes of the keys per second", 1, ""),
)
FIGURE_NAMES = frozenset(name for name, *_ in (*_FIGURES, *_GAIT)) | {
    *("finish_rate_low", "finish_rate_high", "episodes", "finished", "seeds"),
    *("protocol", "actions", "policy_sha256", "runs"),
}
"""Entries of `qwop-eval --json` that a card needs."""


@dataclass(frozen=True)
class CardFacts:
    """What a model card says."""

    repository: str
    """USER/NAME."""
    info: PolicyInfo
    """The checkpoint."""
    file: str
    """Name of the checkpoint in the repository."""
    figures: Mapping[str, Any]
    """What `qwop-eval --json` prints."""
    license: str | None
    """SPDX identifier; None: not given."""
    film: str | None
    """Name of the film in the repository."""
    film_seed: int
    """Seed of its episode."""
    onnx: str | None
    """Name of the ONNX model in the repository."""
    onnx_check: str
    """How the model compares with the policy."""


def model_card(facts: CardFacts) -> str:
    """Return the README.md of a policy's repository on the Hugging Face Hub."""
    return "\n\n".join(
        [
            _header(facts),
            _introduction(facts),
            _measured(facts),
            _usage(facts),
            _provenance(facts),
        ]
    )


def _header(facts: CardFacts) -> str:
    """The metadata that the Hub reads, as YAML. Its strings are written as JSON, which is YAML too."""
    figures = facts.figures
    metrics = [
        {"type": name, "name": f"{words}, protocol P", "value": round(figures[name], 4)}
        for name, words, _, _ in (*_FIGURES, *_GAIT[:2])
        if figures[name] is not None
    ]
    result = {
        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
        "dataset": {"name": ENV_ID, "type": ENV_ID},
        "metrics": metrics,
    }
    tags = [*TAGS, *(["onnx"] if facts.onnx else [])]
    entries = {
        **({} if facts.license is None else {"license": facts.license.lower()}),
        "library_name": "qwop-stride",
        "pipeline_tag": "reinforcement-learning",
        "tags": tags,
        "model-index": [{"name": facts.repository.partition("/")[2], "results": [result]}],
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in entries.items()]
    return "\n".join(["---", *lines, "---"])


def _introduction(facts: CardFacts) -> str:
    metadata = facts.info.metadata
    frames = metadata["frame_skip"]
    kind = "Q-network" if metadata["kind"] == "q_network" else "policy"
    hidden = " x ".join(str(size) for size in metadata["hidden"])
    text = [
        f"# {facts.repository.partition('/')[2]}",
        f"A {kind} that plays QWOP, made with [qwop-stride]({PROJECT}): hidden layers of {hidden} units, "
        f"{metadata['feature_size']} features, {metadata['num_actions']} actions "
        f"(`{metadata['action_set']}`), a decision every {'frame' if frames == 1 else f'{frames} frames'}.",
    ]
    if facts.film is not None:
        if facts.film.endswith(".gif"):
            film = f"![The policy runs]({facts.film})"
        else:
            address = f"https://huggingface.co/{facts.repository}/resolve/main/{facts.film}"
            film = f'<video src="{address}" controls autoplay loop muted></video>'
        text += [film, f"Its episode with seed {facts.film_seed} of protocol P, argmax actions."]
    return "\n\n".join(text)


def _measured(facts: CardFacts) -> str:
    figures = facts.figures
    seeds: list[int] = figures["seeds"]
    low, high = (_number(figures[f"finish_rate_{end}"], 100) for end in ("low", "high"))
    result, gait = (
        [f"| {words} | {_number(figures[name], factor)} {unit} |" for name, words, factor, unit in table]
        for table in (_FIGURES, _GAIT)
    )
    result[0] = result[0].replace(" % |", f" % (95 % interval {low} to {high}) |")
    return "\n".join(
        [
            "## Measured",
            "",
            f"{figures['episodes']} episodes of [protocol P]({PROTOCOL}), seeds {seeds[0]} to {seeds[-1]}, "
            f"{figures['actions']} actions. The protocol disturbs the game: up to 29 idle frames at the "
            "start, and 2 % of the decisions repeat the one before. Times are on the game's clock.",
            "",
            "| | |",
            "|---|---|",
            *result,
            "",
            "Gait, over all frames:",
            "",
            "| | |",
            "|---|---|",
            *gait,
        ]
    )


def _usage(facts: CardFacts) -> str:
    seeds = facts.figures["seeds"]
    measure = f"qwop-eval {facts.file} --seed {seeds[0]} --episodes {len(seeds)}"
    text = [
        "## Use it",
        "",
        f"With [qwop-stride]({PROJECT}) and `huggingface_hub`:",
        "",
        "```sh",
        f"qwop-policy pull {facts.repository} {facts.file}",
        f"qwop-replay {facts.file}    # watch an episode; needs no PyTorch",
        f"{measure}    # the figures above{_flags(facts.figures['actions'])}",
        "```",
        "",
        "```python",
        "from qwop_evaluation import evaluate",
        "",
        f'print(evaluate("{facts.file}", episodes=10))',
        "```",
    ]
    if facts.onnx is not None:
        text += [
            "",
            f"`{facts.onnx}` is the same policy for onnxruntime, with the features inside. Compared under "
            f"protocol P, {facts.onnx_check}. It takes",
            '`info["raw_observation"]` of the environment, and what it returned one decision before:',
            "",
            "```python",
            "import gymnasium, numpy as np, onnxruntime, qwop_game",
            "",
            f'model = onnxruntime.InferenceSession("{facts.onnx}")',
            f'env = gymnasium.make("{ENV_ID}", frame_skip={facts.info.metadata["frame_skip"]}, '
            f'action_set="{facts.info.metadata["action_set"]}")',
            "_, info = env.reset()",
            "hip_mode, keys, over = np.zeros(1, np.uint8), np.zeros(1, np.uint8), False",
            "while not over:",
            '    raw = info["raw_observation"][None]',
            '    inputs = {"raw_observation": raw, "hip_mode": hip_mode, "last_keys": keys}',
            '    (action,), keys, hip_mode = model.run(["action", "keys", "next_hip_mode"], inputs)',
            "    _, _, terminated, truncated, info = env.step(int(action))",
            "    over = terminated or truncated",
            'print(info["distance"], info["time"])',
            "```",
        ]
    return "\n".join(text)


def _flags(actions: str) -> str:
    return "" if actions == "argmax" else f" ({actions} actions: see --help)"


def _provenance(facts: CardFacts) -> str:
    license = "not given: ask the author before you use it" if facts.license is None else facts.license
    training = facts.info.numbers.keys() - {"network"}
    rows = [
        ("license", license),
        ("file", facts.file),
        ("SHA-256", facts.info.sha256),
        ("pushed with", f"qwop-stride {version('qwop-stride')}"),
        ("state of the training", ", ".join(sorted(training)) if training else "not stored"),
        *facts.info.settings(),
    ]
    return "\n".join(
        [
            "## Provenance and settings",
            "",
            "What the checkpoint says of itself.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows),
            "",
        ]
    )


def _cell(text: str) -> str:
    """Return a text of a checkpoint that shows as it is in a Markdown table: no markup, no HTML, one line."""
    text = escape_unprintable(text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 3]}...")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$-])", r"\\\1", html.escape(text, quote=False))


def _number(value: float | None, factor: float = 1) -> str:
    """Return a figure with three to four digits; "-" for None."""
    if value is None:
        return "-"
    value *= factor
    return f"{value:.1f}" if abs(value) >= 10 or factor == 100 else f"{value:.2f}"
