// The page: one session, its picture, its commands, and the runs that were kept.

import constants from "./constants.js";
import { Engine } from "./engine.js";
import { drawDiagram, posture, postures, splits } from "./gait.js";
import ghosts from "./ghosts.js";
import { KeyQueue, listen, listenToButtons, pollGamepad } from "./keys.js";
import { Policy } from "./policy.js";
import { RunStore, download, fromBase64, fromFragment, toFragment, toRecord } from "./runs.js";
import { Session } from "./session.js";
import { Stage } from "./stage.js";
import { Sync, changesOf } from "./sync.js";

const PERIOD = 1000 / 30;

/** @template {HTMLElement} T @param {string} id @returns {T} */
const $ = (id) => /** @type {T} */ (document.getElementById(id));
const text = (/** @type {string} */ id, /** @type {string} */ value) => {
  const element = $(id);
  if (element.textContent !== value) element.textContent = value;
};

class Page {
  /** @param {Engine} engine @param {RunStore | null} store @param {Record<string, any> | null} recorder its settings */
  constructor(engine, store, recorder) {
    this.engine = engine;
    this.store = store;
    this.trig = recorder?.trig ?? constants.trigVariants[0];
    this.stage = new Stage($("stage"));
    this.queue = new KeyQueue();
    this.session = new Session(engine, { keep: (run) => this.keep(run), changed: () => this.changed(), log: (change) => this.log(change), trig: this.trig, ...recorder?.options });
    this.recorder = recorder;
    /** @type {Sync | null} */ this.sync = null;
    /** @type {Record<string, any>[]} */ this.records = [];
    /** @type {{ keys: Uint8Array, game: import("./engine.js").Game, name: string } | null} */ this.ghost = null;
    /** A run that is shown, not played. @type {{ keys: Uint8Array, game: import("./engine.js").Game, frame: number } | null} */
    this.watched = null;
    this.due = performance.now();
    this.drawnFrame = -1;
    this.near = this.up = this.counted = 0; // postures of the run so far
    this.dirty = true;
    const channel = new MessageChannel();
    channel.port1.onmessage = () => this.wait();
    this.post = () => channel.port2.postMessage(0);
    this.wire();
    if (recorder) this.openRecorder();
    this.post();
    requestAnimationFrame(() => this.draw());
  }

  wire() {
    listen(this.queue, (name) => this.command(name), () => this.session.command("blur"));
    listenToButtons(this.queue, /** @type {any} */ (document.querySelectorAll("#keys button")));
    for (const name of ["go", "keep", "restart", "discard", "back", "forward"])
      $(name).addEventListener("click", () => this.command(name));
    $("pace").addEventListener("change", () => { this.session.pace = Number($("pace").value); $("pace").blur(); });
    $("policy").addEventListener("click", () => this.togglePolicy());
    $("ghost").addEventListener("change", () => { this.chooseGhost(); $("ghost").blur(); });
    $("download").addEventListener("click", () => this.downloadAll());
    $("copy").addEventListener("click", () => navigator.clipboard?.writeText($("link").href));
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

  // -- time: at most one frame a callback, on a fixed grid; a late frame moves the grid, it never catches up

  wait() {
    const now = performance.now(), period = PERIOD / (this.watched ? Number($("pace").value) : this.session.pace);
    const early = this.due - now;
    if (early > 6) setTimeout(this.post, early - 5);
    else if (early > 0) this.post();
    else {
      if (early < -period) this.due = now;
      this.tick(now - this.due);
      this.due += period;
      this.post();
    }
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
    const runners = [{ observation, shirt: 0 }];
    if (this.ghost && !watched && session.phase !== "rewound")
      runners.push({ observation: this.ghost.game.observation(), shirt: 1, opacity: 0.5, label: this.ghost.name });
    this.stage.draw(runners, observation[0] > 450 && session.phase !== "rewound" ? playing.state() : null);
    const meters = observation[0] / constants.unitsPerMeter;
    text("meters", `${meters.toFixed(1)} m`);
    text("clock", `${time.toFixed(1)} s`);
    $("here").style.left = `${Math.min(Math.max(meters, 0), 100)}%`;
    const held = watched ? watched.keys[watched.frame - 1] ?? 0 : session.shownKeys;
    document.querySelectorAll("#keys button").forEach((button, bit) => button.classList.toggle("held", (held >> bit & 1) === 1));
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
    for (const { at, seconds } of splits(run.observations, run.times, frame))
      text(`split${at}`, seconds === null ? "-" : `${seconds.toFixed(1)} s`);
  }

  /** After a command, and when a run ends. */
  changed() {
    const { session } = this, { phase, run } = session;
    this.dirty = true;
    const can = (/** @type {string} */ command) => Boolean(/** @type {any} */ (Session.TABLE)[phase]?.[command]);
    const labels = { ready: "Start", countdown: "Pause", playing: "Pause", paused: "Go on", ended: "Keep, run again", kept: "Run again", rewound: "Take over" };
    text("go", labels[/** @type {"ready"} */ (phase)]);
    for (const name of ["keep", "restart", "discard", "back", "forward"])
      /** @type {HTMLButtonElement} */ ($(name)).disabled = !can(name);
    text("policy", session.policy ? "Take the keys back" : "Let the policy play");
    if (phase === "countdown" || phase === "playing" || phase === "ready") $("review").hidden = true;
    if (phase === "countdown" && run.frames === 0) {
      this.counted = this.near = this.up = 0;
      if (session.policy) session.policy = this.player();
    }
    if (phase === "countdown") this.placeGhost(run.frames);
    if (phase === "ended") this.review();
  }

  /** The gait of the run that has ended. */
  review() {
    const { run, phase } = this.session;
    if (phase !== "ended") return;
    $("review").hidden = false;
    drawDiagram($("diagram"), postures(this.engine, run.keys, this.trig), run.keys);
    $("link").href = toFragment(run.keys, this.trig);
  }

  // -- ghosts, links, the policy

  chooseGhost() {
    this.ghost?.game.close();
    this.ghost = null;
    const { value } = $("ghost"), [kind, which] = value.split(" ");
    const chosen = kind === "record" ? ghosts[Number(which)] : this.records.find(({ id }) => id === which);
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

  player() { return /** @type {Policy} */ (this.network).player(); }

  async togglePolicy() {
    if (this.session.policy) return this.session.handOver(null, performance.now());
    try {
      if (!this.network) {
        text("message", "Loading the policy…");
        const answer = await fetch("policy.safetensors");
        if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
        this.network = new Policy(await answer.arrayBuffer());
      }
      this.session.handOver(this.player(), performance.now());
      if (this.session.phase === "ready") this.command("go");
    } catch (error) {
      text("message", `The policy could not be loaded: ${/** @type {Error} */ (error).message}`);
    }
  }

  // -- the recorder on the page's own server

  openRecorder() {
    $("recorder").hidden = false;
    this.token ??= Sync.token();
    if (!this.token) return text("recorder", "Not recording: open the page with the link that qwop-record printed.");
    this.sync = new Sync(this.token, (news) => this.told(news));
    text("recorder", "Connecting to the recorder…");
  }

  about() {
    return { clock_offset: performance.timeOrigin / 1000, trig: this.trig, player: this.name() };
  }

  name() { return this.recorder?.player || /** @type {HTMLInputElement} */ ($("player")).value.trim(); }

  /** @param {any[]} change of the session */
  log([kind, ...more]) {
    if (!this.sync) return;
    if (kind === "begin") {
      const [{ id, created }] = more;
      this.sync.push(["begin", { id, created, ...this.about() }]);
    } else this.sync.push([kind, ...more]);
  }

  /** @param {Record<string, any>} news of the recorder */
  async told(news) {
    if (news.connected) text("recorder", `Recording into ${this.recorder?.file}`);
    if (news.problem) text("recorder", news.problem);
    if (news.finished) text("recorder", "The session is over: all runs are in the file. You may close this page.");
    if (news.rejected) text("recorder", `Not kept: ${news.rejected}`);
    if (news.line) text("recorder", `In the file: ${news.line.trim()}`);
    const record = this.records.find(({ id }) => id === news.kept);
    if (record) {
      record.stored = true;
      await this.store?.add(record);
      this.list();
    }
    if (news.lost) this.resend();
  }

  /** The recorder was started anew: give it the run under way, and the kept runs that it has not put into the file. */
  resend() {
    this.openRecorder();
    const seconds = (/** @type {number[]} */ list) => list.map((ms) => ms / 1000);
    for (const record of this.records.filter(({ stored, session }) => stored === false && session === performance.timeOrigin))
      this.sync?.push(...changesOf({ ...record, keys: fromBase64(record.keys) }, { ...this.about(), player: record.player }), ...end(record));
    const { run } = this.session;
    if (!run.begun || run.kept) return;
    run.id = crypto.randomUUID().replaceAll("-", ""); // what the old recorder had of it may be in the file already
    const { id, created, keys } = run, events = run.events.map(([time, ...rest]) => [time / 1000, ...rest]);
    this.sync?.push(...changesOf({ id, created, keys, events, instants: seconds(run.instants), lateness: seconds(run.lateness) }, this.about()));
    if (run.ended) this.sync?.push(["end"]);
  }

  // -- runs that were kept

  /** @param {import("./session.js").Run} run */
  async keep(run) {
    const record = await toRecord(run, { player: this.name(), consent: $("consent").checked, trig: this.trig });
    if (this.sync) {
      Object.assign(record, { stored: false, session: performance.timeOrigin });
      this.sync.push(...end(record));
    }
    this.records.push(record);
    this.list();
    try {
      await this.store?.add(record);
    } catch (error) {
      text("message", `The browser did not store the run (${/** @type {Error} */ (error).message}): download it now`);
    }
  }

  async restore() {
    this.records = await this.store?.all() ?? [];
    this.list();
  }

  list() {
    const { records } = this, body = /** @type {HTMLElement} */ (document.querySelector("#runs tbody"));
    /** @type {HTMLElement} */ (document.querySelector("#runs table")).hidden = !records.length;
    $("export").hidden = !records.length;
    $("empty").hidden = records.length > 0;
    body.replaceChildren(...[...records].reverse().map((record) => {
      const row = document.createElement("tr"), buttons = document.createElement("td");
      for (const value of [new Date(record.created).toLocaleString() + (record.stored ? " ✓" : ""), record.distance.toFixed(1), record.time.toFixed(2)]) row.insertCell().textContent = value;
      const button = (/** @type {string} */ label, /** @type {() => void} */ action) => {
        const made = document.createElement("button");
        made.type = "button";
        made.textContent = label;
        made.addEventListener("click", action);
        buttons.append(made);
      };
      button("Watch", () => this.watch(fromBase64(record.keys), record.trig));
      button("Race", () => { $("ghost").value = `run ${record.id}`; this.chooseGhost(); });
      button("Download", () => download(`${record.created.slice(0, 19).replaceAll(":", "")}.qwop.json`, this.signed(record)));
      button("Delete", () => this.remove(record));
      row.append(buttons);
      return row;
    }));
    const { value } = $("ghost");
    for (const option of [...$("ghost").querySelectorAll("[value^=run]")]) option.remove();
    for (const record of records)
      $("ghost").append(new Option(`your ${record.success ? `${record.time.toFixed(2)} s` : `${record.distance.toFixed(1)} m`}`, `run ${record.id}`));
    $("ghost").value = value;
    const finished = records.filter(({ success }) => success), fastest = Math.min(...finished.map(({ time }) => time));
    const farthest = Math.max(...records.map(({ distance }) => distance));
    text("best", finished.length ? `${fastest.toFixed(2)} s` : records.length ? `${farthest.toFixed(1)} m` : "-");
  }

  /** The record with the name and the license that hold now. @param {Record<string, any>} record */
  signed(record) {
    return { ...record, player: record.player || $("player").value.trim(), license: $("consent").checked ? "CC0-1.0" : record.license };
  }

  downloadAll() {
    download("runs.qwop.json", { format: "qwop-runs", version: 1, runs: this.records.map((record) => this.signed(record)) });
  }

  /** @param {Record<string, any>} record */
  async remove(record) {
    if (!confirm("Delete this run for ever?")) return;
    await this.store?.remove(record.id);
    this.records = this.records.filter(({ id }) => id !== record.id);
    this.list();
  }
}

/** What ends a kept run for the recorder. @param {Record<string, any>} record */
function end({ observations_sha256, license, pace, players }) { return [["keep", { observations_sha256, license, pace, players }]]; }

try {
  const answer = await fetch("engine.wasm");
  if (!answer.ok) throw new Error(`engine.wasm: ${answer.status} ${answer.statusText}`);
  const engine = await Engine.load(await answer.arrayBuffer());
  const store = await RunStore.open().catch(() => null); // private windows may have no storage
  const page = new Page(engine, store, await Sync.settings());
  await page.restore();
  /** @type {HTMLButtonElement} */ ($("go")).disabled = false;
  page.changed();
  page.watchLink();
  /** @type {any} */ (window).page = page; // for tests and for the curious
} catch (error) {
  text("message", `The game could not be loaded: ${/** @type {Error} */ (error).message}`);
}
