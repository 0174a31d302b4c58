"""Draw runners.gif, a strider beside a scraper on the same clock: python docs/pictures.py"""

from pathlib import Path

import numpy as np
from PIL import Image

from qwop_datasets import DatasetReader, Episode
from qwop_game import FRAME_SECONDS, UNITS_PER_METER
from qwop_game.render import SHIRTS, Dials, Renderer, Runner

DOCS = Path(__file__).parent
FIRST, LAST = 330, 480  # frames of both runs, before either runner reaches the hurdle
EVERY = 2  # 15 pictures a second
SIZE = (360, 225)
COLORS = 64


def panels(renderer: Renderer, episode: Episode, label: str, shirt: tuple[int, int, int]) -> list[np.ndarray]:
    """Draw the run's frames as pictures, uint8 [height, width, 3]."""
    pictures = []
    for frame in range(FIRST, LAST, EVERY):
        raw = episode.raw_observations[frame]
        meters = float(raw[0]) / UNITS_PER_METER
        dials = Dials(int(episode.keys[frame]), float(episode.times[frame]), meters)
        pictures.append(renderer.rgb_array([Runner(raw, label, shirt)], dials))
    return pictures


def main() -> None:
    with DatasetReader(DOCS.parent / "demos" / "records.h5") as records:
        strider = records[0]
    with DatasetReader(DOCS / "experiments" / "knee-scraping" / "runs.h5", "player=default") as runs:
        scraper = runs[0]
    renderer = Renderer(*SIZE)
    left = panels(renderer, strider, "qwop-stride", SHIRTS[1])
    right = panels(renderer, scraper, "default reward", SHIRTS[0])
    gap = np.full((SIZE[1], 6, 3), 255, np.uint8)
    both = [np.concatenate(pair, axis=1) for pair in zip(left, [gap] * len(left), right, strict=True)]
    # All pictures share one palette, so that the GIF stores only the pixels that change.
    palette = Image.fromarray(np.concatenate(both[::10])).quantize(COLORS)
    film = [Image.fromarray(p).quantize(palette=palette, dither=Image.Dither.NONE) for p in both]
    milliseconds = round(1000 * EVERY * FRAME_SECONDS / 10) * 10
    film[0].save(DOCS / "runners.gif", save_all=True, append_images=film[1:], duration=milliseconds, loop=0)


if __name__ == "__main__":
    main()
