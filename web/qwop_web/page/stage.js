// The picture: runner, track, hurdle, sand and stadium, as qwop_game/render.py draws them. Lengths are world units.

import constants from "./constants.js";

const { viewHeight: VIEW_HEIGHT, ground: GROUND, trackY: TRACK_Y, sandX: SAND_X, parts: PARTS, figure: FIGURE } = constants;
const CAMERA_AHEAD = 3;
const INK = "#181c28", PAPER = "#fafaf6", OUTLINE = "#261e2c";

/** @typedef {{ observation: Float32Array, shirt?: number, opacity?: number, label?: string }} Runner */

export class Stage {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
  }

  /** As many pixels as the screen has for the canvas. */
  resize() {
    const ratio = devicePixelRatio || 1, { clientWidth, clientHeight } = this.canvas;
    const width = Math.max(64, Math.round(clientWidth * ratio)), height = Math.max(64, Math.round(clientHeight * ratio));
    if (width === this.width && height === this.height) return;
    this.canvas.width = this.width = width;
    this.canvas.height = this.height = height;
    this.scale = height / VIEW_HEIGHT; // px per unit
    this.ground = Math.round(GROUND * this.scale);
    this.sky = this.context.createLinearGradient(0, 0, 0, this.ground);
    for (let i = 0; i <= 8; i++) this.sky.addColorStop(i / 8, mix([96, 168, 226], [226, 240, 246], (i / 8) ** 0.8));
    this.stand = paintStand(this.scale);
    this.boards = paintBoards(this.scale);
    this.stale = true;
  }

  /** @param {Runner[]} runners the first is drawn over the others, and the camera follows it
   *  @param {Float64Array | null} state where the hurdle is: 92 numbers; null: it stands */
  draw(runners, state = null) {
    const { context: c, width, height } = this;
    const camera = runners[0].observation[0] + CAMERA_AHEAD;
    this.stale = false;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.fillStyle = /** @type {CanvasGradient} */ (this.sky);
    c.fillRect(0, 0, width, this.ground);
    this.#scroll(this.stand, camera, 0.12, -3.6);
    this.#scroll(this.boards, camera, 0.55, -1.7);
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
    return [this.width / 2 + (x - camera) * this.scale * (1 + 0.075 * depth), this.ground + depth * this.scale];
  }

  /** @param {HTMLCanvasElement} tile @param {number} camera @param {number} rate @param {number} bottom */
  #scroll(tile, camera, rate, bottom) {
    const top = this.ground + Math.round(bottom * this.scale) - tile.height;
    let left = (-Math.round(camera * this.scale * rate) % tile.width) - tile.width;
    for (; left < this.width; left += tile.width) this.context.drawImage(tile, left, top);
  }

  /** @param {number} camera */
  #track(camera) {
    const { context: c, width, height, scale, ground } = this;
    const far = -1.15, near = VIEW_HEIGHT - GROUND, edges = [far, -0.62, 0.55, 2.1, near + 0.1];
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
    rect("#76b054", 0, ground - 1.9 * scale, width, 0.8 * scale);
    rect("#c8563e", 0, ground + far * scale, width, height);
    edges.slice(0, -1).forEach((upper, i) => {
      if (i % 2) rect("#be4e38", 0, ground + upper * scale, width, (edges[i + 1] - upper) * scale + 1);
    });
    if (last > SAND_X) {
      quad("#e2c484", [[SAND_X, far], [last + 20, far], [last + 20, near + 0.1], [SAND_X, near + 0.1]]);
      for (let column = Math.max(Math.floor(first), SAND_X); column < last; column++) {
        const chance = random(column);
        for (let i = 0; i < 5; i++) {
          const [x, y] = this.#near(camera, column + chance(), -1 + chance() * (near + 1));
          rect(chance() < 0.6 ? "#ceac6a" : "#f2dca4", x, y, 0.2 * scale, 0.1 * scale);
        }
      }
    }
    for (const depth of edges.slice(0, -1)) {
      const stop = last > SAND_X ? this.#near(camera, SAND_X, depth)[0] : width;
      if (stop > 0) rect("#f4e2d6", 0, ground + depth * scale, Math.min(width, stop), Math.max(1, (0.07 + 0.02 * depth) * scale));
    }
    const stripe = (/** @type {number} */ x, /** @type {number} */ w, /** @type {number} */ a, /** @type {number} */ b, /** @type {string} */ color) =>
      quad(color, [[x - w, a], [x + w, a], [x + w, b], [x - w, b]]);
    c.font = `${1.1 * scale}px system-ui, sans-serif`;
    c.textAlign = "left";
    c.textBaseline = "top";
    for (let meter = Math.max(0, Math.floor(first / 10)); meter <= Math.min(100, Math.ceil(last / 10)); meter++) {
      if (meter % 10) {
        stripe(10 * meter, 0.08, 0.55, 0.85, "#ecc4b2");
        continue;
      }
      stripe(10 * meter, 0.16, far, near + 0.1, "#faf0e8");
      if (meter < 100) {
        const [x, y] = this.#near(camera, 10 * meter + 0.35, 0.85);
        c.fillStyle = "#faf0e8";
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
      c.fillStyle = i ? "#f6f6f2" : "#464c5c";
      c.fillRect(-w, -h, 2 * w, 2 * h);
      if (i) {
        c.fillStyle = "#dc363c"; // bands across the upright board
        for (const [low, high] of [[-3.65, -2.4], [-1, 0.25], [1.65, 2.9]]) c.fillRect(-w, low, 2 * w, high - low);
      }
      c.strokeStyle = OUTLINE;
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
    c.fillStyle = "rgb(60 16 16 / 31%)";
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
    const color = constants.shirts[shirt % constants.shirts.length];
    for (const shape of FIGURE) {
      target.fillStyle = rgb(typeof shape.color === "number" ? color.map((v) => Math.min(255, Math.round(v * shape.color))) : shape.color);
      if (shape.kind === "patch") {
        const points = shape.corners.map((corner) => point(shape.part, corner));
        polygon(target, points);
        if (shape.grow)
          points.forEach((p, i) => limb(target, p, points[(i + 1) % points.length], shape.grow * scale, shape.grow * scale, true));
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
    c.fillStyle = rgb(constants.shirts[shirt % constants.shirts.length]);
    c.beginPath();
    c.roundRect(x - half, y - 0.6 * scale, 2 * half, 1.2 * scale, 0.6 * scale);
    c.fill();
    c.fillStyle = PAPER;
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

/** A stand full of people under a roof; it repeats seamlessly. @param {number} scale */
function paintStand(scale) {
  const [tile, c] = newTile(48 * scale, 11.5 * scale), { width, height } = tile;
  const rect = (/** @type {string} */ color, /** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ w, /** @type {number} */ h) => {
    c.fillStyle = color;
    c.fillRect(x, y, w, h);
  };
  const roof = 3 * scale, firstRow = 4.3 * scale, rowHeight = 0.75 * scale, dot = Math.max(1, 0.23 * scale);
  rect("#7e8ca8", 0, roof, width, height - roof);
  rect("#54607c", 0, roof + 0.5 * scale, width, firstRow - roof - 0.5 * scale);
  const chance = random(7), crowd = [[206, 92, 88], [88, 128, 190], [228, 196, 112], [118, 170, 124], [222, 222, 226], [150, 116, 172]];
  const rows = Math.floor((height - firstRow) / rowHeight) + 1;
  for (let row = 0; row < rows; row++) {
    const y = firstRow + row * rowHeight, share = row / rows;
    const shade = [0, 1, 2].map((i) => [112, 124, 152][i] + ([142, 156, 182][i] - [112, 124, 152][i]) * share);
    rect(rgb(shade), 0, y, width, rowHeight + 1);
    for (let seat = 0; seat < 64; seat++) {
      if (chance() >= 0.82) continue;
      const x = (seat + 0.35 + 0.3 * chance()) * width / 64;
      c.fillStyle = mix(crowd[Math.floor(chance() * crowd.length)], shade, 0.35);
      c.beginPath();
      c.roundRect(x - dot, y + 0.3 * scale, 2 * dot, rowHeight * 0.6, dot);
      c.fill();
      c.fillStyle = mix([214, 160, 124], shade, 0.25);
      c.beginPath();
      c.arc(x, y + 0.22 * scale, 0.8 * dot, 0, 2 * Math.PI);
      c.fill();
    }
  }
  for (let pillar = 0; pillar < 4; pillar++) rect("#e2e6ee", (pillar + 0.5) * width / 4, roof, Math.max(2, 0.3 * scale), height - roof);
  rect("#ecf0f6", 0, roof - 0.35 * scale, width, 0.75 * scale);
  rect("#c84a4a", 0, roof + 0.4 * scale, width, Math.max(2, 0.14 * scale));
  return tile;
}

/** Boards along the track in front of a hedge; they repeat seamlessly. @param {number} scale */
function paintBoards(scale) {
  const [tile, c] = newTile(56 * scale, 3.4 * scale), { width, height } = tile;
  const hedge = 1.1 * scale, chance = random(2);
  c.fillStyle = "#42804a";
  for (let i = 0; i < 60; i++) {
    const radius = (0.55 + 0.25 * chance()) * scale;
    for (const wrap of [-width, 0, width]) {
      c.beginPath();
      c.arc((i + 0.5) * width / 60 + wrap, hedge, radius, 0, 2 * Math.PI);
      c.fill();
    }
  }
  c.fillStyle = "#3a7442";
  c.fillRect(0, hedge, width, height - hedge);
  c.font = `600 ${1.15 * scale}px system-ui, sans-serif`;
  c.textAlign = "center";
  c.textBaseline = "middle";
  const boards = [["STRIDE", "#28488c"], ["Q  W", "#f6f6f0"], ["100 METERS", "#c43c3c"], ["O  P", "#f6f6f0"],
    ["UPRIGHT", "#246e68"], ["HURDLE 50 M", "#f6c44c"], ["NO KNEES", "#f6f6f0"]];
  boards.forEach(([text, color], i) => {
    c.fillStyle = color;
    c.fillRect(i * width / 7 + 1, 1.55 * scale, width / 7 - 2, 1.85 * scale);
    c.fillStyle = /^#f/.test(color) ? "#28488c" : PAPER;
    c.fillText(text, (i + 0.5) * width / 7, 2.5 * scale, width / 7 - 0.6 * scale);
  });
  return tile;
}

/** @param {number} width @param {number} height @returns {[HTMLCanvasElement, CanvasRenderingContext2D]} */
function newTile(width, height) {
  const tile = document.createElement("canvas");
  tile.width = Math.round(width);
  tile.height = Math.round(height);
  return [tile, /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"))];
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). @param {number} seed */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @param {number[]} a @param {number[]} b @param {number} share */
function mix(a, b, share) { return rgb(a.map((v, i) => v + (b[i] - v) * share)); }
/** @param {number[]} color */
function rgb(color) { return `rgb(${color.map(Math.round).join(" ")})`; }
/** @param {number} value @param {number} low @param {number} high */
function clamp(value, low, high) { return Math.min(Math.max(value, low), high); }

export { INK, PAPER };
