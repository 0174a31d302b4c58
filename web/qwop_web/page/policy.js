// The shipped policy: the network of a .safetensors checkpoint, played by its most likely action.

import constants from "./constants.js";

/** @typedef {{ weight: Float32Array | Float64Array, bias: Float32Array | Float64Array }} Layer */

export class Policy {
  /** @param {ArrayBuffer} buffer of a checkpoint */
  constructor(buffer) {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    const about = JSON.parse(header.__metadata__.metadata);
    if (about.observation !== "features" || about.feature_version !== 1 || about.feature_size !== 98)
      throw new Error("this policy was trained on other features");
    this.frameSkip = about.frame_skip;
    this.masks = constants.actions[/** @type {"distinct"} */ (about.action_set)];
    /** @param {string} name */
    const tensor = (name) => {
      const { dtype, data_offsets: [from, to] } = header[name] ?? header[name.replace("normalizer", "normaliser")];
      const bytes = buffer.slice(8 + length + from, 8 + length + to);
      return dtype === "F64" ? new Float64Array(bytes) : new Float32Array(bytes);
    };
    this.mean = Float32Array.from(tensor("network.normalizer.mean"));
    this.scale = Float32Array.from(tensor("network.normalizer.var"), (v) => 1 / Math.sqrt(v + 1e-4));
    /** @type {Layer[]} */
    this.layers = [];
    for (let i = 0; `network.policy.${i}.weight` in header; i += 2)
      this.layers.push({ weight: tensor(`network.policy.${i}.weight`), bias: tensor(`network.policy.${i}.bias`) });
  }

  /** Logits of the actions. @param {Float32Array} features */
  logits(features) {
    /** @type {ArrayLike<number>} */
    let x = features.map((v, i) => Math.min(Math.max((v - this.mean[i]) * this.scale[i], -10), 10));
    this.layers.forEach(({ weight, bias }, layer) => {
      const y = new Float64Array(bias.length), n = x.length;
      for (let row = 0; row < y.length; row++) {
        let sum = bias[row];
        for (let column = 0, at = row * n; column < n; column++) sum += weight[at + column] * x[column];
        y[row] = layer < this.layers.length - 1 ? Math.tanh(sum) : sum;
      }
      x = y;
    });
    return x;
  }

  /** A player of one game: asked once a frame for its keys. @returns {(game: import("./engine.js").Game) => number} */
  player() {
    let frame = 0, keys = 0;
    return (game) => {
      if (frame++ % this.frameSkip === 0) {
        const logits = this.logits(game.features());
        let best = 0;
        for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
        keys = this.masks[best];
      }
      return keys;
    };
  }
}
