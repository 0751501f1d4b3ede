// Draws a track's waveform; each part has the colour of the peer that served it.

const BAR = 3;
const GAP = 1;
const HUES = [188, 28, 268, 92, 338, 218, 52, 152, 308, 8];

/** Gives every peer a colour, in the order in which they first appear. */
export class Palette {
  #known = new Map();

  color(peer) {
    const style = getComputedStyle(document.documentElement);
    if (peer === "local") return style.getPropertyValue("--local").trim();
    if (!this.#known.has(peer)) this.#known.set(peer, this.#known.size);
    const hue = HUES[this.#known.get(peer) % HUES.length];
    return `hsl(${hue} 72% ${style.getPropertyValue("--peer-light").trim()})`;
  }
}

/** Return one height from 0 to 1 for each bar: the loudest of the peaks it covers. */
export function bars(peaks, count) {
  const heights = new Array(count).fill(0.06);
  for (let i = 0; i < count && peaks.length; i++) {
    const from = Math.floor((i * peaks.length) / count);
    const to = Math.max(from + 1, Math.floor(((i + 1) * peaks.length) / count));
    let top = 0;
    for (let j = from; j < to; j++) top = Math.max(top, peaks[j]);
    heights[i] = Math.max(0.06, top / 255);
  }
  return heights;
}

export class Waveform {
  #canvas;
  #palette;
  #peaks = [];
  #segments = [];
  #played = 0;
  #frame = 0;

  constructor(canvas, palette) {
    this.#canvas = canvas;
    this.#palette = palette;
    new ResizeObserver(() => this.#later()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#later());
  }

  /** Peaks from 0 to 255 over the whole track. */
  set peaks(peaks) { this.#peaks = peaks; this.#later(); }

  /** Runs {from, to, peer}; from and to are shares of the track. */
  set segments(segments) { this.#segments = segments; this.#later(); }

  /** The playhead as a share of the track. */
  set played(share) { this.#played = share; this.#later(); }

  #later() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.#draw(); });
  }

  #colors(count) {
    const empty = getComputedStyle(document.documentElement).getPropertyValue("--empty").trim();
    const colors = new Array(count).fill(empty);
    for (const { from, to, peer } of this.#segments) {
      const color = this.#palette.color(peer);
      const last = Math.min(count, Math.max(Math.round(to * count), Math.floor(from * count) + 1));
      for (let i = Math.floor(from * count); i < last; i++) colors[i] = color;
    }
    return colors;
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    const ctx = this.#canvas.getContext("2d");
    ctx.scale(scale, scale);
    const count = Math.max(1, Math.floor(width / (BAR + GAP)));
    const heights = bars(this.#peaks, count);
    const colors = this.#colors(count);
    const head = this.#played * count;
    for (let i = 0; i < count; i++) {
      const tall = Math.max(2, heights[i] * (height - 4));
      ctx.globalAlpha = i < head ? 1 : 0.5;
      ctx.fillStyle = colors[i];
      ctx.beginPath();
      ctx.roundRect(i * (BAR + GAP), (height - tall) / 2, BAR, tall, 1.5);
      ctx.fill();
    }
    ctx.globalAlpha = 1;
    ctx.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--text").trim();
    ctx.fillRect(Math.min(width - 2, this.#played * width), 0, 2, height);
  }
}
