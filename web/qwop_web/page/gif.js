// An animated GIF, written frame by frame. One palette for all frames; what a frame leaves as it was is transparent.
// The format: CompuServe, Graphics Interchange Format, version 89a, 1990.

const BITS = 5; // of each channel, when colors are counted
const CLEAR_AT = 4096; // codes of LZW have at most 12 bits

export class Gif {
  /** @param {number} width px @param {number} height px @param {number[]} palette of `paletteOf`: RGB, at most 255 colors
   *  @param {number} [tolerance] a pixel that changes less than this stays as it was: smaller files */
  constructor(width, height, palette, tolerance = 0) {
    this.tolerance = tolerance ** 2;
    this.width = width;
    this.height = height;
    this.colors = palette.length / 3;
    this.palette = palette;
    this.bits = Math.max(2, Math.ceil(Math.log2(this.colors + 1))); // one more is transparent
    /** @type {Int16Array} nearest color of each one, once it was asked for */
    this.nearest = new Int16Array(1 << 3 * BITS).fill(-1);
    /** @type {Uint8Array | null} */ this.before = null;
    const table = new Uint8Array(3 << this.bits);
    table.set(palette);
    /** @type {Uint8Array[]} */
    this.parts = [
      ascii("GIF89a"), words(width, height), Uint8Array.of(0xf0 | (this.bits - 1), 0, 0), table,
      Uint8Array.of(0x21, 0xff, 11), ascii("NETSCAPE2.0"), Uint8Array.of(3, 1, 0, 0, 0), // repeat for ever
    ];
  }

  /** @param {Uint8ClampedArray} pixels RGBA @param {number} delay until the next frame, hundredths of a second */
  add(pixels, delay) {
    const { width, height, colors, before } = this, now = new Uint8Array(width * height), codes = new Uint8Array(width * height);
    for (let i = 0, at = 0; i < now.length; i++, at += 4) {
      const red = pixels[at], green = pixels[at + 1], blue = pixels[at + 2], last = before?.[i];
      if (last !== undefined && this.#distance(last, red, green, blue) <= this.tolerance) {
        now[i] = last;
        codes[i] = colors;
        continue;
      }
      now[i] = this.#index(red, green, blue);
      codes[i] = now[i] === last ? colors : now[i];
    }
    this.before = now;
    this.parts.push(
      Uint8Array.of(0x21, 0xf9, 4, before ? 0x05 : 0x04), words(delay), Uint8Array.of(colors, 0),
      Uint8Array.of(0x2c), words(0, 0, width, height), Uint8Array.of(0, this.bits), compressed(codes, this.bits),
    );
  }

  /** @returns {Blob} */
  end() { return new Blob([.../** @type {any[]} */ (this.parts), Uint8Array.of(0x3b)], { type: "image/gif" }); }

  /** Square of the distance from a color of the palette. @param {number} i @param {number} red @param {number} green
   *  @param {number} blue */
  #distance(i, red, green, blue) {
    const { palette } = this, r = palette[3 * i] - red, g = palette[3 * i + 1] - green, b = palette[3 * i + 2] - blue;
    return (3 * r * r + 4 * g * g + 2 * b * b) / 9;
  }

  /** @param {number} red @param {number} green @param {number} blue */
  #index(red, green, blue) {
    const key = bucket(red, green, blue);
    if (this.nearest[key] < 0) {
      let best = Infinity;
      for (let i = 0; i < this.colors; i++) {
        const distance = this.#distance(i, red, green, blue);
        if (distance < best) {
          best = distance;
          this.nearest[key] = i;
        }
      }
    }
    return this.nearest[key];
  }
}

/** The most frequent colors of some pictures, RGB. @param {Uint8ClampedArray[]} pictures RGBA @param {number} most */
export function paletteOf(pictures, most) {
  const counts = new Map();
  for (const pixels of pictures)
    for (let at = 0; at < pixels.length; at += 4) {
      const key = bucket(pixels[at], pixels[at + 1], pixels[at + 2]);
      const found = counts.get(key);
      if (found) found[0]++;
      else counts.set(key, [1, pixels[at], pixels[at + 1], pixels[at + 2]]);
    }
  const sorted = [...counts.values()].sort((a, b) => b[0] - a[0]);
  return sorted.slice(0, most).flatMap(([, ...color]) => color);
}

/** @param {number} red @param {number} green @param {number} blue */
function bucket(red, green, blue) { return red >> 8 - BITS << 2 * BITS | green >> 8 - BITS << BITS | blue >> 8 - BITS; }

/** @param {string} text */
function ascii(text) { return Uint8Array.from(text, (c) => c.charCodeAt(0)); }

/** Little-endian. @param {number[]} values */
function words(...values) { return Uint8Array.from(values.flatMap((v) => [v & 255, v >> 8])); }

/** LZW with codes of a growing width, in blocks of 255 bytes. @param {Uint8Array} codes @param {number} bits of a color */
function compressed(codes, bits) {
  const clear = 1 << bits, bytes = [];
  let width = bits + 1, next = clear + 2, buffer = 0, held = 0;
  const put = (/** @type {number} */ code) => {
    buffer |= code << held;
    held += width;
    for (; held >= 8; held -= 8, buffer >>>= 8) bytes.push(buffer & 255);
  };
  // Node `prefix` and color c: the code of their string, 0 where there is none.
  const table = new Uint16Array(CLEAR_AT << bits);
  put(clear);
  let prefix = codes[0];
  for (let i = 1; i < codes.length; i++) {
    const entry = prefix << bits | codes[i], known = table[entry];
    if (known) {
      prefix = known;
      continue;
    }
    put(prefix);
    if (next < CLEAR_AT) {
      table[entry] = next;
      if (next++ === 1 << width) width++;
    } else {
      put(clear);
      table.fill(0);
      width = bits + 1;
      next = clear + 2;
    }
    prefix = codes[i];
  }
  put(prefix);
  if (next === 1 << width && width < 12) width++;
  put(clear + 1);
  if (held) bytes.push(buffer & 255);
  const blocks = new Uint8Array(bytes.length + Math.ceil(bytes.length / 255) + 1);
  for (let from = 0, to = 0; from < bytes.length; from += 255) {
    const size = Math.min(255, bytes.length - from);
    blocks[to++] = size;
    for (let i = 0; i < size; i++) blocks[to++] = bytes[from + i];
  }
  return blocks;
}
