// Runs on their way to a recorder on the page's own server: every change, in order, until the server has stored it.
//
// Each change has a number. The server answers with the number up to which all are in its journal; after a broken
// connection it says where it stands, and the rest is sent again. What is not stored yet stays here. One message is
// under way at a time: what happens meanwhile goes together with the next one.

import { newId } from "./session.js";

/** @typedef {any[]} Change ["begin", {...}], ["event", time, key, pressed, source], ["frame", keys, instant, lateness],
 *  ["rewind", frame, time], ["end"], ["keep", {...}] or ["drop"]; times in s */

/** A whole run as changes, for a recorder that has not seen it. @param {{ id: string, created: string, keys: ArrayLike<number>,
 *  instants: number[], lateness: number[], events: any[][] }} run times in s @param {Record<string, any>} about */
export function changesOf(run, about) {
  /** @type {Change[]} */
  const changes = [["begin", { id: run.id, created: run.created, ...about }]];
  let event = 0;
  for (let i = 0; i < run.keys.length; i++) {
    while (event < run.events.length && run.events[event][0] <= run.instants[i]) changes.push(["event", ...run.events[event++]]);
    changes.push(["frame", run.keys[i], run.instants[i], run.lateness[i]]);
  }
  return changes;
}

const RETRY_SECONDS = [0.2, 0.5, 1, 2, 5];
const ANSWER_SECONDS = 5; // no answer for so long: the network is gone, even if nobody says so
const REFUSED = 4003, REPLACED = 4000; // close codes after which trying again is no use

export class Sync {
  /** The session that the page's server offers, or null where it only serves files. */
  static async settings() {
    try {
      const answer = await fetch("session.json");
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  /** The secret of the link that opened the page; it leaves the address bar at once. */
  static token() {
    const match = /^#token=([\w-]{16,128})$/.exec(location.hash);
    if (match) {
      history.replaceState(null, "", location.pathname + location.search);
      try { sessionStorage.setItem("token", match[1]); } catch { /* a reload will ask for the link again */ }
      return match[1];
    }
    try { return sessionStorage.getItem("token"); } catch { return null; }
  }

  /** @param {string} token @param {(news: Record<string, any>) => void} told news: "line", "kept", "problem", "finished" */
  constructor(token, told) {
    this.token = token;
    this.told = told;
    this.session = newId();
    /** @type {Change[]} */ this.waiting = []; // the first has the number `stored`
    this.stored = 0; // changes in the server's journal
    this.sent = 0;
    this.failures = 0;
    /** @type {WebSocket | null} */ this.socket = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */ this.patience = undefined;
    this.state = "connecting";
    this.connect();
  }

  connect() {
    const socket = new WebSocket(new URL("record", location.href).href.replace(/^http/, "ws"));
    this.socket = socket;
    this.#expectAnswer();
    socket.onopen = () => socket.send(JSON.stringify({ token: this.token, session: this.session }));
    socket.onmessage = ({ data }) => { if (this.socket === socket) this.#answer(JSON.parse(data)); };
    socket.onclose = ({ code, reason }) => {
      if (this.socket !== socket || this.state === "refused") return;
      if (code === REFUSED || code === REPLACED) {
        this.state = "refused";
        clearTimeout(this.patience);
        this.told({ problem: `Not recording: ${reason || "the recorder refused the connection"}` });
      } else this.#lost(reason);
    };
  }

  /** @param {string} [reason] */
  #lost(reason) {
    clearTimeout(this.patience);
    const socket = this.socket;
    this.socket = null; // what it still says does not count
    socket?.close();
    if (this.state === "connected" || reason)
      this.told({ problem: `The connection to the recorder is lost${reason ? ` (${reason})` : ""}. You can play on: nothing is lost, the rest follows.` });
    this.state = "connecting";
    setTimeout(() => this.connect(), 1000 * RETRY_SECONDS[Math.min(this.failures++, RETRY_SECONDS.length - 1)]);
  }

  #expectAnswer() {
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.#lost(), 1000 * ANSWER_SECONDS);
  }

  /** @param {Change[]} changes */
  push(...changes) {
    this.waiting.push(...changes);
    this.flush();
  }

  flush() {
    if (this.state !== "connected" || this.sent > this.stored || !this.waiting.length) return;
    const changes = this.waiting.slice(0, 200);
    this.socket?.send(JSON.stringify({ first: this.sent, changes }));
    this.sent += changes.length;
    this.#expectAnswer();
  }

  /** Whether all changes are stored. */
  get settled() { return this.waiting.length === 0; }

  /** @param {Record<string, any>} answer */
  #answer(answer) {
    if (typeof answer.stored === "number") {
      clearTimeout(this.patience);
      if (this.state === "connecting") {
        if (answer.stored < this.stored) { // another server: it knows nothing of this session
          this.state = "refused";
          this.socket?.close();
          this.told({ lost: true });
          return;
        }
        this.state = "connected";
        this.failures = 0;
        this.sent = answer.stored;
        this.told({ connected: true });
      }
      this.waiting.splice(0, answer.stored - this.stored);
      this.stored = answer.stored;
      this.flush();
    }
    if (answer.line || answer.kept || answer.rejected || answer.problem || answer.finished) this.told(answer);
  }
}
