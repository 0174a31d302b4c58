"""The film of a run: a GIF that other programs read, frame by frame what the page shows."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.real_game

BYTES = """
    const bytes = async (blob) => {
      let text = "";
      for (const byte of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(byte);
      return btoa(text);
    };
"""


def opened(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_the_encoder_loses_no_pixel(page):
    """Noise fills the table of codes several times; flat pictures make the longest codes."""
    rng = np.random.default_rng(3)
    palette = rng.permutation(np.arange(256 * 3) % 251)[: 3 * 60] // 8 * 8 + 4  # apart in 5 bits a channel
    palette = np.unique(palette.reshape(-1, 3), axis=0)
    pictures = rng.integers(0, len(palette), (6, 61, 97))
    pictures[3] = 7
    pictures[5, :, 20:] = pictures[4, :, 20:]
    pixels = np.concatenate([palette[pictures], np.full((6, 61, 97, 1), 255)], axis=3).astype(np.uint8)
    film = page.run(
        BYTES
        + """
        const { Gif, paletteOf } = await import("./gif.js"), [pictures] = arguments;
        const frames = pictures.map((text) => Uint8ClampedArray.from(atob(text), (c) => c.charCodeAt(0)));
        const gif = new Gif(97, 61, paletteOf(frames, 255));
        for (const [i, frame] of frames.entries()) gif.add(frame, 7 + i);
        return bytes(gif.end());
        """,
        [base64.b64encode(picture.tobytes()).decode() for picture in pixels],
    )
    image = opened(film)
    assert image.n_frames == 6
    for i, expected in enumerate(pixels):
        image.seek(i)
        assert image.info["duration"] == 10 * (7 + i)
        assert (np.asarray(image.convert("RGB")) == expected[..., :3]).all(), i


def test_a_film_shows_the_run_at_its_own_speed(page):
    keys = [1] * 40 + [9] * 21 + [0] * 30
    film = page.run(
        BYTES
        + """
        const { filmOf } = await import("./filming.js"), shares = [], free = page.engine.free.length;
        const film = await filmOf(page.engine, arguments[0], "rounded", (share) => shares.push(share) > 0);
        const canceled = await filmOf(page.engine, arguments[0], "rounded", (share) => share < 0.2);
        return [await bytes(film), shares, canceled, page.engine.free.length - free];
        """,
        keys,
    )
    text, shares, canceled, leaked = film
    image = opened(text)
    assert image.n_frames == len(keys) // 2 + 1 == len(shares)
    assert canceled is None and leaked == 0 and shares[-1] == 1 and sorted(shares) == shares
    durations, lit = [], []
    for i in range(image.n_frames):
        image.seek(i)
        durations.append(image.info["duration"])
        # The corner of the first key, which is lit while Q is held: blue is what lacks in its color.
        lit.append(
            int(np.asarray(image.convert("RGB"))[-8, 8, 2])
            < 70
            < int(np.asarray(image.convert("RGB"))[-8, 8, 0])
        )
    # 15 pictures a second in hundredths: 7, 6 and 7 of them; the last stays.
    assert sum(durations[:-1]) == pytest.approx(1000 * (len(keys) - 1) / 30, abs=10) and set(
        durations[:-1]
    ) == {60, 70}
    assert lit == [False] + [True] * 30 + [False] * 15


def test_the_page_saves_and_cancels_a_film(page):
    page.execute_script("page.review.show(Array(3000).fill(0), 'rounded')")
    button = page.find_element("id", "film")
    button.click()
    page.wait("return document.getElementById('filming').textContent.endsWith('%')")
    assert button.text == "Cancel"
    button.click()
    page.wait("return document.getElementById('film').textContent === 'Save as GIF'")
    assert page.find_element("id", "filming").text == ""
    page.execute_script("page.review.show(Array(3601).fill(0), 'rounded')")  # too long
    assert not button.is_enabled()
    page.execute_script("page.review.show(Array(9).fill(0), 'rounded')")
    assert button.is_enabled()
    button.click()
    page.wait("return document.getElementById('filming').textContent.endsWith('MB')")
