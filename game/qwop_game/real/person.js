// A person plays in the page, 30 frames a second. Each frame has the keys that were held or tapped since the previous
// one, its instant and all numbers of the game. Python fetches the frames in batches with take().
//
// The page plays from start() until the run is over, a command key is pressed, or the window loses the focus. Then it
// waits for Python. Times are those of the page's clock, ms.

"use strict";

class Person {
  static PERIOD = 1000 / 30;
  static TIMER_LATE = 6;
  static TICK = 0.002; // least time between a frame's instant and the next event's
  static KEYS = { KeyQ: 1, KeyW: 2, KeyO: 4, KeyP: 8 };
  static COMMANDS = {
    Space: "GO", Enter: "GO", KeyR: "RESTART", Backspace: "DISCARD", ArrowLeft: "BACK", ArrowRight: "FORWARD",
    Escape: "FINISH",
  };
  static HALTS = new Set(["GO", "RESTART", "BACK", "FINISH"]);

  constructor(bridge) {
    this.bridge = bridge;
    this.playing = false;
    this.down = 0; // keys held now
    this.tapped = 0; // keys pressed since the last frame, or the last take() while nothing is played
    this.earliest = 0; // no time stamp is earlier than this
    this.events = []; // [time, key, pressed, "page" or "focus"], not fetched yet
    this.commands = [];
    this.frames = []; // states, each followed by: keys, instant, lateness, events so far, when it was drawn
    this.focused = document.hasFocus();
    this.channel = new MessageChannel();
    this.channel.port1.onmessage = (message) => this.tick(message.data);
    this.round = 0; // counts the calls of start(); timers of an earlier one do nothing
    window.addEventListener("blur", () => this.focus(false));
    window.addEventListener("focus", () => this.focus(true));
    this.overlay();
    bridge.person = this;
  }

  // -- keys ------------------------------------------------------------------------------------------------

  typed(event) {
    if (!event.type.startsWith("key") || event.ctrlKey || event.metaKey || event.altKey) {
      if (event.type !== "keyup") return; // a shortcut of the browser; but a release always counts
    }
    const pressed = event.type === "keydown", key = this.key(event);
    if (key && event.type !== "keypress") {
      event.preventDefault();
      // Ignore auto-repeat, except for a key that was pressed while the page loaded.
      if (pressed !== Boolean(this.down & key)) this.put(event.timeStamp, key, pressed, "page");
    } else if (event.code in Person.COMMANDS) {
      event.preventDefault();
      if (pressed && !event.repeat) {
        const command = Person.COMMANDS[event.code];
        this.commands.push(command);
        if (Person.HALTS.has(command)) this.playing = false;
      }
    }
  }

  // Keys are recognized by their letter, as in the game, not by their position; also with shift or caps lock.
  key(event) {
    const letter = (event.key || "").toUpperCase();
    return letter.length === 1 && "QWOP".includes(letter) ? Person.KEYS["Key" + letter] : 0;
  }

  put(time, key, pressed, source) {
    this.earliest = Math.max(time, this.earliest);
    this.down = pressed ? this.down | key : this.down & ~key;
    if (pressed) this.tapped |= key;
    this.events.push([this.earliest, key, pressed, source]);
  }

  focus(focused) {
    if (focused === this.focused) return;
    this.focused = focused;
    if (focused) return;
    this.playing = false;
    for (const key of Object.values(Person.KEYS))
      if (this.down & key) this.put(performance.now(), key, false, "focus");
  }

  // -- frames ----------------------------------------------------------------------------------------------

  // Plays on from now. No frame's instant is before `earliest`.
  start(earliest) {
    if (!this.focused || this.playing) return;
    this.earliest = Math.max(this.earliest, earliest + Person.TICK);
    this.due = performance.now();
    this.playing = true;
    this.round++;
    this.wait();
  }

  // The browser's timers may be some ms late, so this one is set early. The rest of the time is spent on messages to
  // the page itself, between which it still handles keys.
  wait() {
    const left = this.due - performance.now(), round = this.round;
    if (left > Person.TIMER_LATE) setTimeout(() => this.tick(round), left - Person.TIMER_LATE);
    else this.channel.port2.postMessage(round);
  }

  tick(round) {
    if (!this.playing || round !== this.round) return;
    const now = performance.now();
    if (now < this.due) return this.wait();
    // A frame that is late by a whole period delays the later ones: the game slows down and never skips.
    const overdue = this.due;
    if (now - this.due > Person.PERIOD) this.due = now;
    const instant = Math.max(now, this.earliest), keys = this.down | this.tapped;
    this.tapped = 0;
    this.earliest = instant + Person.TICK;
    this.bridge.advance(keys);
    const state = this.bridge.state();
    this.bridge.draw();
    const row = new Float64Array(state.length + 5);
    row.set(state);
    row.set([keys, instant, now - overdue, this.events.length, performance.now()], state.length);
    this.frames.push(row);
    const meters = Math.fround(state[0]) / 10;
    if (CORE.game.gameEnded || meters < -10 || meters > 105) this.playing = false;
    this.due += Person.PERIOD;
    if (this.playing) this.wait();
  }

  // Returns what has happened since the last take(). Events that belong to no frame yet stay here, unless `idle`: then
  // Python plays nothing, and wants to know which keys are held.
  take(idle) {
    const last = this.frames[this.frames.length - 1], complete = last ? last[last.length - 2] : 0;
    const events = this.events.splice(0, idle ? this.events.length : complete);
    if (idle) this.tapped = 0;
    const batch = {
      frames: pack(...this.frames), events, commands: this.commands, playing: this.playing,
      focused: this.focused,
    };
    this.frames = [];
    this.commands = [];
    return batch;
  }

  // -- texts on the page -----------------------------------------------------------------------------------

  overlay() {
    const style = document.createElement("style");
    style.textContent = `
      .plate { position: absolute; z-index: 10; left: 0; right: 0; text-align: center; pointer-events: none }
      .plate span { background: rgba(20, 24, 34, .8); color: #f4f1e8; border-radius: 12px; padding: 3px 11px }
      #title { top: 300px; font-size: 44px; font-weight: bold } #line { top: 362px; font-size: 17px }
      .below { width: 640px; text-align: center; font-size: 15px; margin-top: 6px; white-space: pre-line }
      #state { font-weight: bold }`;
    document.head.append(style);
    this.texts = {};
    for (const name of ["title", "line", "state", "help"]) {
      const text = this.texts[name] = document.createElement("div");
      const onPicture = name === "title" || name === "line";
      text.id = name;
      text.className = onPicture ? "plate" : "below";
      (onPicture ? document.getElementById("gameContent") : document.body).append(text);
    }
  }

  show(texts) {
    for (const [name, text] of Object.entries(texts)) {
      const span = document.createElement("span");
      span.textContent = text;
      this.texts[name].replaceChildren(...(text ? [span] : []));
    }
  }
}

new Person(window.bridge);
