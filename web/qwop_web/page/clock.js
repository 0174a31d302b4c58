// Time: at most one tick a callback, on a fixed grid. A late tick moves the grid; it never catches up.
//
// Ticks come from a timer and a MessageChannel, not from requestAnimationFrame: a screen of 144 Hz would make them uneven.

const EARLY = 5; // ms before the tick at which the timer ends; messages wait out the rest

export class Clock {
  /** @param {() => number} period ms, asked before each tick @param {(lateness: number) => void} tick lateness in ms */
  constructor(period, tick) {
    this.period = period;
    this.tick = tick;
    this.due = performance.now(); // Infinity stops it
    const channel = new MessageChannel();
    channel.port1.onmessage = () => this.#wait();
    this.post = () => channel.port2.postMessage(0);
    this.post();
  }

  #wait() {
    const now = performance.now(), period = this.period(), early = this.due - now;
    if (early > EARLY + 1) {
      setTimeout(this.post, Math.min(early - EARLY, 1000));
      return;
    }
    if (early <= 0) {
      if (early < -period) this.due = now;
      this.tick(now - this.due);
      this.due += period;
    }
    this.post();
  }
}
