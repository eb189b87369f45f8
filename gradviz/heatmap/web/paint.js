"use strict";
/* Numbers become colours, as gradviz/heatmap draws them. All pages share this file. */

/* What each view draws of a map, and how: the table of gradviz/heatmap/views.py. */
const VIEWS = {
  heatmap: { quantity: magnitude, paint: sequential },
  signed: { quantity: total, paint: diverging },
  rgb: { quantity: (map, planes) => planes, paint: gray },
  positive: { quantity: (...of) => risen(1, ...of), paint: sequential },
  negative: { quantity: (...of) => risen(-1, ...of), paint: sequential },
  gray: { quantity: magnitude, paint: gray },
  overlay: { quantity: magnitude, paint: overlay },
  marked: { quantity: magnitude, paint: overlay },
};

/* A map keeps its channels, or Σ|g| and Σg. */
function magnitude(map, planes) {
  return [map.whole ? summed(planes, Math.abs) : planes[0]];
}

function total(map, planes) {
  return [map.whole ? summed(planes, (g) => g) : planes[1]];
}

function risen(sign, map, planes) {
  return [total(map, planes)[0].map((sum) => Math.max(sign * sum, 0))];
}

function summed(planes, term) {
  const sum = new Float64Array(planes[0].length);
  for (const plane of planes) {
    for (let i = 0; i < sum.length; i++) sum[i] += term(plane[i]);
  }
  return sum;
}

/* A palette's tables, from hexadecimal text to [r, g, b] of 255 colours. */
function tableOf(hex) {
  return Array.from({ length: hex.length / 6 }, (_, n) =>
    [0, 2, 4].map((at) => parseInt(hex.substr(6 * n + at, 2), 16)),
  );
}

function sequential(t, palette) {
  return palette.sequential[Math.round(254 * t)];
}

function diverging(t, palette) {
  return palette.diverging[Math.round(127 * (t + 1))];
}

function gray(t) {
  const level = Math.round(255 * t);
  return [level, level, level];
}

/* The gray level to which an overlay dims a picture's colour. */
function dimmed(r, g, b) {
  return 0.8 * (0.299 * r + 0.587 * g + 0.114 * b);
}

function overlay(t, palette, [r, g, b]) {
  const weight = 0.9 * Math.sqrt(t);
  const backdrop = dimmed(r, g, b) * (1 - weight);
  const [red, green, blue] = sequential(t, palette);
  return [backdrop + red * weight, backdrop + green * weight, backdrop + blue * weight];
}

/* Planes of a map's size or of a layer's smaller one at the canvas's: bilinear between centres. */
function enlarged(values, [w, h], [W, H]) {
  if (w === W && h === H) return values;
  const sides = (n, N) =>
    Array.from({ length: N }, (_, i) => {
      const at = Math.min(n - 1, Math.max(0, ((i + 0.5) * n) / N - 0.5));
      const low = Math.floor(at);
      return [low, Math.min(n - 1, low + 1), at - low];
    });
  const across = sides(w, W);
  const found = new Float64Array(W * H);
  sides(h, H).forEach(([top, bottom, down], y) =>
    across.forEach(([left, right, along], x) => {
      const upper = values[top * w + left] * (1 - along) + values[top * w + right] * along;
      const lower = values[bottom * w + left] * (1 - along) + values[bottom * w + right] * along;
      found[y * W + x] = upper * (1 - down) + lower * down;
    }),
  );
  return found;
}

/* Ratios to a scale, in [-1, 1]; 0 where a number is NaN. */
function clipped(numbers, scale) {
  const ratios = new Float64Array(numbers.length);
  if (!(scale > 0)) return ratios;
  for (let i = 0; i < ratios.length; i++) {
    const ratio = numbers[i] / scale;
    if (!Number.isNaN(ratio)) ratios[i] = Math.min(1, Math.max(-1, ratio));
  }
  return ratios;
}

/* The colours of a view of a map's planes on W×H pixels; over the backdrop, RGBA of that size.

A map has `cells`, the numbers of its planes, rows and columns, and `whole`: true for channels. */
function painted(map, planes, [W, H], { view, scale, palette, nonfinite, backdrop }) {
  const [, h, w] = map.cells;
  const { quantity, paint } = VIEWS[view];
  let t = quantity(map, planes).map((each) => enlarged(clipped(each, scale), [w, h], [W, H]));
  if (view === "rgb" && t.length !== 3) t = [summed(t, (ratio) => ratio / t.length)];
  const found = new ImageData(W, H);
  const { data } = found;
  const holes = planes.some((plane) => plane.some(Number.isNaN));
  const under = [0, 0, 0];
  for (let i = 0, at = 0; i < W * H; i++, at += 4) {
    const cell = w === W && h === H ? i
      : Math.floor((Math.floor(i / W) * h) / H) * w + Math.floor(((i % W) * w) / W);
    let colour;
    if (holes && planes.some((plane) => Number.isNaN(plane[cell]))) colour = nonfinite;
    else if (view === "rgb") colour = [0, 1, 2].map((c) => 255 * (0.5 + 0.5 * (t[c] ?? t[0])[i]));
    else {
      if (backdrop) for (let c = 0; c < 3; c++) under[c] = backdrop[at + c];
      colour = paint(t[0][i], palette, under);
    }
    for (let c = 0; c < 3; c++) data[at + c] = colour[c];
    data[at + 3] = 255;
  }
  return found;
}

const CLIP = /^(energy:)?(\d+\.?\d*|\.\d+)$/;

/* Whether a text is a clip: a percentile, or energy:P. */
function isClip(text) {
  const percent = CLIP.exec(text)?.[2];
  return percent > 0 && percent <= 100;
}

/* The clip of the sizes of numbers that are not 0, NaN or Inf, as gradviz/heatmap/clip.py finds it. */
function clippedAt(numbers, clip) {
  const found = new Float64Array(numbers.length);
  let count = 0;
  for (const number of numbers) {
    if (number !== 0 && Number.isFinite(number)) found[count++] = Math.abs(number);
  }
  if (!count) return 0;
  const sizes = found.subarray(0, count).sort();
  const [, ofEnergy, percent] = CLIP.exec(clip);
  if (ofEnergy) {
    const largest = sizes[sizes.length - 1];
    let sum = 0;
    const held = sizes.map((size) => (sum += (size / largest) ** 2));
    return sizes[held.findIndex((each) => each >= (percent / 100) * sum)];
  }
  const at = ((sizes.length - 1) * percent) / 100;
  const low = Math.floor(at);
  const high = Math.min(low + 1, sizes.length - 1);
  return sizes[low] + (sizes[high] - sizes[low]) * (at - low);
}
