// Posture and gait of a run, from the features that the engine computes: nothing is measured twice.

import constants from "./constants.js";

const PELVIS = 82, FEET = 83, KNEES = 85; // columns of the features
const SPEED_FRAMES = 15; // half of the window of the speed curve

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

/** What the diagrams show of a run, by playing its keys once more. @param {import("./engine.js").Engine} engine
 *  @param {ArrayLike<number>} keys @param {string} trig @param {string} color
 *  @param {import("./engine.js").Start} [start] @returns {import("./diagram.js").Series} */
export function seriesOf(engine, keys, trig, color, start = null) {
  const game = engine.game(trig);
  game.begin(start);
  const postures = [posture(game)], meters = [game.distance];
  for (let i = 0; i < keys.length; i++) {
    game.step(keys[i]);
    postures.push(posture(game));
    meters.push(game.distance);
  }
  game.close();
  const down = [0, 1].map((foot) => footContacts(postures.map(({ feet }) => feet[foot])));
  return {
    keys,
    color,
    contacts: postures.map(({ kneeNear, upright }, f) =>
      Number(down[0][f]) | Number(down[1][f]) << 1 | Number(kneeNear) << 2 | Number(upright) << 3),
    knees: postures.flatMap(({ knees }) => knees),
    pitch: postures.map(({ tilt }) => tilt * 180 / Math.PI),
    speed: speedCurve(meters),
  };
}

/** Whether a foot is down; between touching and leaving the track, the last verdict holds. @param {number[]} clearances m */
export function footContacts(clearances) {
  let down = clearances[0] < constants.footLifts;
  return clearances.map((clearance) => {
    if (clearance <= constants.footTouches) down = true;
    else if (clearance >= constants.footLifts) down = false;
    return down;
  });
}

/** m/s over a second around each frame; near the ends the window is cut. @param {number[]} meters of each frame */
function speedCurve(meters) {
  return meters.map((_, f) => {
    const a = Math.max(f - SPEED_FRAMES, 0), b = Math.min(f + SPEED_FRAMES, meters.length - 1);
    return (meters[b] - meters[a]) / Math.max(b - a, 1) * 30;
  });
}

/** When the torso first passes each split, s; null: not by frame `frame`. @param {Float32Array[]} observations
 *  @param {number[]} times @param {number} frame */
export function splits(observations, times, frame) {
  return constants.splits.map((at) => {
    const i = observations.findIndex((observation) => observation[0] / constants.unitsPerMeter >= at);
    return { at, seconds: i < 0 || i > frame ? null : times[i] };
  });
}
