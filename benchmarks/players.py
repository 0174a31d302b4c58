"""Can one tell players apart by their style? A run is given to the player whose other runs are nearest.

    python benchmarks/players.py human.h5 record_holder.h5 agent.h5

A run's distance to a player is the mean of its distances in the 13 figures of `qwop-data style`:
1-Wasserstein distances to the player's other runs together, in standard deviations of the figure over all
runs. Figures that a run or a player has no number of are left out: a run that falls at once has no stride.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from qwop_cli import CommandError, json_text, parse_config, run_command, text_table
from qwop_datasets import DatasetError, DatasetReader, style_figures, wasserstein

PROGRAM = "players"
Figures = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class PlayersConfig:
    """Tell players apart by their style."""

    datasets: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs of at least two players, whose names are in the datasets; at least two runs of each."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the counts as JSON."""


def guess(run: int, figures: Sequence[Figures], players: Sequence[str]) -> str:
    """Return the player to whose other runs a run is nearest.

    Args:
        run: the number of the run.
        figures: style figures of all runs.
        players: whose each run is.

    Returns:
        The name; of the first player by name where two are as near.
    """
    distances: dict[str, float] = {}
    for player in sorted(set(players)):
        others = [f for i, f in enumerate(figures) if players[i] == player and i != run]
        found: list[float] = []
        for name, mine in figures[run].items():
            theirs = np.concatenate([other[name] for other in others])
            spread = float(np.concatenate([one[name] for one in figures]).std()) if len(mine) else 0.0
            if len(theirs) and spread > 0.0:
                found.append(wasserstein(mine, theirs) / spread)
        distances[player] = float(np.mean(found)) if found else float("inf")
    return min(distances, key=distances.__getitem__)


def confusion(figures: Sequence[Figures], players: Sequence[str]) -> Counter[tuple[str, str]]:
    """Count the runs of each player that are given to each player: (player, guess) -> runs.

    Args:
        figures: style figures of all runs.
        players: whose each run is.

    Raises:
        CommandError: fewer than two players, or a player with one run, which has no others.
    """
    runs = Counter(players)
    if len(runs) < 2:
        raise CommandError(f"the runs have {len(runs)} different players: expected two or more")
    if alone := [player for player, count in runs.items() if count == 1]:
        raise CommandError(f"one run of {min(alone) or 'a player without a name'}: expected two or more")
    return Counter((player, guess(i, figures, players)) for i, player in enumerate(players))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: _tell_apart(parse_config(PROGRAM, PlayersConfig, arguments)), DatasetError
    )


def _tell_apart(config: PlayersConfig) -> None:
    episodes = [episode for path in config.datasets for episode in DatasetReader(path)]
    players = [episode.player for episode in episodes]
    counts = confusion([style_figures(episode) for episode in episodes], players)
    right = sum(count for (player, guessed), count in counts.items() if player == guessed)
    names = sorted(set(players))
    if config.json:
        rows = [{"player": p, "nearest": g, "runs": count} for (p, g), count in sorted(counts.items())]
        print(json_text({"runs": len(players), "right": right, "counts": rows}))
        return
    table = [[player or "-", *(str(counts[player, name]) for name in names)] for player in names]
    print(text_table(["runs of", *(f"nearest to {name or '-'}" for name in names)], table))
    print(f"{right} of {len(players)} runs are nearest to the other runs of their own player")


if __name__ == "__main__":
    raise SystemExit(main())
