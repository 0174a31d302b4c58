// The page: one session, its picture, its commands, and the runs that were kept.

import constants from "./constants.js";
import { Autopilot, fetchBytes } from "./autopilot.js";
import { Clock } from "./clock.js";
import { $, button, canvas, input, select, text } from "./dom.js";
import { Engine } from "./engine.js";
import { Figures } from "./figures.js";
import ghosts from "./ghosts.js";
import { KeyQueue, listen, listenToButtons, pollGamepad } from "./keys.js";
import { Playback } from "./playback.js";
import { Recording } from "./recording.js";
import { Review } from "./review.js";
import { RunStore, fromBase64, fromFragment, toRecord, toStart } from "./runs.js";
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
    /** @type {Playback | null} */ this.ghost = null;
    /** A run that is shown, not played. @type {Playback | null} */ this.watched = null;
    /** @type {{ name: string, trig: string, keys: string, start?: string | null }[]} keys and start in base 64 */
    this.others = [];
    this.autopilot = new Autopilot(bytes, this.trig);
    this.figures = { played: new Figures(), watched: new Figures() };
    this.review = new Review(engine);
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
    input("player").addEventListener("keydown", ({ key }) => { if (key === "Enter" || key === "Escape") $("player").blur(); });
    this.offer(ghosts);
    addEventListener("hashchange", () => this.watchLink());
    addEventListener("resize", () => { this.dirty = true; });
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
    const { watched, session } = this;
    if (watched) {
      if (watched.done) return;
      watched.step();
      this.figures.watched.count(watched.game);
      this.ghost?.place(watched.frame);
      if (watched.done) this.review.show(watched.keys, watched.trig, watched.start);
      this.dirty = true;
      return;
    }
    const before = session.run.frames;
    session.tick(events, now, lateness);
    if (session.run.frames > before) {
      this.figures.played.count(session.game);
      this.ghost?.place(session.run.frames);
    }
    if (events.length || session.run.frames > before || session.phase === "countdown") this.dirty = true;
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
    if (this.ghost && (watched || session.phase !== "rewound"))
      runners.push({ observation: this.ghost.game.observation(), shirt: 1, opacity: 0.5, label: this.ghost.name });
    this.stage.draw(runners, observation[0] > 450 && session.phase !== "rewound" ? playing.state() : null);
    const meters = observation[0] / constants.unitsPerMeter;
    text("meters", `${(Math.round(10 * meters) / 10 || 0).toFixed(1)} m`); // never -0.0
    text("clock", `${time.toFixed(1)} s`);
    $("here").style.left = `${Math.min(Math.max(meters, 0), 100)}%`;
    const held = watched ? watched.held : session.shownKeys;
    for (const [bit, key] of document.querySelectorAll("#keys button").entries()) key.classList.toggle("held", (held >> bit & 1) === 1);
    this.say();
    if (watched) this.figures.watched.showGait(watched.frame);
    else {
      this.figures.played.showGait(session.cursor);
      this.figures.played.showSplits(session.run, session.cursor);
    }
  }

  say() {
    const { session, watched } = this, { run } = session;
    let message = "";
    if (watched) message = watched.done ? "The end.\nSpace: run yourself" : "";
    else if (session.phase === "ready") message = "Press Space, or tap Start";
    else if (session.phase === "countdown") message = String(Math.max(1, Math.ceil(session.countdown)));
    else if (session.phase === "paused") message = "Paused. Space goes on";
    else if (session.phase === "rewound") message = `Frame ${session.cursor} of ${run.frames}. Space takes over from here`;
    else if (session.phase === "kept") message = "Kept. Space starts the next run";
    else if (session.phase === "ended")
      message = `${run.success ? `100 m in ${run.time.toFixed(2)} s!` : `${run.distance.toFixed(1)} m`}\nSpace: keep it and run again`;
    text("message", message);
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
    if (phase === "countdown") {
      this.figures.played.cut(run.frames);
      this.ghost?.place(run.frames);
      if (session.policy) session.policy = this.player();
    }
    if (phase === "ended") this.review.show(run.keys, this.trig);
    else if (phase !== "kept" && phase !== "rewound") this.review.hide();
  }

  // -- ghosts, links, the policy

  /** More runs to race against. @param {Page["others"]} runs */
  offer(runs) {
    for (const run of runs) $("ghost").append(new Option(run.name, `other ${this.others.push(run) - 1}`));
  }

  chooseGhost() {
    this.ghost?.close();
    this.ghost = null;
    const [kind, which] = select("ghost").value.split(" ");
    const chosen = kind === "other" ? this.others[Number(which)] : this.shelf.records.find(({ id }) => id === which);
    if (chosen) {
      const name = chosen.name ?? "your run";
      this.ghost = new Playback(this.engine, fromBase64(chosen.keys), chosen.trig, name, toStart(chosen.start));
      this.ghost.place(this.watched?.frame ?? this.session.run.frames);
    }
    this.dirty = true;
  }

  watchLink() {
    const found = fromFragment(location.hash);
    if (found) this.watch(found.keys, found.trig);
  }

  /** The runs of a file that this machine's server shows: `qwop-replay --web`. */
  async watchServed() {
    if (!new URLSearchParams(location.search).has("runs")) return;
    const runs = JSON.parse(new TextDecoder().decode(await fetchBytes("runs.json")));
    this.offer(runs);
    if (runs.length > 1) {
      select("ghost").value = `other ${ghosts.length + 1}`;
      this.chooseGhost();
    }
    this.watch(fromBase64(runs[0].keys), runs[0].trig, toStart(runs[0].start));
  }

  /** @param {Uint8Array} keys @param {string} trig @param {import("./engine.js").Start} [start] */
  watch(keys, trig, start = null) {
    this.session.command("blur");
    this.stopWatching();
    this.watched = new Playback(this.engine, keys, trig, "", start);
    this.figures.watched.cut(0);
    this.ghost?.place(0);
    this.review.hide();
    this.dirty = true;
    $("stage").scrollIntoView({ block: "nearest" });
  }

  stopWatching() {
    if (!this.watched) return;
    this.watched.close();
    this.watched = null;
    this.review.hide();
    this.ghost?.place(this.session.run.frames);
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
  await page.watchServed();
  page.watchLink();
  /** @type {any} */ (window).page = page; // for tests and for the curious
} catch (error) {
  text("message", `The game could not be loaded: ${/** @type {Error} */ (error).message}`);
}
