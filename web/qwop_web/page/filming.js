// A film of a run as an animated GIF, drawn and encoded here, a picture at a time: the page stays alive meanwhile.

import constants from "./constants.js";
import { $, button, text } from "./dom.js";
import { Gif, paletteOf } from "./gif.js";
import { Playback } from "./playback.js";
import { save } from "./runs.js";
import { rgb } from "./scenery.js";
import { Stage } from "./stage.js";

export const SIZE = { width: 384, height: 216 }; // px
const EVERY = 2; // frames of the game a picture
const LONGEST = 30 * 120; // frames of a film
const SAMPLES = 24; // pictures whose colors make the palette
const COLORS = 127;
const TOLERANCE = 10; // of 255
const LAST = 150; // hundredths of a second that the last picture stays
const { scenery } = constants;

export class Filming {
  /** @param {import("./engine.js").Engine} engine */
  constructor(engine) {
    this.engine = engine;
    /** @type {{ keys: ArrayLike<number>, trig: string, start: import("./engine.js").Start } | null} */ this.run = null;
    this.attempt = 0; // its number; a canceled one finds another here
    this.busy = false;
    $("film").addEventListener("click", () => this.busy ? this.cancel() : this.make());
  }

  /** Offer a film of this run. @param {ArrayLike<number>} keys @param {string} trig @param {import("./engine.js").Start} [start] */
  of(keys, trig, start = null) {
    this.cancel();
    this.run = { keys, trig, start };
    button("film").disabled = keys.length > LONGEST;
  }

  cancel() {
    this.attempt++;
    this.busy = false;
    text("film", "Save as GIF");
    text("filming", "");
  }

  async make() {
    if (!this.run) return;
    const { keys, trig, start } = this.run, attempt = ++this.attempt;
    this.busy = true;
    text("film", "Cancel");
    try {
      const film = await filmOf(this.engine, keys, trig, (share) => {
        if (attempt === this.attempt) text("filming", `${Math.round(100 * share)} %`);
        return attempt === this.attempt;
      }, start);
      if (!film) return;
      save("run.gif", film);
      this.cancel();
      text("filming", `${(film.size / 1e6).toFixed(1)} MB`);
    } catch (error) {
      this.cancel();
      text("filming", `No film: ${/** @type {Error} */ (error).message}`);
    }
  }
}

/** @param {import("./engine.js").Engine} engine @param {ArrayLike<number>} keys @param {string} trig
 *  @param {(share: number) => boolean} goOn called after each picture; false cancels
 *  @param {import("./engine.js").Start} [start] @returns {Promise<Blob | null>} */
export async function filmOf(engine, keys, trig, goOn, start = null) {
  const canvas = Object.assign(document.createElement("canvas"), SIZE), stage = new Stage(canvas, true);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  const playback = new Playback(engine, keys, trig, "", start), pictures = Math.floor(keys.length / EVERY) + 1;
  const picture = (/** @type {number} */ frame) => {
    playback.place(frame);
    drawPicture(stage, playback);
    return context.getImageData(0, 0, SIZE.width, SIZE.height).data;
  };
  try {
    const samples = [];
    for (let i = 0; i < SAMPLES; i++) samples.push(picture(Math.floor(keys.length * i / (SAMPLES - 1))));
    const gif = new Gif(SIZE.width, SIZE.height, paletteOf(samples, COLORS), TOLERANCE);
    playback.place(0);
    for (let i = 0; i < pictures; i++) {
      const hundredths = (/** @type {number} */ n) => Math.round(n * EVERY * 100 / 30);
      gif.add(picture(i * EVERY), i < pictures - 1 ? hundredths(i + 1) - hundredths(i) : LAST);
      if (!goOn((i + 1) / pictures)) return null;
      await new Promise((resolve) => setTimeout(resolve));
    }
    return gif.end();
  } finally {
    playback.close();
  }
}

/** The stage with distance, time and keys. @param {Stage} stage @param {Playback} playback */
function drawPicture(stage, { game, held }) {
  const { context: c, width, height, scale } = stage, observation = game.observation();
  stage.draw([{ observation }], game.state());
  c.textBaseline = "middle";
  c.font = `600 ${1.5 * scale}px system-ui, sans-serif`;
  const plate = (/** @type {string} */ words, /** @type {number} */ left) => {
    c.fillStyle = rgb(scenery.INK);
    c.fillRect(left, 0.5 * scale, 6 * scale, 2.2 * scale);
    c.fillStyle = rgb(scenery.LABEL);
    c.textAlign = "center";
    c.fillText(words, left + 3 * scale, 1.65 * scale);
  };
  plate(`${game.distance.toFixed(1)} m`, 0.5 * scale);
  plate(`${game.time.toFixed(1)} s`, width - 6.5 * scale);
  const size = 2.3 * scale;
  for (const [bit, name] of [...constants.keyNames].entries()) {
    const left = bit < 2 ? 0.5 * scale + bit * (size + 0.35 * scale) : width - 0.5 * scale - (4 - bit) * size - (3 - bit) * 0.35 * scale;
    const down = held >> bit & 1, top = height - size - 0.5 * scale;
    c.fillStyle = rgb(down ? scenery.KEY_DOWN : scenery.KEY_UP);
    c.fillRect(left, top, size, size);
    c.fillStyle = rgb(down ? scenery.INK : scenery.LABEL);
    c.fillText(name, left + size / 2, top + size / 2);
  }
}
