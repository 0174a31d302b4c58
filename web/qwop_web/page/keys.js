// Key events, and the one rule that turns them into the keys of each frame.
//
// A frame is sampled at one instant. A key counts as held in that frame when it is down at the instant, or was
// pressed at any time since the frame before: a tap shorter than a frame counts for exactly one frame.

/** @typedef {[time: number, key: number, pressed: boolean, source: string]} KeyEventRecord times in ms */

export const KEYS = Object.freeze({ q: 1, w: 2, o: 4, p: 8 });
const TICK = 0.002; // ms, the least time between a sample and the next event

export class KeyQueue {
  /** @param {() => number} now ms */
  constructor(now = () => performance.now()) {
    this.now = now;
    this.down = 0;
    this.earliest = 0;
    /** @type {KeyEventRecord[]} */
    this.events = [];
  }

  /** A key went down or up. Repeats are dropped. @param {number} key @param {boolean} pressed @param {string} source
   *  @param {number} stamp ms */
  put(key, pressed, source, stamp = this.now()) {
    if (pressed === ((this.down & key) !== 0)) return;
    const time = Math.max(stamp, this.earliest);
    this.earliest = time;
    this.down = pressed ? this.down | key : this.down & ~key;
    this.events.push([time, key, pressed, source]);
  }

  /** The page lost the keyboard: no key stays down. */
  releaseAll() {
    for (const key of Object.values(KEYS)) this.put(key, false, "focus");
  }

  /** All events since the last sample, in order, and the instant of this one. @returns {[KeyEventRecord[], number]} */
  sample() {
    const instant = Math.max(this.now(), this.earliest);
    this.earliest = instant + TICK;
    const { events } = this;
    this.events = [];
    return [events, instant];
  }
}

/** Keys down after the events, and keys held in the frame that they belong to.
 *  @param {number} down @param {KeyEventRecord[]} events @returns {[number, number]} */
export function applyEvents(down, events) {
  let pressed = 0;
  for (const [, key, isDown] of events) {
    if (isDown) {
      down |= key;
      pressed |= key;
    } else down &= ~key;
  }
  return [down, down | pressed];
}

/** Events that lead from the keys recorded as down to those that are. @param {number} recorded @param {number} actual
 *  @param {number} time @returns {KeyEventRecord[]} */
export function reconcile(recorded, actual, time) {
  const changed = recorded ^ actual;
  return Object.values(KEYS).filter((key) => changed & key)
    .map((key) => [time, key, (actual & key) !== 0, "resume"]);
}

/** Listen to the keyboard. @param {KeyQueue} queue @param {(command: string) => boolean} command whether it did anything
 *  @param {() => void} blurred */
export function listen(queue, command, blurred) {
  const commands = {
    " ": "go", Enter: "go", r: "restart", Backspace: "discard", ArrowLeft: "back", ArrowRight: "forward", Escape: "finish",
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || isTyping(event.target)) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (name in KEYS) {
      // Not by event.repeat: the queue knows which keys are down, and a first press that is marked as a repeat counts.
      queue.put(KEYS[/** @type {"q"} */ (name)], true, "page", event.timeStamp);
      event.preventDefault();
    } else if (name in commands && !(isButton(event.target) && (name === " " || name === "Enter"))) {
      if (event.repeat && name !== "ArrowLeft" && name !== "ArrowRight") return;
      if (command(commands[/** @type {" "} */ (name)])) event.preventDefault();
    }
  });
  addEventListener("keyup", (event) => {
    const name = event.key.toLowerCase();
    if (name in KEYS) queue.put(KEYS[/** @type {"q"} */ (name)], false, "page", event.timeStamp);
  });
  const lost = () => { queue.releaseAll(); blurred(); };
  addEventListener("blur", lost);
  document.addEventListener("visibilitychange", () => document.hidden && lost());
}

/** Keys on the screen, for fingers. @param {KeyQueue} queue @param {Iterable<HTMLElement>} buttons with data-key */
export function listenToButtons(queue, buttons) {
  for (const button of buttons) {
    const key = KEYS[/** @type {"q"} */ (button.dataset.key)];
    /** @type {Set<number>} */
    const fingers = new Set();
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      fingers.add(event.pointerId);
      queue.put(key, true, "page", event.timeStamp);
      event.preventDefault();
    });
    for (const type of ["pointerup", "pointercancel", "lostpointercapture"])
      button.addEventListener(type, (event) => {
        fingers.delete(/** @type {PointerEvent} */ (event).pointerId);
        if (!fingers.size) queue.put(key, false, "page", event.timeStamp);
      });
    button.addEventListener("contextmenu", (event) => event.preventDefault());
  }
}

const GAMEPAD = [[4, 1], [6, 1], [5, 8], [7, 8], [2, 2], [14, 2], [1, 4], [15, 4]];
// left shoulder and trigger: Q; right: P; west and left: W; east and right: O

/** Read the first gamepad, once a tick. @param {KeyQueue} queue */
export function pollGamepad(queue) {
  const pad = navigator.getGamepads?.().find((each) => each);
  if (!pad) return;
  let held = 0;
  for (const [button, key] of GAMEPAD) if (pad.buttons[button]?.pressed) held |= key;
  const before = pollGamepad.held;
  pollGamepad.held = held;
  for (const key of Object.values(KEYS))
    if ((held ^ before) & key) queue.put(key, (held & key) !== 0, "page");
}
pollGamepad.held = 0;

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

/** @param {EventTarget | null} target */
function isButton(target) {
  return target instanceof HTMLElement && /^(BUTTON|A|SUMMARY)$/.test(target.tagName);
}
