// The picture: runner, track, hurdle and sand, as qwop_game/render.py draws them. Lengths are world units.

import constants from "./constants.js";
import { paintBoards, paintSky, paintStand, random, rgb } from "./scenery.js";

const { scenery, trackY: TRACK_Y, sandX: SAND_X, parts: PARTS } = constants;
const FIGURE = /** @type {(Patch | Limb)[]} */ (constants.figure);
const { VIEW_HEIGHT, GROUND, CAMERA_AHEAD, PERSPECTIVE, SHIRTS, TRACK_FAR: FAR, LANE_EDGES } = scenery;
const NEAR = VIEW_HEIGHT - GROUND;
const COLORS = {
  grass: rgb(scenery.GRASS), track: rgb(scenery.TRACK), lane: rgb(scenery.LANE), laneLine: rgb(scenery.LANE_LINE),
  tick: rgb(scenery.TICK), meterLine: rgb(scenery.METER_LINE), sand: rgb(scenery.SAND), sandDark: rgb(scenery.SAND_DARK),
  sandPale: rgb(scenery.SAND_PALE), feet: rgb(scenery.HURDLE_FEET), board: rgb(scenery.HURDLE_BOARD),
  stripe: rgb(scenery.HURDLE_STRIPE), line: rgb(scenery.LINE), label: rgb(scenery.LABEL), shadow: rgb(scenery.SHADOW),
};

/** @typedef {number[] | number} Paint RGB; or a factor of the shirt's color
 *  @typedef {{ kind: "patch", part: string, corners: number[][], color: Paint, grow: number }} Patch
 *  @typedef {{ kind: "limb", start_part: string, start: number[], end_part: string, end: number[], start_radius: number,
 *    end_radius: number, color: Paint, round_end: boolean }} Limb see qwop_game/figure.py */

/** @typedef {{ observation: Float32Array, shirt?: number, opacity?: number, label?: string }} Runner */

export class Stage {
  /** @param {HTMLCanvasElement} canvas @param {boolean} [fixed] keep the canvas's own pixels; else those of the screen */
  constructor(canvas, fixed = false) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.width = this.height = 0; // px
    this.scale = 1; // px per unit
    this.ground = 0; // px
    /** @type {CanvasRenderingContext2D | undefined} */ this.ghost = undefined;
    if (fixed) this.#prepare(canvas.width, canvas.height);
    else {
      new ResizeObserver(() => this.resize()).observe(canvas);
      this.resize();
    }
  }

  /** As many pixels as the screen has for the canvas. */
  resize() {
    const ratio = devicePixelRatio || 1, { clientWidth, clientHeight } = this.canvas;
    const width = Math.max(64, Math.round(clientWidth * ratio)), height = Math.max(64, Math.round(clientHeight * ratio));
    if (width !== this.width || height !== this.height) this.#prepare(width, height);
  }

  /** @param {number} width @param {number} height */
  #prepare(width, height) {
    this.canvas.width = this.width = width;
    this.canvas.height = this.height = height;
    this.scale = height / VIEW_HEIGHT;
    this.ground = Math.round(GROUND * this.scale);
    this.sky = paintSky(width, this.ground);
    this.stand = paintStand(this.scale);
    this.boards = paintBoards(this.scale);
    this.stale = true;
  }

  /** @param {Runner[]} runners the first is drawn over the others, and the camera follows it
   *  @param {Float64Array | null} state where the hurdle is: 92 numbers; null: it stands */
  draw(runners, state = null) {
    const { context: c } = this;
    const camera = runners[0].observation[0] + CAMERA_AHEAD;
    this.stale = false;
    c.setTransform(1, 0, 0, 1, 0, 0);
    if (this.sky) c.drawImage(this.sky, 0, 0);
    const moving = this.calm.matches ? 0 : 1; // who wants little motion sees the track move, and nothing else
    this.#scroll(this.stand, camera, moving * scenery.STAND_RATE, scenery.STAND_BOTTOM);
    this.#scroll(this.boards, camera, moving * scenery.BOARDS_RATE, scenery.BOARDS_BOTTOM);
    this.#track(camera);
    this.#hurdle(camera, state);
    for (const runner of [...runners].reverse()) this.#runner(camera, runner);
    for (const runner of runners) if (runner.label) this.#label(camera, runner);
    c.setTransform(1, 0, 0, 1, 0, 0);
  }

  /** World to px. @param {number} camera @param {number} x */
  #x(camera, x) { return this.width / 2 + (x - camera) * this.scale; }
  /** @param {number} y */
  #y(y) { return this.ground + (y - TRACK_Y) * this.scale; }
  /** px of a point `depth` units nearer than the runners' line. @param {number} camera @param {number} x @param {number} depth */
  #near(camera, x, depth) {
    return [this.width / 2 + (x - camera) * this.scale * (1 + PERSPECTIVE * depth), this.ground + depth * this.scale];
  }

  /** @param {HTMLCanvasElement | undefined} tile @param {number} camera @param {number} rate @param {number} bottom */
  #scroll(tile, camera, rate, bottom) {
    if (!tile) return;
    const top = this.ground + Math.round(bottom * this.scale) - tile.height;
    let left = (-Math.round(camera * this.scale * rate) % tile.width) - tile.width;
    for (; left < this.width; left += tile.width) this.context.drawImage(tile, left, top);
  }

  /** @param {number} camera */
  #track(camera) {
    const { context: c, width, height, scale, ground } = this;
    const half = (width / 2 / scale + 4) * 1.1, first = camera - half, last = camera + half;
    const rect = (/** @type {string} */ color, /** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ w, /** @type {number} */ h) => {
      c.fillStyle = color;
      c.fillRect(x, y, w, h);
    };
    const quad = (/** @type {string} */ color, /** @type {number[][]} */ corners) => {
      c.fillStyle = color;
      c.beginPath();
      for (const [x, depth] of corners) c.lineTo(.../** @type {[number, number]} */ (this.#near(camera, x, depth)));
      c.fill();
    };
    rect(COLORS.grass, 0, ground + scenery.GRASS_TOP * scale, width, scenery.GRASS_HEIGHT * scale);
    rect(COLORS.track, 0, ground + FAR * scale, width, height);
    LANE_EDGES.slice(0, -1).forEach((upper, i) => {
      if (i % 2) rect(COLORS.lane, 0, ground + upper * scale, width, (LANE_EDGES[i + 1] - upper) * scale + 1);
    });
    if (last > SAND_X) {
      quad(COLORS.sand, [[SAND_X, FAR], [last + 20, FAR], [last + 20, NEAR + 0.1], [SAND_X, NEAR + 0.1]]);
      for (let column = Math.max(Math.floor(first), SAND_X); column < last; column++) {
        const chance = random(column);
        for (let i = 0; i < 5; i++) {
          const [x, y] = this.#near(camera, column + chance(), -1 + chance() * (NEAR + 1));
          rect(chance() < 0.6 ? COLORS.sandDark : COLORS.sandPale, x, y, 0.2 * scale, 0.1 * scale);
        }
      }
    }
    for (const depth of LANE_EDGES.slice(0, -1)) {
      const stop = last > SAND_X ? this.#near(camera, SAND_X, depth)[0] : width;
      if (stop > 0) rect(COLORS.laneLine, 0, ground + depth * scale, Math.min(width, stop), Math.max(1, (0.07 + 0.02 * depth) * scale));
    }
    const stripe = (/** @type {number} */ x, /** @type {number} */ w, /** @type {number} */ a, /** @type {number} */ b, /** @type {string} */ color) =>
      quad(color, [[x - w, a], [x + w, a], [x + w, b], [x - w, b]]);
    c.font = `${1.1 * scale}px system-ui, sans-serif`;
    c.textAlign = "left";
    c.textBaseline = "top";
    for (let meter = Math.max(0, Math.floor(first / 10)); meter <= Math.min(100, Math.ceil(last / 10)); meter++) {
      if (meter % 10) {
        stripe(10 * meter, 0.08, 0.55, 0.85, COLORS.tick);
        continue;
      }
      stripe(10 * meter, 0.16, FAR, NEAR + 0.1, COLORS.meterLine);
      if (meter < 100) {
        const [x, y] = this.#near(camera, 10 * meter + 0.35, 0.85);
        c.fillStyle = COLORS.meterLine;
        c.fillText(String(meter), x, y);
      }
    }
  }

  /** @param {number} camera @param {Float64Array | null} state */
  #hurdle(camera, state) {
    const at = 6 * PARTS.length;
    const poses = state ? [[...state.subarray(at, at + 3)], [...state.subarray(at + 6, at + 9)]] : constants.hurdlePoses;
    if (Math.abs(poses[1][0] - camera) * this.scale > this.width) return;
    const { context: c } = this;
    this.#shadow(camera, poses[0][0], 2.6);
    constants.hurdle.forEach(([w, h], i) => {
      this.#turn(camera, poses[i]);
      c.fillStyle = i ? COLORS.board : COLORS.feet;
      c.fillRect(-w, -h, 2 * w, 2 * h);
      if (i) {
        c.fillStyle = COLORS.stripe; // bands across the upright board
        for (const [low, high] of scenery.HURDLE_STRIPES) c.fillRect(-w, low, 2 * w, high - low);
      }
      c.strokeStyle = COLORS.line;
      c.lineWidth = 0.08;
      c.strokeRect(-w, -h, 2 * w, 2 * h);
    });
    c.setTransform(1, 0, 0, 1, 0, 0);
  }

  /** Draw in a part's own axes. @param {number} camera @param {ArrayLike<number>} pose x, y, angle */
  #turn(camera, pose) {
    const s = this.scale, cos = Math.cos(pose[2]) * s, sin = Math.sin(pose[2]) * s;
    this.context.setTransform(cos, sin, -sin, cos, this.#x(camera, pose[0]), this.#y(pose[1]));
  }

  /** @param {number} camera @param {number} x @param {number} half */
  #shadow(camera, x, half) {
    const { context: c, scale } = this;
    c.fillStyle = COLORS.shadow;
    c.beginPath();
    c.ellipse(this.#x(camera, x), this.#y(TRACK_Y + 0.08), half * scale, 0.3 * scale, 0, 0, 2 * Math.PI);
    c.fill();
  }

  /** @param {number} camera @param {Runner} runner */
  #runner(camera, { observation, shirt = 0, opacity = 1 }) {
    const { context: c, scale } = this;
    if (Math.abs(observation[0] - camera) * scale > this.width) return;
    if (opacity === 1)
      for (const foot of ["leftFoot", "rightFoot"]) {
        const at = 5 * PARTS.indexOf(foot);
        this.#shadow(camera, observation[at], 1.9 - 0.12 * clamp(TRACK_Y - observation[at + 1], 0, 8));
      }
    // A ghost is drawn aside, so that its limbs do not show through each other.
    const target = opacity < 1 ? this.#ghostCanvas() : c;
    const point = (/** @type {string} */ part, /** @type {number[]} */ [x, y]) => {
      const at = 5 * PARTS.indexOf(part), cos = Math.cos(observation[at + 2]), sin = Math.sin(observation[at + 2]);
      return [this.#x(camera, observation[at] + cos * x - sin * y), this.#y(observation[at + 1] + sin * x + cos * y)];
    };
    const shirtColor = SHIRTS[shirt % SHIRTS.length];
    for (const shape of FIGURE) {
      const { color } = shape;
      target.fillStyle = rgb(typeof color === "number" ? shirtColor.map((v) => Math.min(255, Math.round(v * color))) : color);
      if (shape.kind === "patch") {
        const points = shape.corners.map((corner) => point(shape.part, corner));
        polygon(target, points);
        if (shape.grow)
          for (const [i, p] of points.entries())
            limb(target, p, points[(i + 1) % points.length], shape.grow * scale, shape.grow * scale, true);
      } else
        limb(target, point(shape.start_part, shape.start), point(shape.end_part, shape.end), shape.start_radius * scale,
          shape.end_radius * scale, shape.round_end);
    }
    if (target !== c) {
      c.globalAlpha = opacity;
      c.drawImage(/** @type {HTMLCanvasElement} */ (target.canvas), 0, 0);
      c.globalAlpha = 1;
    }
  }

  #ghostCanvas() {
    this.ghost ??= /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
    const { canvas } = this.ghost;
    if (canvas.width !== this.width || canvas.height !== this.height) {
      canvas.width = this.width;
      canvas.height = this.height;
    } else this.ghost.clearRect(0, 0, this.width, this.height);
    return this.ghost;
  }

  /** @param {number} camera @param {Runner} runner */
  #label(camera, { observation, label = "", shirt = 0 }) {
    const { context: c, scale } = this, head = 5 * PARTS.indexOf("head");
    const x = this.#x(camera, observation[head]), y = this.#y(observation[head + 1] - 2.3);
    c.font = `600 ${0.8 * scale}px system-ui, sans-serif`;
    const half = c.measureText(label).width / 2 + 0.35 * scale;
    c.fillStyle = rgb(SHIRTS[shirt % SHIRTS.length]);
    c.beginPath();
    c.roundRect(x - half, y - 0.6 * scale, 2 * half, 1.2 * scale, 0.6 * scale);
    c.fill();
    c.fillStyle = COLORS.label;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(label, x, y);
  }
}

/** Two circles and what lies between them. @param {CanvasRenderingContext2D} c @param {number[]} a @param {number[]} b
 *  @param {number} ra @param {number} rb @param {boolean} roundEnd */
function limb(c, a, b, ra, rb, roundEnd) {
  const circle = (/** @type {number[]} */ [x, y], /** @type {number} */ r) => {
    c.beginPath();
    c.arc(x, y, r, 0, 2 * Math.PI);
    c.fill();
  };
  circle(a, ra);
  const length = Math.hypot(b[0] - a[0], b[1] - a[1]);
  if (length < 1e-6) return;
  if (roundEnd) circle(b, rb);
  const nx = -(b[1] - a[1]) / length, ny = (b[0] - a[0]) / length;
  polygon(c, [[a[0] + nx * ra, a[1] + ny * ra], [b[0] + nx * rb, b[1] + ny * rb], [b[0] - nx * rb, b[1] - ny * rb],
    [a[0] - nx * ra, a[1] - ny * ra]]);
}

/** @param {CanvasRenderingContext2D} c @param {number[][]} points */
function polygon(c, points) {
  c.beginPath();
  for (const [x, y] of points) c.lineTo(x, y);
  c.fill();
}

/** @param {number} value @param {number} low @param {number} high */
function clamp(value, low, high) { return Math.min(Math.max(value, low), high); }
