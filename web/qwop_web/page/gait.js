// Posture and gait of a run, from the features that the engine computes: nothing is measured twice.

import constants from "./constants.js";

const PELVIS = 82, FEET = 83, KNEES = 85; // columns of the features

/** @typedef {{ pelvis: number, knees: [number, number], feet: [number, number], tilt: number, kneeNear: boolean,
 *  upright: boolean }} Posture lengths in m, the tilt in radians, forward positive */

/** @param {import("./engine.js").Game} game @returns {Posture} */
export function posture(game) {
  const features = game.features(), scale = constants.clearanceScale;
  const angle = game.observation()[2] + 1.5 * Math.PI;
  const tilt = angle - 2 * Math.PI * Math.floor(angle / (2 * Math.PI)) - Math.PI;
  const knees = /** @type {[number, number]} */ ([features[KNEES] / scale, features[KNEES + 1] / scale]);
  const kneeNear = Math.min(...knees) < constants.kneeNear, pelvis = features[PELVIS];
  return {
    pelvis, knees, tilt, kneeNear,
    feet: [features[FEET] / scale, features[FEET + 1] / scale],
    upright: pelvis >= constants.uprightPelvis && !kneeNear && Math.abs(tilt) <= constants.uprightTilt,
  };
}

/** Every frame's posture, by playing the keys once more. @param {import("./engine.js").Engine} engine
 *  @param {ArrayLike<number>} keys @param {string} trig */
export function postures(engine, keys, trig) {
  const game = engine.game(trig), result = [posture(game)], meters = [game.distance];
  for (let i = 0; i < keys.length; i++) {
    game.step(keys[i]);
    result.push(posture(game));
    meters.push(game.distance);
  }
  game.close();
  return { postures: result, meters };
}

const SPLITS = [10, 50, 100];

/** When the torso first passes each split, s; null: not by frame `frame`. @param {Float32Array[]} observations
 *  @param {number[]} times @param {number} frame */
export function splits(observations, times, frame) {
  return SPLITS.map((at) => {
    const i = observations.findIndex((observation) => observation[0] / constants.unitsPerMeter >= at);
    return { at, seconds: i < 0 || i > frame ? null : times[i] };
  });
}

/** Draw keys, feet, knees and speed of a run. @param {HTMLCanvasElement} canvas
 *  @param {{ postures: Posture[], meters: number[] }} run @param {ArrayLike<number>} keys */
export function drawDiagram(canvas, { postures: all, meters }, keys) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth || 600, height = 210;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const c = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  c.scale(ratio, ratio);
  const style = getComputedStyle(canvas), ink = style.getPropertyValue("--soft") || "#666";
  const accent = style.getPropertyValue("--accent") || "#c2461f", left = 74, right = 8;
  const x = (/** @type {number} */ f) => left + f / Math.max(all.length - 1, 1) * (width - left - right);
  c.font = "12px system-ui, sans-serif";
  c.textBaseline = "middle";
  const band = (/** @type {string} */ label, /** @type {number} */ y, /** @type {(f: number) => unknown} */ on, /** @type {string} */ color) => {
    c.fillStyle = ink;
    c.textAlign = "right";
    c.fillText(label, left - 8, y + 5);
    c.fillStyle = color;
    for (let f = 0; f < all.length; f++) {
      if (!on(f)) continue;
      const first = f;
      while (f + 1 < all.length && on(f + 1)) f++;
      c.fillRect(x(first), y, Math.max(x(f + 1) - x(first), 0.7), 10);
    }
  };
  for (const [bit, name] of [...constants.keyNames].entries()) band(name, 6 + 14 * bit, (f) => f < keys.length && keys[f] >> bit & 1, ink);
  band("left foot", 68, (f) => all[f].feet[0] <= 0.01, "#3a96d6");
  band("right foot", 84, (f) => all[f].feet[1] <= 0.01, "#f05c34");
  band("knee near", 100, (f) => all[f].kneeNear, accent);
  band("upright", 116, (f) => all[f].upright, "#2e9d5b");
  // Speed over a second around each frame.
  const speed = meters.map((_, f) => {
    const a = Math.max(f - 15, 0), b = Math.min(f + 15, meters.length - 1);
    return (meters[b] - meters[a]) / Math.max(b - a, 1) * 30;
  });
  const top = Math.max(1, Math.ceil(Math.max(...speed))), y = (/** @type {number} */ v) => 196 - 60 * Math.max(v, 0) / top;
  c.strokeStyle = c.fillStyle = ink;
  c.lineWidth = 0.5;
  for (const v of [0, top]) {
    c.fillText(`${v} m/s`, left - 8, y(v));
    c.beginPath();
    c.moveTo(left, y(v));
    c.lineTo(width - right, y(v));
    c.stroke();
  }
  c.strokeStyle = accent;
  c.lineWidth = 1.5;
  c.beginPath();
  for (const [f, v] of speed.entries()) c.lineTo(x(f), y(v));
  c.stroke();
}
