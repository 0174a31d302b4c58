// The figures of a run: gait so far, and split times.

import constants from "./constants.js";
import { text } from "./dom.js";
import { posture, splits } from "./gait.js";

export class Figures {
  constructor() {
    /** @type {number[]} frames up to each with a knee near */ this.near = [0];
    /** @type {number[]} */ this.upright = [0];
  }

  /** Forget the frames after the first `frames`. @param {number} frames */
  cut(frames) { this.near.length = this.upright.length = Math.min(frames, this.near.length - 1) + 1; }

  /** Another frame was played. @param {import("./engine.js").Game} game */
  count(game) {
    const { kneeNear, upright } = posture(game);
    this.near.push(this.near[this.near.length - 1] + Number(kneeNear));
    this.upright.push(this.upright[this.upright.length - 1] + Number(upright));
  }

  /** @param {number} frame the gait up to it */
  showGait(frame) {
    const share = (/** @type {number[]} */ counts) => frame && frame < counts.length ? `${(100 * counts[frame] / frame).toFixed(0)} %` : "-";
    text("knee", share(this.near));
    text("upright", share(this.upright));
  }

  /** @param {import("./session.js").Run} run @param {number} frame */
  showSplits(run, frame) {
    // A foot can land beyond 100 m while the torso is still short of it.
    const landed = run.success && frame === run.frames ? run.time : null;
    for (const { at, seconds } of splits(run.observations, run.times, frame)) {
      const shown = seconds ?? (at === constants.finish ? landed : null);
      text(`split${at}`, shown === null ? "-" : `${shown.toFixed(1)} s`);
    }
  }
}
