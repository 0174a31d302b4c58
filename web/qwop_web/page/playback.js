// A stored run that is played again: one that is watched, or a ghost.

export class Playback {
  /** @param {import("./engine.js").Engine} engine @param {ArrayLike<number>} keys @param {string} trig @param {string} [name] */
  constructor(engine, keys, trig, name = "") {
    this.keys = keys;
    this.trig = trig;
    this.name = name;
    this.game = engine.game(trig);
    this.frame = 0;
  }

  get done() { return this.frame >= this.keys.length; }
  /** Keys held in the latest frame. */
  get held() { return this.frame ? this.keys[this.frame - 1] : 0; }

  /** One frame; none after the end. */
  step() {
    if (!this.done) this.game.step(this.keys[this.frame++]);
  }

  /** Stand at a frame. @param {number} frame */
  place(frame) {
    if (frame < this.frame) {
      this.game.reset();
      this.frame = 0;
    }
    while (this.frame < frame && !this.done) this.step();
  }

  close() { this.game.close(); }
}
