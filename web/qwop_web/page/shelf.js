// The runs that were kept: their list on the page, in the browser's storage and as downloads.

import { $, input, newButton, select, text } from "./dom.js";
import { download } from "./runs.js";

/** @typedef {Record<string, any>} RunRecord a kept run, as `toRecord` makes it */

export class Shelf {
  /** @param {import("./runs.js").RunStore | null} store null: the browser stores nothing
   *  @param {{ watch: (record: RunRecord) => void, race: (record: RunRecord) => void }} actions */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    /** @type {RunRecord[]} oldest first */ this.records = [];
    $("download").addEventListener("click", () => this.downloadAll());
  }

  async restore() {
    this.records = await this.store?.all() ?? [];
    this.list();
  }

  /** @param {RunRecord} record */
  async add(record) {
    this.records.push(record);
    this.list();
    await this.save(record);
  }

  /** Store a record, new or changed. @param {RunRecord} record */
  async save(record) {
    try {
      await this.store?.add(record);
    } catch (error) {
      text("message", `The browser did not store the run (${/** @type {Error} */ (error).message}): download it now`);
    }
  }

  list() {
    const { records } = this, table = /** @type {HTMLTableElement} */ (document.querySelector("#runs table"));
    table.hidden = !records.length;
    $("export").hidden = !records.length;
    $("empty").hidden = records.length > 0;
    table.tBodies[0].replaceChildren(...[...records].reverse().map((record) => this.#row(record)));
    const ghost = select("ghost"), { value } = ghost;
    for (const option of [...ghost.querySelectorAll("[value^=run]")]) option.remove();
    for (const record of records)
      ghost.append(new Option(`your ${record.success ? `${record.time.toFixed(2)} s` : `${record.distance.toFixed(1)} m`}`, `run ${record.id}`));
    ghost.value = value;
    text("best", this.best());
  }

  /** The personal best: the fastest finish, or the longest run. Only runs in one go, at full speed and by the person count. */
  best() {
    const own = this.records.filter(({ players, pace, rewinds }) => !rewinds.length
      && players.every((/** @type {any[]} */ [, player]) => player === "person") && pace.every((/** @type {any[]} */ [, speed]) => speed === 1));
    const finished = own.filter(({ success }) => success);
    if (finished.length) return `${Math.min(...finished.map(({ time }) => time)).toFixed(2)} s`;
    return own.length ? `${Math.max(...own.map(({ distance }) => distance)).toFixed(1)} m` : "-";
  }

  /** @param {RunRecord} record */
  #row(record) {
    const row = document.createElement("tr"), buttons = document.createElement("td");
    const when = new Date(record.created).toLocaleString() + (record.stored ? " ✓" : "");
    for (const value of [when, record.distance.toFixed(1), record.time.toFixed(2)]) row.insertCell().textContent = value;
    const run = `the run of ${when}, ${record.distance.toFixed(1)} m`;
    const file = `${record.created.slice(0, 19).replaceAll(":", "")}.qwop.json`;
    buttons.append(
      newButton("Watch", run, () => this.actions.watch(record)),
      newButton("Race", run, () => this.actions.race(record)),
      newButton("Download", run, () => download(file, this.#signed(record))),
      newButton("Delete", run, () => this.remove(record)),
    );
    row.append(buttons);
    return row;
  }

  /** The record with the name and the license that hold now. @param {RunRecord} record */
  #signed(record) {
    return { ...record, player: record.player || input("player").value.trim(), license: input("consent").checked ? "CC0-1.0" : record.license };
  }

  downloadAll() {
    download("runs.qwop.json", { format: "qwop-runs", version: 1, runs: this.records.map((record) => this.#signed(record)) });
  }

  /** @param {RunRecord} record */
  async remove(record) {
    if (!confirm("Delete this run for ever?")) return;
    await this.store?.remove(record.id);
    this.records = this.records.filter(({ id }) => id !== record.id);
    this.list();
  }
}
