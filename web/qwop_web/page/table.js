// The table of a group's best runs, on a page of its own: for the players, or for a screen in the room.

import { $, text } from "./dom.js";
import { Sync } from "./sync.js";

const SECONDS = 2; // between two looks

/** @typedef {{ player: string, time: number | null, distance: number | null, runs: number }} Row time in s, distance in m */

/** @param {{ rows: Row[], playing: number }} table */
function show({ rows, playing }) {
  text("state", `${playing} ${playing === 1 ? "player is" : "players are"} here now.`);
  const body = /** @type {HTMLTableElement} */ (document.querySelector("table")).tBodies[0];
  body.replaceChildren(...rows.map(({ player, time, distance, runs }) => {
    const row = document.createElement("tr");
    const cells = [player || "-", time === null ? "-" : `${time.toFixed(2)} s`, distance === null ? "-" : `${distance.toFixed(1)} m`, runs];
    for (const value of cells) row.insertCell().textContent = String(value);
    return row;
  }));
}

/** @param {string} token */
async function look(token) {
  try {
    const answer = await fetch("table.json", { headers: { Authorization: `Bearer ${token}` } });
    if (answer.status === 403) {
      text("state", "This link is not valid.");
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    show(await answer.json());
  } catch {
    text("state", "The recorder can't be reached. The table is as it was.");
  }
  setTimeout(() => look(token), 1000 * SECONDS);
}

const token = Sync.token();
if (token) look(token);
else text("state", "Open this page with the link that qwop-record printed.");
$("best-runs").dataset.ready = "true";
