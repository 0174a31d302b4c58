// The stadium around the track, painted once for each size, from the numbers of qwop_game/scenery.py.

import constants from "./constants.js";

const { scenery } = constants;

/** Sky with clouds. @param {number} width px @param {number} height px */
export function paintSky(width, height) {
  const [tile, c] = newTile(width, height), sky = c.createLinearGradient(0, 0, 0, height);
  for (let i = 0; i <= 8; i++) sky.addColorStop(i / 8, mix(scenery.SKY_TOP, scenery.SKY_BOTTOM, (i / 8) ** scenery.SKY_EXPONENT));
  c.fillStyle = sky;
  c.fillRect(0, 0, width, height);
  c.fillStyle = rgb([255, 255, 255, scenery.CLOUD_OPACITY]);
  for (const [x, y, share] of constants.clouds) {
    const size = share * height;
    c.beginPath();
    for (const [dx, dy, radius] of scenery.CLOUD_PUFFS) {
      const center = x * width + (dx - 4) * size;
      c.moveTo(center + radius * size, y * height + dy * size);
      c.arc(center, y * height + dy * size, radius * size, 0, 2 * Math.PI);
    }
    c.fill();
  }
  return tile;
}

/** A stand full of people under a roof; it repeats seamlessly. @param {number} scale */
export function paintStand(scale) {
  const [tile, c] = newTile(...sized(scenery.STAND_SIZE, scale)), { width, height } = tile;
  const rect = (/** @type {string} */ color, /** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ w, /** @type {number} */ h) => {
    c.fillStyle = color;
    c.fillRect(x, y, w, h);
  };
  const roof = scenery.STAND_ROOF * scale, firstRow = scenery.STAND_FIRST_ROW * scale, rowHeight = scenery.STAND_ROW * scale;
  const dot = Math.max(1, scenery.STAND_HEAD * scale);
  rect(rgb(scenery.STAND_WALL), 0, roof, width, height - roof);
  rect(rgb(scenery.STAND_SHADE), 0, roof + 0.5 * scale, width, firstRow - roof - 0.5 * scale);
  const chance = random(7), { STAND_BACK, STAND_FRONT, STAND_SEATS, CROWD } = scenery;
  const rows = Math.floor((height - firstRow) / rowHeight) + 1;
  for (let row = 0; row < rows; row++) {
    const y = firstRow + row * rowHeight, share = row / rows;
    const shade = STAND_BACK.map((v, i) => v + (STAND_FRONT[i] - v) * share);
    rect(rgb(shade), 0, y, width, rowHeight + 1);
    for (let seat = 0; seat < STAND_SEATS; seat++) {
      if (chance() >= scenery.STAND_TAKEN) continue;
      const x = (seat + 0.35 + 0.3 * chance()) * width / STAND_SEATS;
      c.fillStyle = mix(CROWD[Math.floor(chance() * CROWD.length)], shade, 0.35);
      c.beginPath();
      c.roundRect(x - dot, y + 0.3 * scale, 2 * dot, rowHeight * 0.6, dot);
      c.fill();
      c.fillStyle = mix(scenery.STAND_FACE, shade, 0.25);
      c.beginPath();
      c.arc(x, y + 0.22 * scale, 0.8 * dot, 0, 2 * Math.PI);
      c.fill();
    }
  }
  for (let pillar = 0; pillar < 4; pillar++) rect(rgb(scenery.STAND_PILLAR), (pillar + 0.5) * width / 4, roof, Math.max(2, 0.3 * scale), height - roof);
  rect(rgb(scenery.STAND_EDGE), 0, roof - 0.35 * scale, width, 0.75 * scale);
  rect(rgb(scenery.STAND_BAND), 0, roof + 0.4 * scale, width, Math.max(2, 0.14 * scale));
  for (const mast of [0.25 * width, 0.75 * width]) {
    rect(rgb(scenery.MAST), mast, 0.6 * scale, Math.max(2, 0.22 * scale), roof);
    rect(rgb(scenery.FLOODLIGHT), mast - 1.5 * scale, 0, 3 * scale, scale);
    c.fillStyle = rgb(scenery.LAMP);
    for (let lamp = 0; lamp < 4; lamp++) {
      c.beginPath();
      c.arc(mast + (0.75 * lamp - 1.125) * scale, 0.5 * scale, 0.29 * scale, 0, 2 * Math.PI);
      c.fill();
    }
  }
  return tile;
}

/** Boards along the track in front of a hedge; they repeat seamlessly. @param {number} scale */
export function paintBoards(scale) {
  const [tile, c] = newTile(...sized(scenery.BOARDS_SIZE, scale)), { width, height } = tile;
  const { HEDGE_BUSHES, HEDGE_RADII, BOARDS } = scenery, hedge = scenery.HEDGE_TOP * scale, chance = random(2);
  c.fillStyle = rgb(scenery.BUSH);
  for (let i = 0; i < HEDGE_BUSHES; i++) {
    const radius = (HEDGE_RADII[0] + (HEDGE_RADII[1] - HEDGE_RADII[0]) * chance()) * scale;
    for (const wrap of [-width, 0, width]) {
      c.beginPath();
      c.arc((i + 0.5) * width / HEDGE_BUSHES + wrap, hedge, radius, 0, 2 * Math.PI);
      c.fill();
    }
  }
  c.fillStyle = rgb(scenery.HEDGE);
  c.fillRect(0, hedge, width, height - hedge);
  c.font = `600 ${1.15 * scale}px system-ui, sans-serif`;
  c.textAlign = "center";
  c.textBaseline = "middle";
  const step = width / BOARDS.length, top = scenery.BOARD_TOP * scale, tall = scenery.BOARD_HEIGHT * scale;
  /** @type {[string, number[]][]} */ (BOARDS).forEach(([words, color], i) => {
    c.fillStyle = rgb(color);
    c.fillRect(i * step + 1, top, step - 2, tall);
    c.fillStyle = rgb(color[0] + color[1] + color[2] < scenery.BOARD_PALE ? scenery.LABEL : scenery.BOARD_INK);
    c.fillText(words, (i + 0.5) * step, top + 0.52 * tall, step - 0.6 * scale);
  });
  return tile;
}

/** @param {number[]} units @param {number} scale @returns {[number, number]} px */
function sized([width, height], scale) { return [width * scale, height * scale]; }

/** @param {number} width @param {number} height @returns {[HTMLCanvasElement, CanvasRenderingContext2D]} */
function newTile(width, height) {
  const tile = document.createElement("canvas");
  tile.width = Math.round(width);
  tile.height = Math.round(height);
  return [tile, /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"))];
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). @param {number} seed */
export function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @param {number[]} a @param {number[]} b @param {number} share */
export function mix(a, b, share) { return rgb(a.map((v, i) => v + (b[i] - v) * share)); }
/** RGB or RGBA, 0 to 255. @param {number[]} color */
export function rgb([red, green, blue, alpha = 255]) {
  return `rgb(${Math.round(red)} ${Math.round(green)} ${Math.round(blue)}${alpha < 255 ? ` / ${alpha / 255}` : ""})`;
}
