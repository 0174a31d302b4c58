"""Build what the page needs of the rest of the project: the engine as WebAssembly, and constants.

    python web/build.py            # write engine.wasm, constants.js, ... to web/qwop_web/page
    python web/build.py --check    # compare with the files there; exit code 1 where they differ

The files are committed, so that nobody needs a compiler to play. zig comes from PyPI (ziglang); the same
version gives the same bytes on any machine. manifest.json says from which sources, flags and version the
engine there was compiled: where these are the same, it is not compiled again, unless --compile is given.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from qwop_cli import parse_config, run_command
from qwop_datasets import DatasetReader, Episode
from qwop_evaluation import SPLIT_METERS, Lookahead
from qwop_evaluation.lookahead import FINISH_WORTH, SECOND_WORTH
from qwop_game import (
    ACTION_SETS,
    KEY_NAMES,
    PARTS,
    SAND_X,
    TRACK_Y,
    TRIG_VARIANTS,
    UNITS_PER_METER,
    canonical_keys,
    encoder,
    scenery,
)
from qwop_game.body import HURDLE_BASE, HURDLE_TOP
from qwop_game.episodes import encoder_bytes
from qwop_game.figure import Limb, shapes
from qwop_game.gait import (
    KNEE_NEAR_METERS,
    LIFT_METERS,
    TOUCH_METERS,
    UPRIGHT_PELVIS_METERS,
    UPRIGHT_TILT_RADIANS,
)
from qwop_game.rules import (
    FINISH,
    FLAG_FALLEN,
    FLAG_GAME_ENDED,
    FLAG_JUMP_LANDED,
    TOO_FAR_AHEAD,
    TOO_FAR_BACK,
)

PROGRAM = "web/build.py"
PERSON_FRAMES = 3  # keys that are all held so long, 0.1 s, could be a person's
ROOT = Path(__file__).resolve().parents[1]
ENGINE, PAGE = ROOT / "game" / "engine", ROOT / "web" / "qwop_web" / "page"
SOURCES = [
    ROOT / "web" / "engine" / "exports.cpp",
    *(
        ENGINE / f"{name}.cpp"
        for name in (
            "broadphase",
            "contact",
            "episodes",
            "game",
            "island",
            "joint",
            "manifold",
            "model",
            "session",
            "trig_exact",
            "world",
        )
    ),
]
# As hatch_build.py: every product and sum is rounded once. WebAssembly has no fused multiply-add, and the
# canonical game needs none.
FLAGS = [
    "-target",
    "wasm32-wasi",
    "-mexec-model=reactor",
    "-O3",
    "-std=c++17",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-fast-math",
    "-fno-sanitize=undefined",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-Wl,--export-dynamic",
    "-Wl,--gc-sections",
    "-Wl,-z,stack-size=65536",
    "-s",
]


@dataclass(frozen=True)
class BuildConfig:
    """Build what the page needs of the rest of the project."""

    check: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compare with the committed files instead of writing them; exit code 1 where they differ."""
    compile: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compile the engine even if the one there was compiled from the same sources: two minutes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(PROGRAM, lambda: write_or_check(parse_config(PROGRAM, BuildConfig, arguments)))


def write_or_check(config: BuildConfig) -> bool:
    """Returns whether a file differs."""
    wrong: list[str] = []
    for name, content in build(config.compile).items():
        path = PAGE / name
        if config.check:
            if not path.is_file() or path.read_bytes() != content:
                wrong.append(name)
        else:
            path.write_bytes(content)
            print(f"{path.relative_to(ROOT)}: {len(content):,} bytes")
    if wrong:
        print(f"web: {', '.join(wrong)} differ from what the sources give: run python web/build.py")
    return bool(wrong)


def build(always_compile: bool = False) -> dict[str, bytes]:
    """File name -> content. Raises SystemExit where zig is missing or does not compile."""
    engine = None if always_compile else unchanged_engine()
    if engine is None:
        engine = compiled_engine()
    note = "// Made by web/build.py from the Python packages. Do not edit."
    constants = f"{note}\nexport default {_json(page_constants())};\n"
    manifest = manifest_of(engine)
    return {
        "engine.wasm": engine,
        "ghosts.js": f"{note}\nexport default {_json(ghosts())};\n".encode(),
        "constants.js": constants.encode(),
        "manifest.json": (_json(manifest) + "\n").encode(),
    }


def manifest_of(engine: bytes) -> dict[str, Any]:
    """What the module would be compiled from now, and the module's digest."""
    return {
        "zig": metadata.version("ziglang"),
        "flags": FLAGS,
        "sources_sha256": sources_digest(),
        "engine_sha256": hashlib.sha256(engine).hexdigest(),
    }


def unchanged_engine() -> bytes | None:
    """The committed module, if it is the one that the manifest describes, from what would be compiled now."""
    try:
        manifest = json.loads((PAGE / "manifest.json").read_text(encoding="utf-8"))
        engine = (PAGE / "engine.wasm").read_bytes()
    except (OSError, ValueError):
        return None
    return engine if manifest == manifest_of(engine) else None


def compiled_engine() -> bytes:
    """The WebAssembly module."""
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "engine.wasm"
        command = [sys.executable, "-m", "ziglang", "c++", *FLAGS, f"-I{ENGINE}"]
        # Relative paths: the module is the same wherever the repository lies.
        command += [str(source.relative_to(ROOT)) for source in SOURCES]
        command[command.index(f"-I{ENGINE}")] = f"-I{ENGINE.relative_to(ROOT)}"
        result = subprocess.run(
            [*command, "-o", str(module)], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
        )
        if result.returncode != 0:
            raise SystemExit(f"{result.stderr}web: zig does not compile the engine (pip install ziglang)")
        return module.read_bytes()


def sources_digest() -> str:
    """SHA-256 of every source that the module is made of."""
    digest = hashlib.sha256()
    for path in sorted({*SOURCES, *ENGINE.glob("*.hpp"), *ENGINE.glob("*.h")}):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def page_constants() -> dict[str, Any]:
    """What the page draws and computes with, from the packages that define it."""
    return {
        "keyNames": KEY_NAMES,
        "parts": PARTS,
        "trigVariants": TRIG_VARIANTS,
        "trackY": TRACK_Y,
        "sandX": SAND_X,
        "unitsPerMeter": UNITS_PER_METER,
        "finish": FINISH,
        "tooFarBack": TOO_FAR_BACK,
        "tooFarAhead": TOO_FAR_AHEAD,
        "fallen": FLAG_FALLEN,
        "gameEnded": FLAG_GAME_ENDED,
        "jumpLanded": FLAG_JUMP_LANDED,
        "footTouches": TOUCH_METERS,
        "footLifts": LIFT_METERS,
        "splits": SPLIT_METERS,
        "kneeNear": KNEE_NEAR_METERS,
        "uprightPelvis": UPRIGHT_PELVIS_METERS,
        "uprightTilt": UPRIGHT_TILT_RADIANS,
        "scenery": {name: value for name, value in vars(scenery).items() if name.isupper()},
        "clouds": scenery.clouds(),
        "hurdlePoses": [[box.x, box.y, box.angle] for box in (HURDLE_BASE, HURDLE_TOP)],
        "hurdle": [[box.half_width, box.half_height] for box in (HURDLE_BASE, HURDLE_TOP)],
        "clearanceScale": float(encoder.CLEARANCE_SCALE),
        "lookahead": {
            **dataclasses.asdict(Lookahead()),
            "finishWorth": FINISH_WORTH,
            "secondWorth": SECOND_WORTH,
        },
        "actions": {name: masks.tolist() for name, masks in ACTION_SETS.items()},
        "figure": [
            {"kind": "limb" if isinstance(shape, Limb) else "patch", **dataclasses.asdict(shape)}
            for shape in shapes()
        ],
        "encoder": base64.b64encode(encoder_bytes()).decode(),
    }


def ghosts() -> list[dict[str, Any]]:
    """Runs to race against: the records that come with the project, the fastest first."""
    runs = [
        {
            "name": f"{_ghost_name(episode)}, {episode.time:.2f} s",
            "trig": episode.trig,
            "keys": base64.b64encode(episode.keys.tobytes()).decode(),
        }
        for episode in sorted(DatasetReader(ROOT / "demos" / "records.h5"), key=lambda e: e.time)
    ]
    return runs


def _ghost_name(episode: Episode) -> str:
    changes = np.flatnonzero(np.diff(canonical_keys(episode.keys)))
    if np.diff(changes).min() >= PERSON_FRAMES:
        return "keys held 0.1 s"
    return {"policy": "the policy", "search": "the search"}[episode.source]


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True)


if __name__ == "__main__":
    raise SystemExit(main())
