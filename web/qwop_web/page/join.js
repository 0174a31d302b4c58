// Joining a group: a player chooses a name and agrees to the license of the data, once for each invitation.

import { $, input, link, text } from "./dom.js";

/** @param {URL} recorder address of its page @param {string} path @param {string} token @param {any} body
 *  @param {RequestInit} [options] @returns {Promise<any>} */
export async function ask(recorder, path, token, body, options = {}) {
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(new URL(path, recorder), { method: "POST", headers, body: JSON.stringify(body), credentials: "omit", ...options });
  } catch {
    throw new Error("the recorder can't be reached");
  }
  const said = await answer.text();
  let content;
  try {
    content = JSON.parse(said);
  } catch {
    content = { problem: said.trim().slice(0, 200) };
  }
  if (!answer.ok) throw new Error(content.problem || `the recorder answers ${answer.status}`);
  return content;
}

/** Ask until the player has joined. @param {URL} recorder @param {string} token @param {string} license
 *  @returns {Promise<string>} the player's name */
export async function join(recorder, token, license) {
  for (let wait = 1; ; wait = Math.min(2 * wait, 20)) {
    try {
      const { player, joined } = await ask(recorder, "join", token, {});
      if (joined) return player;
      break;
    } catch (error) {
      text("recorder", `Not recording: ${/** @type {Error} */ (error).message}`);
      await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
    }
  }
  const form = /** @type {HTMLFormElement} */ ($("join"));
  $("license").textContent = license;
  link("license").href = `https://spdx.org/licenses/${encodeURIComponent(license)}.html`;
  input("join-name").value = input("player").value;
  input("join-consent").checked = false;
  form.hidden = false;
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      text("join-problem", "");
      try {
        const { player } = await ask(recorder, "join", token, { player: input("join-name").value.trim(), license });
        form.hidden = true;
        resolve(player);
      } catch (error) {
        text("join-problem", /** @type {Error} */ (error).message);
      }
    };
  });
}
