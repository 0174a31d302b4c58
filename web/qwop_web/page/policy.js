// The shipped policy: the networks of a .safetensors checkpoint.

import constants from "./constants.js";

/** @typedef {Float32Array | Float64Array} Numbers
 *  @typedef {{ weight: Numbers, bias: Numbers }} Layer
 *  @typedef {(game: import("./engine.js").Game) => number} Player asked once a frame for its keys */

export class Policy {
  /** @param {ArrayBuffer} buffer of a checkpoint */
  constructor(buffer) {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    const about = JSON.parse(header.__metadata__.metadata);
    if (about.observation !== "features" || about.feature_version !== 1 || about.feature_size !== 98)
      throw new Error("this policy was trained on other features");
    /** @type {number} */ this.frameSkip = about.frame_skip;
    this.masks = constants.actions[/** @type {"distinct"} */ (about.action_set)];
    /** @param {string} name @returns {Numbers} */
    const tensor = (name) => {
      const { dtype, data_offsets: [from, to] } = header[name] ?? header[name.replace("normalizer", "normaliser")];
      const bytes = buffer.slice(8 + length + from, 8 + length + to);
      return dtype === "F64" ? new Float64Array(bytes) : new Float32Array(bytes);
    };
    /** @param {string} network @returns {Layer[]} */
    const layers = (network) => {
      const found = [];
      for (let i = 0; `network.${network}.${i}.weight` in header; i += 2)
        found.push({ weight: tensor(`network.${network}.${i}.weight`), bias: tensor(`network.${network}.${i}.bias`) });
      return found;
    };
    this.mean = Float32Array.from(tensor("network.normalizer.mean"));
    this.scale = Float32Array.from(tensor("network.normalizer.var"), (v) => 1 / Math.sqrt(v + 1e-4));
    this.actor = layers("policy");
    this.critic = layers("value");
    this.valueMean = tensor("network.value_mean")[0];
    this.valueStd = tensor("network.value_std")[0]; // 1: the critic was never trained
  }

  /** Logits of the actions. @param {Float32Array} features @returns {Float64Array} */
  logits(features) { return this.#forward(this.actor, features); }

  /** The critic's value of a state; 0 without a trained critic. @param {Float32Array} features */
  value(features) {
    return this.valueStd === 1 ? 0 : this.valueMean + this.valueStd * this.#forward(this.critic, features)[0];
  }

  /** @param {Layer[]} layers @param {Float32Array} features */
  #forward(layers, features) {
    const { mean, scale } = this;
    let x = Float64Array.from(features, (v, i) => Math.min(Math.max(Math.fround((v - mean[i]) * scale[i]), -10), 10));
    for (const [layer, { weight, bias }] of layers.entries()) {
      const y = new Float64Array(bias.length), n = x.length;
      // Four rows at once: no sum waits for the one before it. The order of each sum stays.
      let row = 0, at = 0;
      for (; row + 4 <= y.length; row += 4, at += 4 * n) {
        let a = bias[row], b = bias[row + 1], c = bias[row + 2], d = bias[row + 3];
        for (let i = 0, j = at; i < n; i++, j++) {
          const v = x[i];
          a += weight[j] * v;
          b += weight[j + n] * v;
          c += weight[j + 2 * n] * v;
          d += weight[j + 3 * n] * v;
        }
        y[row] = a;
        y[row + 1] = b;
        y[row + 2] = c;
        y[row + 3] = d;
      }
      for (; row < y.length; row++, at += n) {
        let sum = bias[row];
        for (let i = 0; i < n; i++) sum += weight[at + i] * x[i];
        y[row] = sum;
      }
      if (layer < layers.length - 1) for (let i = 0; i < y.length; i++) y[i] = Math.tanh(y[i]);
      x = y;
    }
    return x;
  }

  /** The keys of the most likely action. @param {import("./engine.js").Game} game */
  keys(game) { return this.masks[argmax(this.logits(game.features()))]; }

  /** A player that takes the most likely action. @returns {Player} */
  player() {
    let frame = 0, keys = 0;
    return (game) => {
      if (frame++ % this.frameSkip === 0) keys = this.keys(game);
      return keys;
    };
  }
}

/** The first of the largest. @param {ArrayLike<number>} values */
export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
