// The game: the project's C++ engine as WebAssembly, with the bits of every other engine.

import constants from "./constants.js";

/** Keys held, as bits: Q = 1, W = 2, O = 4, P = 8. @typedef {number} Mask */
/** Rows of (operation, keys, count), as `Episode.start`; null: the canonical start. @typedef {Uint32Array | null} Start */

const HIP_AS_CREATED = 0, HIP_BY_O = 1, HIP_BY_P = 2;

export class Engine {
  /** @param {BufferSource} bytes of engine.wasm @returns {Promise<Engine>} */
  static async load(bytes) {
    const { instance } = await WebAssembly.instantiate(bytes, {});
    return new Engine(instance);
  }

  /** @param {WebAssembly.Instance} instance */
  constructor(instance) {
    this.exports = /** @type {any} */ (instance.exports);
    this.exports._initialize();
    const encoder = Uint8Array.from(atob(constants.encoder), (c) => c.charCodeAt(0));
    if (encoder.length !== this.exports.encoder_size())
      throw new Error("constants.js and engine.wasm are of different builds");
    new Uint8Array(this.exports.memory.buffer, this.exports.encoder_address(), encoder.length).set(encoder);
    /** @type {number[]} */
    this.free = Array.from({ length: this.exports.game_count() }, (_, i) => i).reverse();
  }

  /** A new game at the start of an episode. @param {string} trig @returns {Game} */
  game(trig = constants.trigVariants[0]) {
    const slot = this.free.pop();
    if (slot === undefined) throw new Error("too many games at once");
    return new Game(this, slot, trig);
  }
}

export class Game {
  /** @param {Engine} engine @param {number} slot @param {string} trig */
  constructor(engine, slot, trig) {
    this.engine = engine;
    this.exports = engine.exports;
    this.slot = slot;
    this.trig = constants.trigVariants.indexOf(trig);
    if (this.trig < 0) throw new Error(`no variant of sine and cosine is named ${trig}`);
    /** @type {Mask} of the latest frame */ this.keys = 0;
    this.hipMode = HIP_AS_CREATED;
    this.reset();
  }

  reset() {
    this.exports.reset(this.slot, this.trig);
    this.#forget();
  }

  /** Stand where an episode begins. @param {Start} start what happened in its page before; null: the canonical start */
  begin(start) {
    if (!start) return this.reset();
    const rows = start.length / 3;
    if (rows > this.exports.max_start_rows()) throw new Error("this run begins after a session that is too long");
    new Uint32Array(this.exports.memory.buffer, this.exports.start_address(), start.length).set(start);
    if (this.exports.begin(this.slot, this.trig, rows)) throw new Error("this run's start is no session");
    this.#forget();
  }

  #forget() {
    this.keys = 0;
    this.hipMode = HIP_AS_CREATED;
  }

  /** Play one frame. @param {Mask} keys */
  step(keys) {
    this.exports.step(this.slot, keys);
    this.keys = keys;
    if (keys & 4) this.hipMode = HIP_BY_O;
    else if (keys & 8) this.hipMode = HIP_BY_P;
  }

  /** Go on from another game's state. @param {Game} other */
  become(other) {
    this.exports.copy(this.slot, other.slot);
    this.trig = other.trig;
    this.keys = other.keys;
    this.hipMode = other.hipMode;
  }

  /** Give the slot back. */
  close() {
    this.engine.free.push(this.slot);
    this.slot = -1;
  }

  /** s on the game's clock. */
  get time() { return this.exports.time(this.slot); }
  /** m, the torso's x. */
  get distance() { return this.exports.distance(this.slot); }
  get flags() { return this.exports.flags(this.slot); }

  /** The run is over: fallen, landed, or too far off either end. */
  get over() {
    const { distance } = this;
    return (this.flags & constants.gameEnded) !== 0 || distance < constants.tooFarBack
      || distance > constants.tooFarAhead;
  }

  /** The run is over and counts as 100 m. */
  get success() {
    const { flags } = this;
    return this.over && (((flags & constants.jumpLanded) !== 0 && !(flags & constants.fallen)) || this.distance > constants.finish);
  }

  /** All 92 numbers, a copy. @returns {Float64Array} */
  state() { return new Float64Array(this.exports.memory.buffer, this.exports.read_state(this.slot), 92).slice(); }

  /** The raw observation, 60 numbers, a copy. @returns {Float32Array} */
  observation() {
    return new Float32Array(this.exports.memory.buffer, this.exports.read_observation(this.slot), 60).slice();
  }

  /** The 98 features that policies see, a copy. @returns {Float32Array} */
  features() {
    const at = this.exports.read_features(this.slot, this.hipMode, this.keys);
    return new Float32Array(this.exports.memory.buffer, at, 98).slice();
  }
}
