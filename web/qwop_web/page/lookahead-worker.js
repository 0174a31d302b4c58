// The planner in a thread of its own: it plays the run in advance, so that each plan is ready before its first frame.
//
// In: {engine, policy, trig, settings} once; {run, keys} - plan from here on, the first plan's frames by the most likely
// actions; {run, frame} - the run has got to that frame; {run: -1} - no more. Out: {run, keys} for each
// plan, in order.

import { Engine } from "./engine.js";
import { Planner } from "./planner.js";
import { Policy } from "./policy.js";

const AHEAD = 3; // plans in advance

/** @type {Planner} */ let planner;
/** @type {import("./engine.js").Game} */ let game;
let run = -1, planned = 0, shown = 0, working = false;

/** @param {{ engine: ArrayBuffer, policy: ArrayBuffer, trig: string, settings: object }} message */
async function begin({ engine: bytes, policy, trig, settings }) {
  const engine = await Engine.load(bytes);
  planner = new Planner(engine, new Policy(policy), trig, settings);
  game = engine.game(trig);
  postMessage({ ready: true });
}

/** @param {ArrayLike<number>} keys */
function play(keys) {
  for (const mask of Array.from(keys)) game.step(mask);
  planned += keys.length;
}

/** @param {{ run: number, keys: Uint8Array }} message */
function follow(message) {
  run = message.run;
  game.reset();
  planned = 0;
  play(message.keys);
  shown = planned;
  if (!planned) return; // there is time before the start to plan the first frames as well
  const player = planner.policy.player(), lead = new Uint8Array(planner.frames);
  for (const frame of lead.keys()) {
    lead[frame] = player(game);
    play(lead.subarray(frame, frame + 1));
  }
  postMessage({ run, keys: lead });
}

/** One plan at a time; messages are read in between. */
function work() {
  if (working || !planner || run < 0) return;
  working = planned - shown < AHEAD * planner.frames && !game.over;
  if (!working) return;
  const keys = planner.plan(game);
  postMessage({ run, keys });
  play(keys);
  setTimeout(() => { working = false; work(); });
}

addEventListener("message", async ({ data }) => {
  if (data.engine) await begin(data);
  else if (data.keys) follow(data);
  else if (data.run === run) shown = data.frame;
  else if (data.run < 0) run = -1;
  work();
});
