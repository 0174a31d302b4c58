// The recorder on the page's own server: tells it every change of the session, and the person what it answers.

import { $, input, text } from "./dom.js";
import { join } from "./join.js";
import { fromBase64 } from "./runs.js";
import { newId } from "./session.js";
import { Sync, changesOf } from "./sync.js";

/** @typedef {Record<string, any>} Settings what `Sync.settings` gives */
/** @typedef {Record<string, any>} RunRecord a kept run, as `toRecord` makes it */

export class Recording {
  /** @param {Settings} settings @param {{ session: () => import("./session.js").Session, records: () => RunRecord[],
   *  stored: (record: RunRecord) => Promise<void>, about: () => { trig: string, player: string } }} page */
  constructor(settings, page) {
    this.settings = settings;
    this.page = page;
    /** @type {Sync | null} */ this.sync = null;
    this.token = Sync.token();
    this.ready = settings.players ? this.#join() : this.#open();
  }

  /** In a group, a player has a name and has agreed to the license before anything is recorded. */
  async #join() {
    $("recorder").hidden = false;
    if (this.token) {
      text("recorder", "Not recording yet: join first.");
      this.settings.player = await join(new URL(".", location.href), this.token, this.settings.license);
      const name = input("player");
      name.value = this.settings.player;
      name.disabled = true;
      if (this.page.session().run.frames) this.page.session().command("restart"); // a run is recorded from its start
    }
    this.#open();
  }

  #open() {
    $("recorder").hidden = false;
    if (!this.token) {
      text("recorder", "Not recording: open the page with the link that you were given.");
      return;
    }
    this.sync = new Sync(this.token, (news) => this.#told(news));
    text("recorder", "Connecting to the recorder…");
  }

  #about() { return { clock_offset: performance.timeOrigin / 1000, ...this.page.about() }; }

  /** @param {any[]} change of the session */
  log([kind, ...more]) {
    if (!this.sync) return;
    if (kind === "begin") {
      const [{ id, created }] = more;
      this.sync.push(["begin", { id, created, ...this.#about() }]);
    } else this.sync.push([kind, ...more]);
  }

  /** A run was kept. @param {RunRecord} record */
  keep(record) {
    if (!this.sync) return;
    Object.assign(record, { stored: false, session: performance.timeOrigin });
    this.sync.push(...end(record));
  }

  /** @param {Record<string, any>} news of the recorder */
  async #told(news) {
    if (news.connected) text("recorder", `Recording into ${this.settings.file}`);
    if (news.problem) text("recorder", news.problem);
    if (news.finished) text("recorder", "The session is over: all runs are in the file. You may close this page.");
    if (news.rejected) text("recorder", `Not kept: ${news.rejected}`);
    if (news.line) text("recorder", `In the file: ${news.line.trim()}`);
    const record = this.page.records().find(({ id }) => id === news.kept);
    if (record) {
      record.stored = true;
      await this.page.stored(record);
    }
    if (news.lost) this.#resend();
  }

  /** The recorder was started anew: give it the run under way, and the kept runs that it has not put into the file. */
  #resend() {
    this.#open();
    const seconds = (/** @type {number[]} */ list) => list.map((ms) => ms / 1000);
    for (const record of this.page.records().filter(({ stored, session }) => stored === false && session === performance.timeOrigin)) {
      const { id, created, instants, lateness, events } = record, keys = fromBase64(record.keys);
      const about = { ...this.#about(), player: record.player };
      this.sync?.push(...changesOf({ id, created, keys, instants, lateness, events }, about), ...end(record));
    }
    const { run } = this.page.session();
    if (!run.begun || run.kept) return;
    run.id = newId(); // what the old recorder had of it may be in the file already
    const { id, created, keys } = run, events = run.events.map(([time, ...rest]) => [time / 1000, ...rest]);
    this.sync?.push(...changesOf({ id, created, keys, events, instants: seconds(run.instants), lateness: seconds(run.lateness) }, this.#about()));
    if (run.ended) this.sync?.push(["end"]);
  }
}

/** What ends a kept run for the recorder. @param {RunRecord} record */
function end({ observations_sha256, license, pace, players }) { return [["keep", { observations_sha256, license, pace, players }]]; }
