// Kept runs to a group's recorder that is not the page's own server: each is verified there before it counts as sent.

import { $, button, input, text } from "./dom.js";
import { ask, join } from "./join.js";

/** @param {string} invitation @returns {{ recorder: URL, token: string } | null} null: it is no invitation */
export function fromInvitation(invitation) {
  let recorder;
  try {
    recorder = new URL(invitation);
  } catch {
    return null;
  }
  const match = /^#token=([\w-]{16,128})$/.exec(recorder.hash);
  if (!match || !/^https?:$/.test(recorder.protocol)) return null;
  recorder.hash = recorder.search = "";
  return { recorder, token: match[1] };
}

/** Let the person send the runs of a shelf. @param {import("./shelf.js").Shelf} shelf */
export function offerSending(shelf) {
  $("send").addEventListener("submit", async (event) => {
    event.preventDefault();
    button("send-go").disabled = true;
    try {
      text("send-state", await sendAll(shelf));
    } catch (error) {
      text("send-state", /** @type {Error} */ (error).message);
    }
    button("send-go").disabled = false;
  });
}

/** @param {import("./shelf.js").Shelf} shelf @returns {Promise<string>} what came of it */
async function sendAll(shelf) {
  const found = fromInvitation(input("invitation").value.trim());
  if (!found) return "This is no invitation: paste the whole link that you were given.";
  const { recorder, token } = found;
  text("send-state", "Connecting…");
  const settings = await ask(recorder, "session.json", token, undefined, { method: "GET" });
  if (!settings.players) return "This recorder takes no runs from other pages.";
  await join(recorder, token, settings.license);
  const waiting = shelf.records.filter(({ sent, stored }) => sent !== recorder.host && !stored);
  let taken = 0, refused = "";
  for (const record of waiting) {
    text("send-state", `Sending run ${taken + 1} of ${waiting.length}…`);
    try {
      await ask(recorder, "runs", token, record);
      record.sent = recorder.host;
      await shelf.save(record);
      taken++;
    } catch (error) {
      refused = /** @type {Error} */ (error).message;
    }
  }
  return `${taken} of ${waiting.length} runs are in the group's file, verified.${refused ? ` Not taken: ${refused}` : ""}`;
}
