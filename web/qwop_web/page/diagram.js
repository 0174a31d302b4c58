// The gait diagram and the speed curve of runs, frame by frame. The replay page of `qwop-replay --html` holds a copy of this
// file, so it imports nothing.

/** @typedef {{ keys: ArrayLike<number>, contacts: ArrayLike<number>, knees: ArrayLike<number>, pitch: ArrayLike<number>,
 *    speed: ArrayLike<number>, color: string, begins?: number }} Series of one run of T frames: key masks [T]; contacts [T + 1], bits: 1 left
 *    foot down, 2 right foot down, 4 knee near, 8 upright; knees [T + 1][left, right], m; pitch [T + 1], degrees, forward
 *    positive; speed [T + 1], m/s; color of the runner's shirt; begins: frame of the time axis at which the run starts, 0 if none
 *  @typedef {{ left: string, right: string, kneeNear: number }} Signs colors of the two sides; when a knee is near, m
 *  @typedef {{ c: CanvasRenderingContext2D, width: number, height: number, last: number, soft: string, line: string,
 *    accent: string, begins: number }} Frame */

export const GAIT_HEIGHT = 346, SPEED_HEIGHT = 130; // CSS px
const LEFT = 84, RIGHT = 12; // margins
const FONT = "system-ui, 'DejaVu Sans', sans-serif";

/** px of a frame in a diagram. @param {number} width px @param {number} last frame @param {number} frame */
export function xOfFrame(width, last, frame) { return LEFT + frame / Math.max(last, 1) * (width - LEFT - RIGHT); }

/** The frame at a place in a diagram. @param {number} width px @param {number} last frame @param {number} x px */
export function frameAtX(width, last, x) {
  return Math.min(Math.max(Math.round((x - LEFT) / (width - LEFT - RIGHT) * last), 0), last);
}

/** Keys, feet, knees and torso of one run. @param {HTMLCanvasElement} canvas @param {Series} run @param {number} last frame of
 *  the time axis @param {Signs} signs */
export function drawGait(canvas, run, last, { left, right, kneeNear }) {
  const frame = prepared(canvas, GAIT_HEIGHT, last, run.begins), { soft, accent } = frame, count = run.contacts.length;
  for (const [bit, name] of [..."QWOP"].entries()) band(frame, name, 8 + 14 * bit, 10, run.keys.length, (f) => run.keys[f] >> bit & 1, soft);
  const bands = /** @type {[string, string][]} */ ([["left foot", left], ["right foot", right], ["knee near", accent], ["upright", "#2e9d5b"]]);
  for (const [bit, [name, color]] of bands.entries()) band(frame, name, 74 + 18 * bit, 14, count, (f) => run.contacts[f] >> bit & 1, color);
  const knee = (/** @type {number} */ meters) => 226 - 72 * Math.min(Math.max(meters, 0), 1.2) / 1.2;
  rule(frame, knee(1.2), "knees 1.2 m");
  rule(frame, knee(0), "");
  rule(frame, knee(kneeNear), `${kneeNear} m`, true);
  curve(frame, run.knees, 2, 0, left, knee);
  curve(frame, run.knees, 2, 1, right, knee);
  const pitch = (/** @type {number} */ degrees) => 284 - 40 * Math.min(Math.max(degrees, -90), 90) / 90;
  rule(frame, pitch(90), "torso +90°");
  rule(frame, pitch(0), "0°");
  rule(frame, pitch(-90), "-90°");
  curve(frame, run.pitch, 1, 0, run.color, pitch);
  timeAxis(frame);
}

/** The speed of some runs. @param {HTMLCanvasElement} canvas @param {Series[]} runs @param {number} last frame of the time axis */
export function drawSpeed(canvas, runs, last) {
  const frame = prepared(canvas, SPEED_HEIGHT, last);
  const top = Math.max(1, ...runs.map(({ speed }) => Array.from(speed).reduce((a, b) => Math.max(a, b), 0)));
  const y = (/** @type {number} */ v) => 106 - 94 * Math.max(v, 0) / top;
  for (let v = 0; v <= top; v++) rule(frame, y(v), `${v} m/s`);
  for (const { speed, color, begins = 0 } of runs) curve({ ...frame, begins }, speed, 1, 0, color, y);
  timeAxis(frame);
}

/** Draw where a run is, over a picture of the diagram. @param {HTMLCanvasElement} canvas @param {CanvasImageSource} picture
 *  @param {number} last frame @param {number} frame */
export function drawCursor(canvas, picture, last, frame) {
  const c = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")), ratio = devicePixelRatio || 1;
  c.setTransform(1, 0, 0, 1, 0, 0);
  c.clearRect(0, 0, canvas.width, canvas.height);
  c.drawImage(picture, 0, 0);
  c.fillStyle = getComputedStyle(canvas).color;
  c.fillRect(Math.round(xOfFrame(canvas.width / ratio, last, frame) * ratio), 0, Math.max(1, Math.round(ratio)), canvas.height - 16 * ratio);
}

/** As many pixels as the screen has for a diagram, cleared. @param {HTMLCanvasElement} canvas @param {number} height CSS px
 *  @param {number} last @param {number} [begins] @returns {Frame} */
function prepared(canvas, height, last, begins = 0) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth || 600, style = getComputedStyle(canvas);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const c = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  const [soft, line, accent] = ["--soft", "--line", "--accent"].map((name) => style.getPropertyValue(name));
  return { c, width, height, last, soft, line, accent, begins };
}

/** @param {Frame} frame @param {string} words @param {number} y */
function label({ c, soft }, words, y) {
  c.fillStyle = soft;
  c.font = `12px ${FONT}`;
  c.textAlign = "right";
  c.fillText(words, LEFT - 8, y);
}

/** @param {Frame} frame @param {string} words @param {number} y @param {number} height @param {number} count
 *  @param {(f: number) => number} on @param {string} color */
function band(frame, words, y, height, count, on, color) {
  const x = (/** @type {number} */ f) => xOfFrame(frame.width, frame.last, f + frame.begins);
  label(frame, words, y + height - 2);
  frame.c.fillStyle = color;
  for (let f = Math.max(0, -frame.begins); f < count; f++) {
    if (!on(f)) continue;
    const first = f;
    while (f + 1 < count && on(f + 1)) f++;
    frame.c.fillRect(x(first), y, Math.max(x(f + 1) - x(first), 0.7), height);
  }
}

/** @param {Frame} frame @param {ArrayLike<number>} values @param {number} stride @param {number} offset @param {string} color
 *  @param {(value: number) => number} yOf */
function curve({ c, width, last, begins }, values, stride, offset, color, yOf) {
  c.strokeStyle = color;
  c.lineWidth = 1.2;
  c.beginPath();
  for (let f = Math.max(0, -begins); f * stride + offset < values.length; f++)
    c.lineTo(xOfFrame(width, last, f + begins), yOf(values[f * stride + offset]));
  c.stroke();
}

/** @param {Frame} frame @param {number} y @param {string} words @param {boolean} [dashed] */
function rule(frame, y, words, dashed = false) {
  const { c, width, accent, line } = frame;
  c.strokeStyle = dashed ? accent : line;
  c.lineWidth = 1;
  c.setLineDash(dashed ? [4, 3] : []);
  c.beginPath();
  c.moveTo(LEFT, y);
  c.lineTo(width - RIGHT, y);
  c.stroke();
  c.setLineDash([]);
  label(frame, words, y + 4);
}

/** @param {Frame} frame */
function timeAxis({ c, width, height, last, soft }) {
  c.fillStyle = soft;
  c.font = `11px ${FONT}`;
  c.textAlign = "center";
  const seconds = last / 30, most = width / 72;
  const every = [1, 2, 5, 10, 20, 60].find((s) => seconds / s <= most) ?? 120;
  for (let s = 0; s <= seconds; s += every) c.fillText(`${s} s`, xOfFrame(width, last, 30 * s), height - 4);
}
