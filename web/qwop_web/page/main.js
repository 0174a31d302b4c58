// The page: one session, its picture, its commands, and the runs that were kept.

import constants from "./constants.js";
import { Autopilot, fetchBytes } from "./autopilot.js";
import { Clock } from "./clock.js";
import { $, button, canvas, input, link, select, text } from "./dom.js";
import { Engine } from "./engine.js";
import { drawGait, drawSpeed } from "./diagram.js";
import { posture, seriesOf, splits } from "./gait.js";
import ghosts from "./ghosts.js";
import { KeyQueue, listen, listenToButtons, pollGamepad } from "./keys.js";
import { Recording } from "./recording.js";
import { RunStore, fromBase64, fromFragment, toFragment, toRecord } from "./runs.js";
import { rgb } from "./scenery.js";
import { offerSending } from "./send.js";
import { Session } from "./session.js";
import { Shelf } from "./shelf.js";
import { Stage } from "./stage.js";
import { Sync } from "./sync.js";

const PERIOD = 1000 / 30;

class Page {
  /** @param {ArrayBuffer} bytes of engine.wasm @param {Engine} engine @param {RunStore | null} store
   *  @param {import("./recording.js").Settings | null} recorder */
  constructor(bytes, engine, store, recorder) {
    this.engine = engine;
    /** @type {string} */ this.trig = recorder?.trig ?? constants.trigVariants[0];
    this.stage = new Stage(canvas("stage"));
    this.queue = new KeyQueue();
    this.shelf = new Shelf(store, {
      watch: (record) => this.watch(fromBase64(record.keys), record.trig),
      race: ({ id }) => { select("ghost").value = `run ${id}`; this.chooseGhost(); },
    });
    this.session = new Session(engine, {
      keep: (run) => this.keep(run),
      changed: () => this.changed(),
      log: (change) => this.recording?.log(change),
      trig: this.trig,
      ...recorder?.options,
    });
    /** @type {Recording | null} */ this.recording = recorder && new Recording(recorder, {
      session: () => this.session,
      records: () => this.shelf.records,
      stored: async (record) => { this.shelf.list(); await this.shelf.save(record); },
      about: () => ({ trig: this.trig, player: this.name() }),
    });
    /** @type {{ keys: Uint8Array, game: import("./engine.js").Game, name: string } | null} */ this.ghost = null;
    /** A run that is shown, not played. @type {{ keys: Uint8Array, game: import("./engine.js").Game, frame: number } | null} */
    this.watched = null;
    this.autopilot = new Autopilot(bytes, this.trig);
    this.near = this.up = this.counted = 0; // postures of the run so far
    this.dirty = true;
    this.wire();
    this.clock = new Clock(() => PERIOD / (this.watched ? this.speed() : this.session.pace), (lateness) => this.tick(lateness));
    requestAnimationFrame(() => { this.draw(); performance.mark("first-frame"); });
  }

  // For whoever looks at the page from outside, as the tests do.
  get records() { return this.shelf.records; }
  get store() { return this.shelf.store; }
  get sync() { return this.recording?.sync ?? null; }

  /** Times real time. */
  speed() { return Number(select("pace").value); }

  wire() {
    listen(this.queue, (name) => this.command(name), () => this.session.command("blur"));
    listenToButtons(this.queue, /** @type {any} */ (document.querySelectorAll("#keys button")));
    for (const name of ["go", "keep", "restart", "discard", "back", "forward"])
      $(name).addEventListener("click", () => this.command(name));
    select("pace").addEventListener("change", () => { this.session.pace = this.speed(); $("pace").blur(); });
    $("policy").addEventListener("click", () => this.togglePolicy());
    $("ghost").addEventListener("change", () => { this.chooseGhost(); $("ghost").blur(); });
    $("copy").addEventListener("click", () => navigator.clipboard?.writeText(link("link").href));
    for (const id of ["player", "consent"]) {
      const input = /** @type {HTMLInputElement} */ ($(id)), kind = id === "player" ? "value" : "checked";
      try {
        const saved = localStorage.getItem(id);
        if (saved !== null) /** @type {any} */ (input)[kind] = id === "player" ? saved : saved === "true";
      } catch { /* storage is off: nothing is remembered */ }
      input.addEventListener("change", () => {
        try { localStorage.setItem(id, String(/** @type {any} */ (input)[kind])); } catch { /* as above */ }
      });
    }
    for (const [i, { name }] of ghosts.entries()) $("ghost").append(new Option(name, `record ${i}`));
    addEventListener("hashchange", () => this.watchLink());
    addEventListener("resize", () => { this.dirty = true; this.review(); });
  }

  /** @param {string} name */
  command(name) {
    if (this.watched) {
      this.stopWatching();
      if (name !== "go" && name !== "restart") return true;
      name = this.session.phase === "ready" ? "go" : "restart";
    }
    return this.session.command(name);
  }

  /** @param {number} lateness ms */
  tick(lateness) {
    pollGamepad(this.queue);
    const [events, now] = this.queue.sample();
    if (this.watched) {
      const { keys, game, frame } = this.watched;
      if (frame < keys.length) {
        game.step(keys[frame]);
        this.watched.frame++;
        this.count(game);
        this.dirty = true;
      }
      return;
    }
    const before = this.session.run.frames;
    this.session.tick(events, now, lateness);
    if (this.session.run.frames > before) {
      this.count(this.session.game);
      if (this.ghost && this.session.run.frames <= this.ghost.keys.length) this.ghost.game.step(this.ghost.keys[this.session.run.frames - 1]);
    }
    if (events.length || this.session.run.frames > before || this.session.phase === "countdown") this.dirty = true;
  }

  /** @param {import("./engine.js").Game} game */
  count(game) {
    const { kneeNear, upright } = posture(game);
    this.counted++;
    this.near += Number(kneeNear);
    this.up += Number(upright);
  }

  // -- the picture

  draw() {
    requestAnimationFrame(() => this.draw());
    if (!this.dirty && !this.stage.stale) return;
    this.dirty = false;
    const { session, watched } = this;
    const observation = watched ? watched.game.observation() : session.observation;
    const playing = watched ? watched.game : session.game;
    const time = watched ? watched.game.time : session.run.times[session.cursor];
    /** @type {import("./stage.js").Runner[]} */
    const runners = [{ observation, shirt: 0 }];
    if (this.ghost && !watched && session.phase !== "rewound")
      runners.push({ observation: this.ghost.game.observation(), shirt: 1, opacity: 0.5, label: this.ghost.name });
    this.stage.draw(runners, observation[0] > 450 && session.phase !== "rewound" ? playing.state() : null);
    const meters = observation[0] / constants.unitsPerMeter;
    text("meters", `${meters.toFixed(1)} m`);
    text("clock", `${time.toFixed(1)} s`);
    $("here").style.left = `${Math.min(Math.max(meters, 0), 100)}%`;
    const held = watched ? watched.keys[watched.frame - 1] ?? 0 : session.shownKeys;
    for (const [bit, key] of document.querySelectorAll("#keys button").entries()) key.classList.toggle("held", (held >> bit & 1) === 1);
    this.say();
    this.figures(watched ? watched.frame : session.cursor);
  }

  say() {
    const { session, watched } = this, { run } = session;
    let message = "";
    if (watched) message = watched.frame < watched.keys.length ? "" : "The end.\nSpace: run yourself";
    else if (session.phase === "ready") message = "Press Space, or tap Start";
    else if (session.phase === "countdown") message = String(Math.max(1, Math.ceil(session.countdown)));
    else if (session.phase === "paused") message = "Paused. Space goes on";
    else if (session.phase === "rewound") message = `Frame ${session.cursor} of ${run.frames}. Space takes over from here`;
    else if (session.phase === "kept") message = "Kept. Space starts the next run";
    else if (session.phase === "ended")
      message = `${run.success ? `100 m in ${run.time.toFixed(2)} s!` : `${run.distance.toFixed(1)} m`}\nSpace: keep it and run again`;
    text("message", message);
  }

  /** @param {number} frame */
  figures(frame) {
    const share = (/** @type {number} */ n) => this.counted ? `${(100 * n / this.counted).toFixed(0)} %` : "-";
    text("knee", share(this.near));
    text("upright", share(this.up));
    if (this.watched) return;
    const { run } = this.session;
    // A foot can land beyond 100 m while the torso is still short of it.
    const landed = run.success && frame === run.frames ? run.time : null;
    for (const { at, seconds } of splits(run.observations, run.times, frame)) {
      const shown = seconds ?? (at === 100 ? landed : null);
      text(`split${at}`, shown === null ? "-" : `${shown.toFixed(1)} s`);
    }
  }

  /** After a command, and when a run ends. */
  changed() {
    const { session } = this, { phase, run } = session;
    this.dirty = true;
    const can = (/** @type {string} */ command) => Boolean(/** @type {any} */ (Session.TABLE)[phase]?.[command]);
    const labels = { ready: "Start", countdown: "Pause", playing: "Pause", paused: "Go on", ended: "Keep, run again", kept: "Run again", rewound: "Take over" };
    text("go", labels[/** @type {"ready"} */ (phase)]);
    for (const name of ["keep", "restart", "discard", "back", "forward"])
      button(name).disabled = !can(name);
    text("policy", session.policy ? "Take the keys back" : "Let the policy play");
    if (phase === "countdown" || phase === "playing" || phase === "ready") $("review").hidden = true;
    if (phase === "countdown" && run.frames === 0) {
      this.counted = this.near = this.up = 0;
    }
    if (phase === "countdown" && session.policy) session.policy = this.player();
    if (phase === "countdown") this.placeGhost(run.frames);
    if (phase === "ended") this.review();
  }

  /** The gait of the run that has ended. */
  review() {
    const { run, phase } = this.session;
    if (phase !== "ended") return;
    $("review").hidden = false;
    const last = run.frames, [left, right] = constants.scenery.SHOES.map(rgb);
    const series = seriesOf(this.engine, run.keys, this.trig, rgb(constants.scenery.SHIRTS[0]));
    drawGait(canvas("gait"), series, last, { left, right, kneeNear: constants.kneeNear });
    drawSpeed(canvas("speed"), [series], last);
    link("link").href = toFragment(run.keys, this.trig);
  }

  // -- ghosts, links, the policy

  chooseGhost() {
    this.ghost?.game.close();
    this.ghost = null;
    const { value } = select("ghost"), [kind, which] = value.split(" ");
    const chosen = kind === "record" ? ghosts[Number(which)] : this.shelf.records.find(({ id }) => id === which);
    if (chosen) {
      const name = chosen.name ?? "your run";
      this.ghost = { keys: fromBase64(chosen.keys), game: this.engine.game(chosen.trig), name };
      this.placeGhost(this.session.run.frames);
    }
    this.dirty = true;
  }

  /** @param {number} frames */
  placeGhost(frames) {
    if (!this.ghost) return;
    this.ghost.game.reset();
    for (const keys of this.ghost.keys.subarray(0, frames)) this.ghost.game.step(keys);
  }

  watchLink() {
    const found = fromFragment(location.hash);
    if (found) this.watch(found.keys, found.trig);
  }

  /** @param {Uint8Array} keys @param {string} trig */
  watch(keys, trig) {
    this.session.command("blur");
    this.stopWatching();
    this.watched = { keys, game: this.engine.game(trig), frame: 0 };
    this.counted = this.near = this.up = 0;
    $("review").hidden = true;
    this.dirty = true;
    $("stage").scrollIntoView({ block: "nearest" });
  }

  stopWatching() {
    this.watched?.game.close();
    this.watched = null;
    this.counted = this.near = this.up = 0;
    if (location.hash) history.replaceState(null, "", location.pathname + location.search);
    this.dirty = true;
  }

  /** Who plays while the policy does. */
  player() { return this.autopilot.player(input("lookahead").checked, this.session.run.keys); }

  async togglePolicy() {
    const { session } = this;
    if (session.policy) {
      this.autopilot.stop();
      session.handOver(null, performance.now());
      return;
    }
    try {
      text("message", "Loading the policy…");
      await this.autopilot.load();
      session.handOver(this.player(), performance.now(), input("lookahead").checked ? "lookahead" : "policy");
      if (session.phase === "ready") this.command("go");
    } catch (error) {
      text("message", `The policy could not be loaded: ${/** @type {Error} */ (error).message}`);
    }
  }

  // -- runs that were kept

  /** @returns {string} */
  name() { return this.recording?.settings.player || input("player").value.trim(); }

  /** @param {import("./session.js").Run} run */
  async keep(run) {
    const record = await toRecord(run, { player: this.name(), consent: input("consent").checked, trig: this.trig });
    this.recording?.keep(record);
    await this.shelf.add(record);
  }
}

try {
  const [bytes, store, recorder] = await Promise.all([
    fetchBytes("engine.wasm"),
    RunStore.open().catch(() => null), // private windows may have no storage
    Sync.settings(),
  ]);
  const page = new Page(bytes, await Engine.load(bytes), store, recorder);
  await page.shelf.restore();
  offerSending(page.shelf);
  button("go").disabled = false;
  page.changed();
  page.watchLink();
  /** @type {any} */ (window).page = page; // for tests and for the curious
} catch (error) {
  text("message", `The game could not be loaded: ${/** @type {Error} */ (error).message}`);
}
