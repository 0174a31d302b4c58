// What the page shows of a run that is over: its gait, its speed, a link that replays it, and a film.

import constants from "./constants.js";
import { drawGait, drawSpeed } from "./diagram.js";
import { $, canvas, link } from "./dom.js";
import { Filming } from "./filming.js";
import { seriesOf } from "./gait.js";
import { toFragment } from "./runs.js";
import { rgb } from "./scenery.js";

export class Review {
  /** @param {import("./engine.js").Engine} engine */
  constructor(engine) {
    this.engine = engine;
    this.filming = new Filming(engine);
    /** @type {import("./diagram.js").Series | null} */ this.series = null;
    $("copy").addEventListener("click", () => navigator.clipboard?.writeText(link("link").href));
    addEventListener("resize", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** @param {ArrayLike<number>} keys @param {string} trig @param {import("./engine.js").Start} [start] */
  show(keys, trig, start = null) {
    this.series = seriesOf(this.engine, keys, trig, rgb(constants.scenery.SHIRTS[0]), start);
    $("review").hidden = false;
    // A link holds keys alone, and they give another run from the canonical start.
    $("link").hidden = $("copy").hidden = start !== null;
    link("link").href = start ? "#" : toFragment(keys, trig);
    this.filming.of(keys, trig, start);
    this.draw();
  }

  hide() {
    this.series = null;
    $("review").hidden = true;
    this.filming.cancel();
  }

  draw() {
    const { series } = this;
    if (!series) return;
    const last = series.keys.length, [left, right] = constants.scenery.SHOES.map(rgb);
    drawGait(canvas("gait"), series, last, { left, right, kneeNear: constants.kneeNear });
    drawSpeed(canvas("speed"), [series], last);
  }
}
