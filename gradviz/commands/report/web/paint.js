"use strict";
/* Numbers become colours, as gradviz draws them. */

/* What each view draws of a map, and how. Their names and signs are in DATA.views. */
const VIEWS = {
  heatmap: { quantity: magnitude, paint: sequential },
  signed: { quantity: total, paint: diverging },
  rgb: { quantity: (map, planes) => planes, paint: gray },
  positive: { quantity: (...of) => risen(1, ...of), paint: sequential },
  negative: { quantity: (...of) => risen(-1, ...of), paint: sequential },
  gray: { quantity: magnitude, paint: gray },
  overlay: { quantity: magnitude, paint: overlay },
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

/* The size of a map's canvas. */
function canvasSize(map) {
  return map.size.map((length) => Math.ceil(length / map.grain));
}

/* Give a canvas its sides before it is drawn, and its ratio to the style of what holds it. */
function shape(canvas, [width, height], holder = canvas) {
  canvas.style.aspectRatio = `${width} / ${height}`;
  holder.style.setProperty("--ratio", width / height);
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
  const { quantity, paint } = VIEWS[view];
  const clipped = (number) =>
    scale > 0 && !Number.isNaN(number) ? Math.min(1, Math.max(-1, number / scale)) : 0;
  const t = quantity(map, planes).map((each) => enlarged(each.map(clipped), [w, h], [W, H]));
  const found = new ImageData(W, H);
  for (let i = 0; i < W * H; i++) {
    const { cell } = placeAt(map, i % W, Math.floor(i / W));
    let colour;
    if (planes.some((plane) => Number.isNaN(plane[cell]))) colour = DATA.nonfinite;
    else if (view === "rgb") colour = [0, 1, 2].map((c) => 255 * (0.5 + 0.5 * (t[c] ?? t[0])[i]));
    else colour = paint(t[0][i], palette, backdrop?.subarray(4 * i, 4 * i + 3) ?? [0, 0, 0]);
    found.data.set(colour, 4 * i);
    found.data[4 * i + 3] = 255;
  }
  return found;
}

/* Draw a map on its canvas; fade is 0 for the input, 1 for the map. */
async function drawMap(canvas, map, { view, scale, fade, palette }) {
  const turn = (canvas.turn = (canvas.turn ?? 0) + 1); // a later call overtakes this one
  // The canvas keeps its layers: fading is quick.
  if (canvas.layers?.map !== map || canvas.layers.view !== view || canvas.layers.scale !== scale) {
    const layers = await layersOf(map, view, scale, palette);
    if (turn !== canvas.turn) return;
    canvas.layers = layers;
  }
  const { input, drawn } = canvas.layers;
  [canvas.width, canvas.height] = canvasSize(map);
  const context = canvas.getContext("2d");
  if (input) context.drawImage(input, 0, 0);
  context.globalAlpha = input ? fade : 1;
  context.drawImage(drawn, 0, 0);
  canvas.dataset.drawn = `${view} ${scale} ${fade}`;
}

/* The input (if it is there) and the map, each as a picture of the canvas's size. */
async function layersOf(map, view, scale, palette) {
  const [W, H] = canvasSize(map);
  const sheet = () => new OffscreenCanvas(W, H).getContext("2d", { willReadFrequently: true });
  const picture = await pictureOf(map.drawn ? map.drawn[view] : map.picture);
  const [input, drawn] = [sheet(), sheet()];
  if (picture) input.drawImage(picture, 0, 0, W, H);
  if (map.drawn) return { map, view, scale, input: null, drawn: input.canvas };
  const backdrop = picture && input.getImageData(0, 0, W, H).data;
  drawn.putImageData(painted(map, await planesOf(map), view, scale, palette, backdrop), 0, 0);
  return { map, view, scale, input: picture && input.canvas, drawn: drawn.canvas };
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
  const here = planes.map((plane) => plane.subarray(cell, cell + 1));
  const values = VIEWS[view].quantity(map, here).map(([number]) => short(number, 6));
  return `${where}: ${values.join(", ")}`;
}
