// A recording session as a state machine: no drawing, no clock of its own.
//
//   countdown -> playing -> ended -> (kept or discarded) -> countdown ...
//   playing <-> paused, and from playing, paused or ended: rewound -> countdown -> playing, on the same run

import { applyEvents, reconcile } from "./keys.js";

/** @typedef {"person" | "policy" | "lookahead"} Player lookahead: the policy, looking ahead */

const FRAMES_PER_SECOND = 30;
const AGAIN_SECONDS = 1; // the longest countdown when a session is under way

/** 32 hexadecimal digits; crypto.randomUUID is not there on plain http from another machine. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** One attempt: one exact run from the start, whatever was rewound meanwhile. */
export class Run {
  /** @param {import("./engine.js").Game} game at the start */
  constructor(game) {
    this.observations = [game.observation()];
    this.times = [game.time];
    /** @type {number[]} */ this.keys = [];
    /** @type {number[]} ms */ this.instants = [];
    /** @type {number[]} ms */ this.lateness = [];
    /** @type {import("./keys.js").KeyEventRecord[]} */ this.events = [];
    /** @type {number[]} events up to and with each frame */ this.eventCounts = [];
    /** @type {[time: number, from: number, to: number][]} */ this.rewinds = [];
    /** @type {number[]} */ this.discardedKeys = [];
    /** @type {number[]} 1 real time, less is slow motion */ this.paces = [];
    /** @type {Player[]} who chose the keys of each frame */ this.players = [];
    this.ended = false;
    this.success = false;
    this.begun = false; // its first frame was played
    this.kept = false;
    this.created = new Date().toISOString();
    this.id = newId();
  }

  get frames() { return this.keys.length; }
  /** s */ get time() { return this.times[this.times.length - 1]; }
  /** m */ get distance() { return this.observations[this.observations.length - 1][0] / 10; }

  /** Discard the frames from `frame` on, but remember what their keys were. @param {number} frame @param {number} now */
  cut(frame, now) {
    this.rewinds.push([now, this.frames, frame]);
    this.discardedKeys.push(...this.keys.slice(frame));
    this.events.length = frame ? this.eventCounts[frame - 1] : 0;
    for (const list of [this.keys, this.instants, this.lateness, this.eventCounts, this.paces, this.players])
      list.length = frame;
    this.observations.length = this.times.length = frame + 1;
    this.ended = this.success = false;
  }
}

export class Session {
  /** @param {import("./engine.js").Engine} engine
   *  @param {{ keep: (run: Run) => void, changed: () => void, log?: (change: any[]) => void, trig?: string,
   *  countdown?: number, rewind?: number }} options log: takes every change of a run, see sync.js */
  constructor(engine, options) {
    this.game = engine.game(options.trig);
    this.options = { countdown: 3, rewind: 2, log: () => {}, ...options };
    this.phase = "ready";
    this.cursor = 0; // the frame on show
    this.down = 0; // keys that the person holds
    this.recordedDown = 0;
    /** @type {import("./keys.js").KeyEventRecord[]} */ this.resumed = [];
    this.ticksLeft = 0;
    this.pace = 1;
    /** @type {((game: import("./engine.js").Game) => number) | null} */ this.policy = null;
    /** @type {Player} */ this.policyName = "policy";
    this.run = this.#fresh();
  }

  // What each command does in each phase; what is not here does nothing. docs/guides/recording.md has the same table.
  static TABLE = {
    ready: { go: "start" },
    countdown: { go: "pause", restart: "again", back: "stepBack", finish: "pause", blur: "pause" },
    playing: { go: "pause", restart: "again", back: "stepBack", finish: "pause", blur: "pause" },
    paused: { go: "resume", restart: "again", back: "stepBack" },
    ended: { go: "keepAndNext", restart: "again", discard: "again", back: "stepBack", keep: "keep" },
    kept: { go: "again", restart: "again", back: "" },
    rewound: { go: "takeOver", restart: "again", back: "stepBack", forward: "stepForward" },
  };

  /** @param {string} command @returns {boolean} whether it meant anything here */
  command(command) {
    const action = /** @type {any} */ (Session.TABLE)[this.phase]?.[command];
    if (!action) return false;
    /** @type {any} */ (this)[action]();
    this.options.changed();
    return true;
  }

  /** One thirtieth of a second. @param {import("./keys.js").KeyEventRecord[]} events since the last tick
   *  @param {number} now ms, not earlier than any of them @param {number} lateness ms */
  tick(events, now, lateness) {
    [this.down] = applyEvents(this.down, events);
    if (this.phase === "playing") this.#frame(events, now, lateness);
    else if (this.phase === "countdown" && --this.ticksLeft <= 0) {
      // Keys that are held at this moment count; what was typed while nothing moved does not.
      this.resumed = reconcile(this.recordedDown, this.down, now);
      this.phase = "playing";
      this.options.changed();
    }
  }

  get observation() { return this.run.observations[this.cursor]; }
  /** Keys to light up. */
  get shownKeys() {
    if (this.phase === "rewound") return this.cursor ? this.run.keys[this.cursor - 1] : 0;
    return this.phase === "playing" && this.run.frames ? this.run.keys[this.run.frames - 1] : this.down;
  }
  /** s */ get countdown() { return this.phase === "countdown" ? this.ticksLeft / FRAMES_PER_SECOND : 0; }

  /** @param {import("./keys.js").KeyEventRecord[]} events @param {number} now @param {number} lateness */
  #frame(events, now, lateness) {
    const { run, game } = this;
    let keys, player = /** @type {Player} */ ("person");
    if (this.policy) {
      keys = this.policy(game);
      player = this.policyName;
    } else {
      events = [...this.resumed, ...events];
      this.resumed = [];
      [this.recordedDown, keys] = applyEvents(this.recordedDown, events);
      run.events.push(...events);
    }
    const { log } = this.options;
    if (!run.begun) log(["begin", run]);
    run.begun = true;
    game.step(keys);
    for (const [time, key, pressed, source] of player === "person" ? events : []) log(["event", time / 1000, key, pressed, source]);
    log(["frame", keys, now / 1000, lateness / 1000]);
    run.keys.push(keys);
    run.instants.push(now);
    run.lateness.push(lateness);
    run.eventCounts.push(run.events.length);
    run.paces.push(this.pace);
    run.players.push(player);
    run.observations.push(game.observation());
    run.times.push(game.time);
    this.cursor = run.frames;
    if (game.over) {
      run.ended = true;
      run.success = game.success;
      this.phase = "ended";
      log(["end"]);
      this.options.changed();
    }
  }

  /** Let the policy play, or give the keys back to the person. @param {Session["policy"]} policy @param {number} now
   *  @param {Player} name of the policy */
  handOver(policy, now, name = "policy") {
    if (this.policy && !policy && this.phase === "playing")
      this.resumed = reconcile(this.recordedDown, this.down, now);
    this.policy = policy;
    this.policyName = name;
    this.options.changed();
  }

  start() { this.#countDown(this.options.countdown); }
  pause() { this.phase = "paused"; }
  resume() { this.#countDown(AGAIN_SECONDS); }

  again() {
    if (this.run.begun && !this.run.kept) this.options.log(["drop"]);
    this.run = this.#fresh();
    this.#countDown(AGAIN_SECONDS);
  }

  keep() {
    this.run.kept = true;
    this.options.keep(this.run);
    this.phase = "kept";
  }

  keepAndNext() {
    this.keep();
    this.again();
  }

  stepBack() { this.#show(this.cursor - this.options.rewind * FRAMES_PER_SECOND); }
  stepForward() { this.#show(this.cursor + this.options.rewind * FRAMES_PER_SECOND); }

  takeOver() {
    const { run, game } = this;
    if (this.cursor < run.frames) {
      const now = performance.now();
      run.cut(this.cursor, now);
      this.options.log(["rewind", this.cursor, now / 1000]);
      game.reset();
      for (const keys of run.keys) game.step(keys);
      this.recordedDown = applyEvents(0, run.events)[0];
    }
    this.#countDown(AGAIN_SECONDS);
  }

  /** @param {number} frame */
  #show(frame) {
    if (!this.run.frames) return;
    this.cursor = Math.min(Math.max(Math.round(frame), 0), this.run.frames);
    this.phase = "rewound";
  }

  /** @param {number} seconds */
  #countDown(seconds) {
    this.phase = "countdown";
    this.ticksLeft = Math.round(Math.min(seconds, this.options.countdown) * FRAMES_PER_SECOND);
  }

  #fresh() {
    this.game.reset();
    this.cursor = this.recordedDown = 0;
    this.resumed = [];
    return new Run(this.game);
  }
}
