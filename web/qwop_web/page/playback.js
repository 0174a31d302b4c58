// A stored run that is played again: one that is watched, or a ghost.

export class Playback {
  /** @param {import("./engine.js").Engine} engine @param {ArrayLike<number>} keys @param {string} trig
   *  @param {string} [name] @param {import("./engine.js").Start} [start] */
  constructor(engine, keys, trig, name = "", start = null) {
    this.keys = keys;
    this.trig = trig;
    this.name = name;
    this.start = start;
    this.game = engine.game(trig);
    /** A game at the start, where a session has to be played to get there. @type {import("./engine.js").Game | null} */
    this.first = start && engine.game(trig);
    this.first?.begin(start);
    this.#rewind();
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
      this.#rewind();
      this.frame = 0;
    }
    while (this.frame < frame && !this.done) this.step();
  }

  #rewind() {
    if (this.first) this.game.become(this.first);
    else this.game.reset();
  }

  close() {
    this.game.close();
    this.first?.close();
  }
}
