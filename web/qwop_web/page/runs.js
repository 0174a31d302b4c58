// A run as a file (.qwop.json), as the fragment of a link, and in the browser's storage.

import constants from "./constants.js";

export const FORMAT = "qwop-run", VERSION = 1;

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}

/** @param {string} text */
export function fromBase64(text) { return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)); }

/** The rows of a start, little-endian uint32 in base 64. @param {string | null} [text] none: the canonical start
 *  @returns {import("./engine.js").Start} */
export function toStart(text) {
  if (!text) return null;
  const view = new DataView(fromBase64(text).buffer);
  return Uint32Array.from({ length: view.byteLength / 4 }, (_, i) => view.getUint32(4 * i, true));
}

/** A run as plain data; times are seconds on one clock that starts with the page.
 *  @param {import("./session.js").Run} run @param {{ player: string, consent: boolean, trig: string }} about
 *  @returns {Promise<Record<string, any>>} */
export async function toRecord(run, about) {
  const rows = new Float32Array(60 * run.observations.length);
  for (const [i, row] of run.observations.entries()) rows.set(row, 60 * i);
  const seconds = (/** @type {number} */ ms) => ms / 1000;
  return {
    format: FORMAT,
    version: VERSION,
    id: run.id,
    created: run.created,
    player: about.player,
    license: about.consent ? "CC0-1.0" : null,
    trig: about.trig,
    keys: toBase64(Uint8Array.from(run.keys)),
    events: run.events.map(([time, key, pressed, source]) => [seconds(time), key, pressed, source]),
    instants: run.instants.map(seconds),
    lateness: run.lateness.map(seconds),
    clock_offset: performance.timeOrigin / 1000,
    rewinds: run.rewinds.map(([time, from, to]) => [seconds(time), from, to]),
    discarded_keys: toBase64(Uint8Array.from(run.discardedKeys)),
    pace: changes(run.paces),
    players: changes(run.players),
    ended: run.ended,
    success: run.success,
    distance: run.distance,
    time: run.time,
    observations_sha256: await sha256(new Uint8Array(rows.buffer)),
  };
}

/** [[frame, value], ...] where the value changes. @template T @param {T[]} values @returns {[number, T][]} */
function changes(values) {
  /** @type {[number, T][]} */
  const found = [];
  values.forEach((value, i) => { if (!i || value !== values[i - 1]) found.push([i, value]); });
  return found;
}

/** Hexadecimal digest, or null where the page is not allowed to compute one (plain http from another machine).
 *  @param {Uint8Array} bytes */
async function sha256(bytes) {
  if (!crypto.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", /** @type {any} */ (bytes)));
  return Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join("");
}

/** A link's fragment that replays the run: its keys, run-length coded. @param {ArrayLike<number>} keys @param {string} trig */
export function toFragment(keys, trig) {
  const bytes = [];
  for (let i = 0; i < keys.length;) {
    let count = 1;
    while (i + count < keys.length && keys[i + count] === keys[i] && count < 271) count++;
    // Four bits of keys and four of the count; 15 says that another byte follows.
    if (count < 16) bytes.push(keys[i] << 4 | (count - 1));
    else bytes.push(keys[i] << 4 | 15, count - 16);
    i += count;
  }
  const text = toBase64(Uint8Array.from(bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  return `#run=1.${constants.trigVariants.indexOf(trig)}.${text}`;
}

/** @param {string} fragment @returns {{ keys: Uint8Array, trig: string } | null} null: it holds no run */
export function fromFragment(fragment) {
  const match = /^#run=1\.(\d)\.([\w-]{1,40000})$/.exec(fragment);
  if (!match || !(Number(match[1]) < constants.trigVariants.length)) return null;
  let bytes;
  try {
    bytes = fromBase64(match[2].replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return null;
  }
  /** @type {number[]} */
  const keys = [];
  for (let i = 0; i < bytes.length; i++) {
    const mask = bytes[i] >> 4, short = bytes[i] & 15;
    const count = short < 15 ? short + 1 : 16 + (bytes[++i] ?? 0);
    for (let n = 0; n < count; n++) keys.push(mask);
    if (keys.length > 100_000) return null;
  }
  return { keys: Uint8Array.from(keys), trig: constants.trigVariants[Number(match[1])] };
}

/** Runs that were kept, in IndexedDB: they stay until they are downloaded and deleted. */
export class RunStore {
  /** @returns {Promise<RunStore>} */
  static open() {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open("qwop-stride", 1);
      request.onupgradeneeded = () => request.result.createObjectStore("runs", { keyPath: "id" });
      request.onsuccess = () => resolve(new RunStore(request.result));
      request.onerror = () => reject(request.error);
    });
  }

  /** @param {IDBDatabase} database */
  constructor(database) { this.database = database; }

  /** @param {Record<string, any>} record */
  add(record) { return this.#do("readwrite", (runs) => runs.put(record)); }
  /** @param {string} id */
  remove(id) { return this.#do("readwrite", (runs) => runs.delete(id)); }
  /** Oldest first. @returns {Promise<Record<string, any>[]>} */
  async all() {
    const records = await this.#do("readonly", (runs) => runs.getAll());
    return records.sort((/** @type {any} */ a, /** @type {any} */ b) => a.created < b.created ? -1 : 1);
  }

  /** @param {IDBTransactionMode} mode @param {(runs: IDBObjectStore) => IDBRequest} action @returns {Promise<any>} */
  #do(mode, action) {
    return new Promise((resolve, reject) => {
      const transaction = this.database.transaction("runs", mode, { durability: "strict" });
      const request = action(transaction.objectStore("runs"));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
    });
  }
}

/** Offer plain data for download. @param {string} name @param {unknown} content */
export function download(name, content) {
  save(name, new Blob([JSON.stringify(content)], { type: "application/json" }));
}

/** Offer a file for download. @param {string} name @param {Blob} content */
export function save(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
