// The shipped policy as a player of the session: fetched when it is first asked for, alone or looking ahead.

import { Lookahead } from "./lookahead.js";
import { Policy } from "./policy.js";

/** @param {string} file of the page */
export async function fetchBytes(file) {
  const answer = await fetch(file);
  if (!answer.ok) throw new Error(`${file}: ${answer.status} ${answer.statusText}`);
  return answer.arrayBuffer();
}

export class Autopilot {
  /** @param {ArrayBuffer} engine of engine.wasm @param {string} trig */
  constructor(engine, trig) {
    this.engine = engine;
    this.trig = trig;
    /** @type {Policy | null} */ this.policy = null;
    /** @type {Lookahead | null} */ this.lookahead = null;
  }

  /** Once, before `player`. */
  async load() {
    if (this.policy) return;
    this.checkpoint = await fetchBytes("policy.safetensors");
    this.policy = new Policy(this.checkpoint);
  }

  /** @param {boolean} ahead look ahead @param {ArrayLike<number>} keys of the run so far
   *  @returns {import("./policy.js").Player} */
  player(ahead, keys) {
    if (!this.policy || !this.checkpoint) throw new Error("the policy is not loaded");
    if (!ahead) return this.policy.player();
    this.lookahead ??= new Lookahead(this.engine, this.checkpoint, this.policy, this.trig);
    return this.lookahead.player(keys);
  }

  stop() { this.lookahead?.stop(); }
}
