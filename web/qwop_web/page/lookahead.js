// A player that looks ahead, by a worker that plans in advance. Where a plan is late, it takes the most likely action.

export class Lookahead {
  /** @param {ArrayBuffer} engine of engine.wasm @param {ArrayBuffer} checkpoint @param {import("./policy.js").Policy} policy
   *  @param {string} trig @param {object} [settings] see planner.js */
  constructor(engine, checkpoint, policy, trig, settings = {}) {
    this.policy = policy;
    this.run = 0; // number of the run that the worker plans
    this.late = 0; // frames for which no plan was ready
    this.replanned = 0; // times that a plan came for another past than the run's
    /** @type {number[]} */ this.played = [];
    /** @type {number[]} keys of all frames, as far as planned */ this.planned = [];
    this.worker = new Worker(new URL("lookahead-worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => { if (data.run === this.run) this.#take(data); };
    this.worker.postMessage({ engine, policy: checkpoint, trig, settings });
  }

  /** Plan from the end of these keys on. @param {ArrayLike<number>} keys of the run so far
   *  @returns {import("./policy.js").Player} */
  player(keys) {
    this.played = Array.from(keys);
    this.#start();
    return (game) => {
      const frame = this.played.length;
      if (frame % 4 === 0) this.worker.postMessage({ run: this.run, frame });
      let mask = this.planned[frame];
      if (mask === undefined) {
        mask = this.policy.keys(game);
        this.late++;
      }
      this.played.push(mask);
      return mask;
    };
  }

  stop() { this.worker.postMessage({ run: -1 }); }

  #start() {
    this.planned = [...this.played];
    this.worker.postMessage({ run: ++this.run, keys: Uint8Array.from(this.played) });
  }

  /** @param {{ keys: Uint8Array }} plan */
  #take({ keys }) {
    const from = this.planned.length;
    this.planned.push(...keys);
    for (let frame = from; frame < Math.min(this.played.length, this.planned.length); frame++)
      if (this.played[frame] !== this.planned[frame]) {
        this.replanned++;
        this.#start();
        return;
      }
  }
}
