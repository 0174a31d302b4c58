"""Draw run.png, six moments of the fastest bundled run: python docs/pictures.py"""

from pathlib import Path

import numpy as np
from PIL import Image

from qwop_datasets import DatasetReader
from qwop_game import Simulator
from qwop_game.render import Dials, Renderer, hurdle_pose

ROOT = Path(__file__).parents[1]
MOMENTS = (0.0, 0.2, 0.485, 0.515, 0.75, 1.0)  # shares of the run


def main() -> None:
    with DatasetReader(ROOT / "demos" / "demos.h5") as demos:
        run = min(demos, key=lambda episode: episode.time)
    moments = [round(share * len(run.keys)) for share in MOMENTS]
    game, renderer, tiles = Simulator(1), Renderer(480, 300), []
    for frame in range(len(run.keys) + 1):
        keys = run.keys[min(frame, len(run.keys) - 1)]
        if frame in moments:
            dials = Dials(keys=int(keys), seconds=float(game.time[0]), metres=float(game.distance[0]))
            tiles.append(renderer.rgb_array(game.raw_observation[0], dials, hurdle_pose(game.state[0])))
        game.step(np.array([keys], np.uint8))
    rows = [np.concatenate(tiles[i : i + 3], axis=1) for i in (0, 3)]
    Image.fromarray(np.concatenate(rows)).quantize(64).save(ROOT / "docs" / "run.png", optimize=True)


if __name__ == "__main__":
    main()
