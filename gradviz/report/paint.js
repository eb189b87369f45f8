"use strict";
/* Numbers become colours, as gradviz draws them. */

/* What each view draws, and how. The names, and which of them have a sign, are in DATA.views. */
const magnitude = (channels) => channels.reduce((sum, g) => sum + Math.abs(g), 0);
const total = (channels) => channels.reduce((sum, g) => sum + g, 0);
const VIEWS = {
  heatmap: { quantity: magnitude, paint: sequential },
  signed: { quantity: total, paint: diverging },
  rgb: { quantity: null, paint: gray },
  positive: { quantity: (channels) => Math.max(total(channels), 0), paint: sequential },
  negative: { quantity: (channels) => Math.max(-total(channels), 0), paint: sequential },
  gray: { quantity: magnitude, paint: gray },
  overlay: { quantity: magnitude, paint: overlay },
};

/* A palette's tables, from hexadecimal text to [r, g, b] of 255 colours. */
function tableOf(hex) {
  return Array.from({ length: hex.length / 6 }, (_, n) =>
    [0, 2, 4].map((at) => parseInt(hex.substr(6 * n + at, 2), 16)),
  );
}

const PALETTES = DATA.palettes.map(({ sequential, diverging }) => ({
  sequential: tableOf(sequential),
  diverging: tableOf(diverging),
}));

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

function overlay(t, palette, [r, g, b]) {
  const backdrop = 0.8 * (0.299 * r + 0.587 * g + 0.114 * b);
  const weight = 0.9 * Math.sqrt(t);
  return sequential(t, palette).map((level) => backdrop * (1 - weight) + level * weight);
}

/* Whether a map can be drawn so: some lack what a view needs. */
function drawable(map, view) {
  if (map.drawn) return view in map.drawn;
  return view !== "rgb" || map.whole;
}

/* The number that a view draws at a cell: of a map that keeps its channels, or Σ|g| and Σg. */
function numberAt(map, planes, view, cell) {
  const { quantity } = VIEWS[view];
  if (map.whole) {
    const channels = planes.map((plane) => plane[cell]);
    return quantity ? quantity(channels) : channels;
  }
  return quantity([quantity === magnitude ? planes[0][cell] : planes[1][cell]]);
}

/* The size of a map's canvas. */
function canvasSize(map) {
  return map.size.map((length) => Math.ceil(length / map.grain));
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

/* The colours of a view of a map, at the canvas's size. */
function painted(map, planes, view, scale, palette, backdrop) {
  const [W, H] = canvasSize(map);
  const [, h, w] = map.cells;
  const clipped = (number) => {
    if (!(scale > 0) || Number.isNaN(number)) return 0;
    return Math.min(1, Math.max(-1, number / scale));
  };
  const cells = Array.from({ length: w * h }, (_, cell) => numberAt(map, planes, view, cell));
  const coloured = view === "rgb";
  const channels = coloured ? cells[0].map((_, c) => cells.map((all) => all[c])) : [cells];
  const t = channels.map((each) => enlarged(each.map(clipped), [w, h], [W, H]));
  const found = new ImageData(W, H);
  const { paint } = VIEWS[view];
  for (let i = 0; i < W * H; i++) {
    const cell =
      Math.floor((((i / W) | 0) * h) / H) * w + Math.floor(((i % W) * w) / W);
    let colour;
    if (planes.some((plane) => Number.isNaN(plane[cell]))) colour = DATA.nonfinite;
    else if (coloured) colour = [0, 1, 2].map((c) => 255 * (0.5 + 0.5 * (t[c] ?? t[0])[i]));
    else colour = paint(t[0][i], palette, backdrop ? backdrop.subarray(4 * i, 4 * i + 3) : [0, 0, 0]);
    found.data.set(colour, 4 * i);
    found.data[4 * i + 3] = 255;
  }
  return found;
}

/* Draw a map on its canvas; fade is 0 for the input, 1 for the map. */
async function drawMap(canvas, map, { view, scale, fade, palette }) {
  const turn = (canvas.turn = (canvas.turn ?? 0) + 1); // a later call overtakes this one
  const [W, H] = canvasSize(map);
  const picture = await pictureOf(map.drawn ? map.drawn[view] : map.picture);
  const planes = map.drawn ? null : await planesOf(map);
  if (turn !== canvas.turn) return;
  const sheet = new OffscreenCanvas(W, H);
  const context = sheet.getContext("2d", { willReadFrequently: true });
  if (picture) context.drawImage(picture, 0, 0, W, H);
  if (canvas.width !== W || canvas.height !== H) [canvas.width, canvas.height] = [W, H];
  const shown = canvas.getContext("2d");
  shown.drawImage(sheet, 0, 0);
  if (planes) {
    const backdrop = picture ? context.getImageData(0, 0, W, H).data : null;
    context.putImageData(painted(map, planes, view, scale, palette, backdrop), 0, 0);
    shown.globalAlpha = picture ? fade : 1;
    shown.drawImage(sheet, 0, 0);
    shown.globalAlpha = 1;
  }
  canvas.dataset.drawn = `${view} ${scale} ${fade}`;
}

/* A scale bar: a view's colours between the numbers that they stand for. */
function makeBar() {
  return make("div", { className: "bar" },
    make("span"), make("canvas", { "aria-hidden": "true" }), make("span"));
}

function drawScale(bar, view, scale, palette) {
  const { signed } = DATA.views[view];
  const canvas = bar.querySelector("canvas");
  [canvas.width, canvas.height] = [255, 1];
  const colours = new ImageData(255, 1);
  const paint = view === "overlay" ? sequential : VIEWS[view].paint;
  for (let i = 0; i < 255; i++) {
    const t = i / 254;
    const colour = view === "rgb" || !signed ? paint(t, palette) : paint(2 * t - 1, palette);
    colours.data.set([...colour, 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(colours, 0, 0);
  const [low, high] = bar.querySelectorAll("span");
  low.textContent = signed ? short(-scale) : "0";
  high.textContent = short(scale);
}

/* Where a pointer is on a canvas: input pixels, first and last of its cell, and the cell. */
function placeOf(canvas, map, event) {
  const frame = canvas.getBoundingClientRect();
  const inside = (at, start, length, pixels) =>
    Math.min(pixels - 1, Math.max(0, Math.floor(((at - start) / length) * pixels)));
  return placeAt(
    map,
    inside(event.clientX, frame.left, frame.width, canvas.width),
    inside(event.clientY, frame.top, frame.height, canvas.height),
  );
}

/* The place of a canvas pixel. */
function placeAt(map, column, row) {
  const [W, H] = canvasSize(map);
  const [, h, w] = map.cells ?? [1, H, W];
  const first = [column * map.grain, row * map.grain];
  return {
    column,
    row,
    first,
    last: first.map((start, axis) => Math.min(start + map.grain, map.size[axis]) - 1),
    cell: Math.floor((row * h) / H) * w + Math.floor((column * w) / W),
  };
}

/* What a map has at a place, in words. */
function told(map, planes, view, { first, last, cell }) {
  const range = (axis) =>
    first[axis] === last[axis] ? `${first[axis]}` : `${first[axis]}–${last[axis]}`;
  const where = `x ${range(0)}, y ${range(1)}`;
  if (!planes) return where;
  const number = numberAt(map, planes, view, cell);
  const value = Array.isArray(number)
    ? number.map((each) => short(each, 6)).join(", ")
    : short(number, 6);
  return `${where}: ${value}`;
}
