// The bridge between qwop-gym's page and Python: it plays batches of frames and returns every number of the game.
//
// It replaces qwop-gym's ws.js: extensions.js passes the page's functions to a class named WS, and calls connect()
// when the game has loaded and played its first frame. There is no socket here: Python calls `bridge` through the
// driver.

"use strict";

class WS {
  // extensions.js uses these names
  static H_OBS = 4;
  static OBS_END = 2;
  static OBS_SUC = 4;

  static KEYS = [["Q", 81], ["W", 87], ["O", 79], ["P", 80]].map(([name, code]) => ({
    name,
    down: new KeyboardEvent("keydown", { keyCode: code }),
    up: new KeyboardEvent("keyup", { keyCode: code }),
  }));
  static GLOBALS = 8; // clock, score, five flags, contacts
  static FIELDS = 6;

  constructor(reset, step, draw, keydown, keyup) {
    Object.assign(this, { reset, step, draw, keydown, keyup });
    this.ready = false;
    this.episode = 0; // number of the episode since the page was loaded; 0: none
    this.frame = 0; // frames of the episode so far
    window.bridge = this;
    // Otherwise the game would handle what somebody types here, in the middle of a frame, and its own reset key.
    for (const type of ["keydown", "keyup", "keypress", "mousedown", "mouseup", "touchstart", "touchend"])
      window.addEventListener(type, (event) => event.isTrusted && this.typed(event), true);
  }

  connect() {
    // The game is in its second update now, which is part of the canonical start. Wait for its end.
    setTimeout(() => { this.ready = true; }, 0);
  }

  typed(event) {
    event.stopImmediatePropagation();
    this.person && this.person.typed(event);
  }

  // Starts the page's first episode: the game's own reset, with the clock set to `time` (s). Without that the clock
  // would start at the time that the reset took. Returns the state.
  begin(time) {
    if (!this.ready || this.episode) throw new Error("the page has to be loaded anew for a first episode");
    this.parts = [...OBS_PARTS, "hurdleBase", "hurdleTop"];
    return this.restart(time);
  }

  // Starts another episode in the same page: the track stays as the last run left it. Returns the state.
  again(time) {
    if (!this.episode) throw new Error("lost: the page has played no episode");
    return this.restart(time);
  }

  restart(time) {
    for (const key of WS.KEYS) this.keyup(key.up);
    this.reset();
    CORE.game.scoreTime = time;
    this.episode++;
    this.frame = 0;
    this.draw();
    return pack(this.state());
  }

  // Plays one frame for each key mask, from frame `frame` on. With `stopAtEnd` it stops after the frame in which the
  // run ends. Returns the state after every `every`-th frame and after the last one.
  play(frame, masks, every, stopAtEnd, draw) {
    if (!this.episode || frame !== this.frame)
      throw new Error(`lost: the page is at frame ${this.episode ? this.frame : "none"}, not at ${frame}`);
    const rows = [];
    for (let i = 0; i < masks.length && !(stopAtEnd && CORE.game.gameEnded); i++) {
      this.advance(masks[i]);
      if ((i + 1) % every === 0 || i === masks.length - 1 || (stopAtEnd && CORE.game.gameEnded))
        rows.push(this.state());
    }
    if (draw) this.draw();
    return [this.frame, pack(...rows)];
  }

  advance(mask) {
    WS.KEYS.forEach((key, bit) => (mask >> bit) & 1 ? this.keydown(key.down) : this.keyup(key.up));
    this.step();
    this.frame++;
  }

  // Every number of the game: 14 parts by x, y, angle, vx, vy, angular velocity; then the globals.
  state() {
    const game = CORE.game, row = new Float64Array(this.parts.length * WS.FIELDS + WS.GLOBALS);
    let at = 0;
    for (const part of this.parts) {
      const body = game[part]._components.get("physicsBody", false);
      const position = body.getPosition(), velocity = body.getLinearVelocity();
      row[at++] = position.x;
      row[at++] = position.y;
      row[at++] = body.getAngle();
      row[at++] = velocity.x;
      row[at++] = velocity.y;
      row[at++] = body.body.m_angularVelocity;
    }
    row[at++] = game.scoreTime;
    row[at++] = game.score;
    for (const flag of ["fallen", "jumped", "jumpLanded", "gameEnded", "pause"]) row[at++] = game[flag] ? 1 : 0;
    for (let contact = game.m_world.m_contactList; contact != null; contact = contact.getNext())
      if (contact.isTouching()) row[at]++;
    return row;
  }

  // The current picture as a data URL. JPEG, because a PNG would take several times as long.
  picture() {
    this.draw();
    return document.getElementById("window1").toDataURL("image/jpeg", 0.95);
  }
}

// Packs Float64Arrays of one length as base 64, one after the other, little-endian.
function pack(...rows) {
  const bytes = new Uint8Array(rows.length ? rows.length * rows[0].byteLength : 0);
  rows.forEach((row, i) => bytes.set(new Uint8Array(row.buffer), i * row.byteLength));
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768)
    text += String.fromCharCode.apply(null, bytes.subarray(i, i + 32768));
  return btoa(text);
}
