"use strict";
/* The maps of a report on their canvases. */

const PALETTES = DATA.palettes.map(({ sequential, diverging }) => ({
  sequential: tableOf(sequential),
  diverging: tableOf(diverging),
}));

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
  const colours = { view, scale, palette, nonfinite: DATA.nonfinite, backdrop };
  drawn.putImageData(painted(map, await planesOf(map), [W, H], colours), 0, 0);
  return { map, view, scale, input: picture && input.canvas, drawn: drawn.canvas };
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
