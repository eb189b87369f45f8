/* What is said and marked around the pictures of a panel: scales, pins, boxes, values. */

import { coveredBy, isOfPixels, placeIn, seedAt } from "./seeds.js";
import { valuesAt } from "./sheet.js";

/* The last part of a path. */
export function stem(path) {
  return path.replace(/[/\\]+$/, "").split(/[/\\]/).pop();
}

/* Draw the scale bars; the map of the answer lies over `sheet`, or over none. */
export function drawBars(panel, how, sheet) {
  const { page, range } = panel;
  const [input, output] = panel.captions;
  for (const [caption, drawn] of [[input, sheet === panel.input], [output, sheet === panel.map]]) {
    caption.bar.classList.toggle("empty", !drawn);
    if (drawn) drawScale(caption.bar, how);
  }
  if (sheet !== panel.map && range) {
    output.bar.classList.remove("empty");
    drawScale(output.bar, { view: "gray", signed: false, scale: range[1], palette: how?.palette });
    output.bar.querySelector("span").textContent = short(range[0]);
  }
  const words = how ? `${how.view} of ${panel.answer.seed}, scale ${short(how.scale)}` : "no map";
  const image = page.names[page.state.image];
  panel.input.map.setAttribute("aria-label",
    `Image ${image}: ${sheet === panel.input ? words : "no map"}`);
  panel.map.map.setAttribute("aria-label",
    `Output: ${sheet === panel.map ? words : "point at a pixel to see what it looks at"}`);
}

/* Mark what is known before any answer: pins, regions and structural boxes. */
export function markPlaces(panel) {
  const { state } = panel.page;
  const [input, output] = panel.captions;
  const inside = [];
  const outside = [];
  const told = [];
  const pins = [null, null];
  let touched = null;
  [state.seed, state.second].forEach((seed, n) => {
    const place = placeIn(panel.own(seed));
    if (!place) return;
    const name = n ? "second" : "first";
    if (place.kind === "reacts") touched = place.at;
    if (place.kind === "pixel") pins[n] = place.at;
    const [x0, y0, x1, y1] = place.at;
    if (place.kind === "region" && x0 < x1 && y0 < y1) outside.push([place.at, name]);
    const box = isOfPixels(place) && structuralBox(panel.places.fields, coveredBy(place));
    if (!box) return;
    inside.push([box, name]);
    told.push(`sees ${box[2] - box[0]}×${box[3] - box[1]} pixels, from ${box[0]}, ${box[1]}`);
  });
  if (panel.kind === "boxes") {
    const names = { [state.second]: "second", [panel.seedOfRow(state.seed)]: "first" };
    for (const { place, box_in_input: box } of panel.output.detections) {
      if (box) inside.push([box, names[seedAt("box", [place])] ?? "found"]);
    }
  }
  panel.input.mark(inside);
  panel.map.mark(outside);
  if (panel.kind === "map") [panel.first, panel.second].forEach((pin, n) => panel.map.pin(pin, pins[n]));
  for (const pin of [panel.first, panel.touched]) pin.classList.toggle("fixed", state.pinned);
  panel.input.pin(panel.touched, touched);
  panel.list.mark(panel.seedOfRow(state.seed), state.second);
  const reason = panel.kind === "map" && !panel.places.fields ? panel.places.reason : "";
  input.seen.textContent = told.join("; ") || reason || "";
  const asked = [state.seed, state.second].filter(Boolean).map((seed) => panel.own(seed));
  const seed = touched ? `reaction to x ${touched[0]}, y ${touched[1]}` : asked.join(" − ");
  const drawn = panel.output?.channel;
  const one = panel.channels > 1 && typeof drawn === "number";
  output.seen.textContent = one ? `${seed} · drawn: channel ${named(panel, drawn)}` : seed;
}

/* The smallest box of the input that holds the fields of a box of the output; null if unknown. */
function structuralBox(fields, [x0, y0, x1, y1]) {
  const inside = fields && x0 < x1 && y0 < y1 && x1 <= fields.x.length && y1 <= fields.y.length;
  if (!inside) return null;
  const box = [fields.x[x0][0], fields.y[y0][0], fields.x[x1 - 1][1], fields.y[y1 - 1][1]];
  return box[2] > box[0] && box[3] > box[1] ? box : null;
}

/* The numbers at a pixel of a sheet, in words. */
export function valuesUnder(panel, sheet, at) {
  const [array, drawn] = panel.shown;
  const said = [];
  if (drawn === sheet) {
    const here = valuesAt(array, at, sheet.size).map((value) => Float64Array.of(value));
    const numbers = VIEWS[panel.page.state.view].quantity(array, here);
    const text = numbers.map(([number]) => short(number, 6)).join(", ");
    said.push(sheet === panel.map ? `reaction ${text}` : text);
  }
  if (sheet === panel.map && panel.output?.arrays.output) said.push(outputAt(panel, at));
  return `x ${at[0]}, y ${at[1]}${said.length ? ": " : ""}${said.join(", ")}`;
}

function outputAt(panel, [x, y]) {
  const { arrays: { output, winner }, channel } = panel.output;
  const place = y * output.cells[2] + x;
  const of = panel.channels > 1 ? ` of channel ${named(panel, winner ? winner.planes[0][place] : channel)}` : "";
  return `output ${short(output.planes[0][place], 6)}${of}`; // a long label may be cut off, no number
}

function named(panel, channel) {
  const label = panel.page.models[panel.model].labels[channel];
  return label ? `${channel} (${label})` : String(channel);
}

/* What an answer says about itself, beside its map. */
export function factsOf({ score, class: found, detection, parts, completeness, conservation }) {
  const facts = [];
  const known = (number) => number !== null && number !== undefined;
  if (known(score)) facts.push(`score ${short(score)}`);
  if (found) {
    const share = known(found.share) ? ` ${(100 * found.share).toFixed(1)} %` : "";
    facts.push(`${found.label ?? `class ${found.index}`}${share}`);
  }
  if (detection) facts.push(detection.label ?? `class ${detection.index}`);
  if (known(completeness)) facts.push(`completeness gap ${short(completeness)}`);
  if (known(conservation)) facts.push(`conservation gap ${short(conservation)}`);
  if (parts) facts.push(`parts ${parts}`);
  return facts.join(" · ");
}
