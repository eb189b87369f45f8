/* One model: the image with what the output looks at, and the output with what reacts. */

import { stem } from "./controls.js";
import { pictureOf, rowsOf } from "./output.js";
import { Line } from "./protocol.js";
import { List } from "./list.js";
import { WINNING, coveredBy, fitted, placeIn, seedAt } from "./seeds.js";
import { Sheet, valuesAt } from "./sheet.js";

export const UNLOADED = "The picture of this image could not be loaded";

export class Panel {
  /* `page` has state, change(), palettes, views, told(), failed() and refreshed(). */
  constructor(page, model, section) {
    Object.assign(this, { page, model, section, answer: null, output: null, places: null });
    section.querySelector("h2").textContent = stem(page.models[model].name);
    const [input, answer] = section.querySelectorAll("figure");
    this.input = new Sheet(input.querySelector(".stage"));
    this.map = new Sheet(answer.querySelector(".stage"));
    this.captions = [input, answer].map((figure) => ({
      bar: figure.querySelector(".bar"),
      value: figure.querySelector(".value"),
      seen: figure.querySelector(".seen"),
    }));
    this.list = new List(answer.querySelector(".list"), (seed, pressed) => this.chosen(seed, pressed));
    [this.first, this.second] = answer.querySelectorAll(".pin");
    this.touched = input.querySelector(".pin");
    this.grids = new Line("/fields", (...of) => this.placed(...of), (...of) => this.lost(...of));
    // A newer one lets the server drop the one that it works on: a large output takes seconds.
    this.outputs = new Line("/output", (...of) => this.opened(...of), (...of) => this.lost(...of), 2);
    this.answers = new Line("/ask", (...of) => this.answered(...of), (...of) => this.lost(...of));
    this.follow(this.map, (at, end) => this.seedOver(at, end));
    this.follow(this.input, (at) => this.seedUnder(at));
  }

  // What the model answers for an image

  /* Show the image that the state names: its picture and its places come first, side by side. */
  open() {
    const { image } = this.page.state;
    this.picture = this.places = this.output = this.answer = null;
    this.asked = false;
    this.grids.ask({ image, model: this.model });
    if (!this.loading) this.load();
  }

  /* Load the picture of the image that the state names; one at a time, since the server reads it. */
  async load() {
    const { state } = this.page;
    const picture = this.loading = new Image();
    picture.src = `/image?image=${state.image}&model=${this.model}`;
    const loaded = await picture.decode().then(() => true, () => false);
    this.loading = null;
    if (state.image !== this.page.state.image) {
      this.load();
      return;
    }
    this.picture = loaded && picture;
    if (this.places) this.lay();
  }

  placed(question, places) {
    if (question.image !== this.page.state.image) return;
    this.places = places;
    this.lay();
    this.list.element.hidden = true;
    this.range = null;
    this.page.refreshed(this);
    this.look();
  }

  /* Lay the picture where the maps will lie, as soon as it is there. */
  lay() {
    const { picture, places } = this;
    this.input.open(picture, places.input);
    if (!this.output) {
      const [h, w] = places.shape?.slice(1) ?? [];
      this.map.stage.hidden = !w;
      // Until the output is there, the image shows faintly where to point.
      if (w) this.map.open(picture, [w, h]);
      this.map.stage.classList.add("coming");
    }
    if (picture !== null) this.page.repaint();
    if (picture === false) this.page.problem(UNLOADED);
  }

  /* Ask what the model answers; the map is drawn of the channel that is chosen. */
  look() {
    const { image, channel } = this.page.state;
    const shown = /^\d+$/.test(channel) ? Number(channel) : null;
    this.outputs.ask({ image, model: this.model, channel: shown });
  }

  opened(question, output) {
    if (question.image !== this.page.state.image || !this.places) return;
    this.output = output;
    // Channels are whole numbers, which travel in half precision as well.
    output.arrays.winner?.planes.forEach((plane) => plane.set(plane.map(Math.round)));
    const isMap = output.kind === "map";
    this.map.stage.classList.remove("coming");
    this.map.stage.hidden = !isMap;
    this.list.element.hidden = isMap;
    if (isMap) this.drawOutput();
    else this.list.open(rowsOf(output));
    this.page.refreshed(this);
  }

  /* What kind of output it is; null while that is not known. */
  get kind() {
    return this.output?.kind ?? (this.places?.shape?.length === 3 ? "map" : null);
  }

  /* True once it is known that the output has no pixels. */
  get isNoMap() {
    return this.output ? this.output.kind !== "map" : this.places?.shape?.length === 1;
  }

  get channels() {
    return this.output?.channels ?? this.places?.shape?.[0] ?? 1;
  }

  drawOutput() {
    const hues = this.page.channel(this) === WINNING;
    const { pixels, range } = pictureOf(this.output.arrays, hues, this.page.nonfinite);
    this.map.open(pixels, [pixels.width, pixels.height]);
    this.range = range;
    this.page.repaint(); // a reaction may lie over it
  }

  // Which question a place stands for

  /* The seed of an output pixel, or of the region from it to another one. */
  seedOver(at, end = null) {
    const channel = this.channelAt(at);
    if (end === null || String(end) === String(at)) return seedAt("pixel", at, channel);
    const low = at.map((n, axis) => Math.min(n, end[axis]));
    const high = at.map((n, axis) => Math.max(n, end[axis]) + 1);
    return seedAt("region", [...low, ...high], channel);
  }

  channelAt([x, y]) {
    const channel = this.page.channel(this);
    if (channel !== WINNING) return channel;
    const [w] = this.map.size;
    return this.output ? this.output.arrays.winner.planes[0][y * w + x] : null;
  }

  /* The question of an input pixel: the detection there, or what reacts to it. */
  seedUnder([x, y]) {
    if (this.kind !== "boxes") return seedAt("reacts", [x, y]);
    const found = this.output.detections.find(({ box_in_input: box }) =>
      box && box[0] <= x + 0.5 && x + 0.5 < box[2] && box[1] <= y + 0.5 && y + 0.5 < box[3]);
    return found ? `box:${found.place}` : null;
  }

  /* A seed of the first model's places in those of this one. */
  own(seed) {
    const place = placeIn(seed);
    const first = this.page.panels[0];
    if (!place || this === first || !first.places || !this.places) return seed;
    const sheet = place.kind === "reacts" ? "input" : "map";
    return fitted(seed, first[sheet].size, this[sheet].size);
  }

  /* A seed of this model's places in those of the first one. */
  common(seed) {
    const place = seed && placeIn(seed);
    const first = this.page.panels[0];
    if (!place || this === first) return seed;
    const sheet = place.kind === "reacts" ? "input" : "map";
    return fitted(seed, this[sheet].size, first[sheet].size);
  }

  // Pointing

  /* Let the pointer and the arrow keys choose seeds on a sheet. */
  follow(sheet, seedFor) {
    const { page } = this;
    const canvas = sheet.map;
    let start = null; // where the button went down
    let moved = false;
    const choose = (event) => {
      if (!this.kind || !page.panels[0].places) return;
      const at = sheet.pixelUnder(event);
      if (start !== null && sheet === this.map) {
        moved ||= String(at) !== String(start);
        if (moved) page.point(this.common(seedFor(start, at)), { dragging: true, event });
      } else page.point(this.common(seedFor(at)), { event });
    };
    canvas.addEventListener("pointerrawupdate", choose); // does not wait for the next frame
    canvas.addEventListener("pointermove", (event) => {
      choose(event);
      if (this.kind) this.tell(sheet, sheet.pixelUnder(event));
    });
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.kind || event.button !== 0) return;
      start = sheet.pixelUnder(event);
      moved = false;
      if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const end = sheet.pixelUnder(event);
      const seed = moved && sheet === this.map ? seedFor(start, end) : seedFor(end);
      start = null;
      this.tell(sheet, end);
      page.press(this.common(seed), event);
    });
    canvas.addEventListener("pointercancel", () => (start = null));
    canvas.addEventListener("pointerleave", () => {
      this.pointed = null;
      for (const { value } of this.captions) value.value = "";
    });
    canvas.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!this.kind || !(step || event.key === "Enter" || event.key === " ")) return;
      event.preventDefault();
      if (!step) page.change({ pinned: !page.state.pinned });
      else this.step(sheet, step, event.shiftKey, seedFor);
    });
  }

  /* Move the seed by a pixel, or grow its region. */
  step(sheet, step, grow, seedFor) {
    const place = placeIn(this.own(this.page.state.seed));
    const kinds = sheet === this.map ? ["pixel", "region"] : ["reacts"];
    const middle = sheet.size.map((side) => Math.floor(side / 2));
    const known = place && kinds.includes(place.kind);
    const [x, y, right, bottom] = known ? coveredBy(place) : coveredBy({ at: middle });
    const inside = (n, axis) => Math.min(sheet.size[axis] - 1, Math.max(0, n));
    const end = [right - 1 + step[0], bottom - 1 + step[1]].map(inside);
    const at = known ? [x + step[0], y + step[1]].map(inside) : middle;
    const seed = grow && sheet === this.map
      ? seedFor([x, y], [Math.max(x, end[0]), Math.max(y, end[1])])
      : seedFor(at);
    this.tell(sheet, grow ? end : at);
    if (seed) this.page.change({ seed: this.common(seed) });
  }

  chosen(seed, pressed) {
    if (pressed) this.page.press(seed, {});
    else this.page.point(seed, {});
  }

  // Asking and painting

  /* What the state asks of this model. */
  question() {
    const { image, seed, second, method, layer, baseline } = this.page.state;
    return {
      model: this.model,
      image,
      seed: this.own(seed) + (second && ` - ${this.own(second)}`),
      method,
      layer: layer || null,
      baseline: baseline || null,
    };
  }

  ask() {
    if (!this.places || !this.page.panels[0].places) return; // a seed is of the first one's places
    this.asked = true;
    this.answers.ask(this.question());
  }

  answered(question, answer, took) {
    const { state } = this.page;
    const settings = { ...question, layer: question.layer ?? "", baseline: question.baseline ?? "" };
    // An answer to other settings than those on the screen is not painted.
    if (["image", "method", "layer", "baseline"].some((key) => settings[key] !== state[key])) return;
    this.answer = answer;
    this.section.classList.remove("waiting");
    this.page.told(this, answer);
    this.page.repaint();
    this.page.took(took, answer.milliseconds.computed);
  }

  lost(question, message) {
    if (question.image !== this.page.state.image) return;
    this.answer = null;
    this.section.classList.remove("waiting");
    this.paint(null);
    this.page.failed(message);
  }

  /* The array of the answer, and the sheet that it belongs to. */
  get shown() {
    const { gradient, attribution, reaction } = this.answer?.arrays ?? {};
    if (reaction) return this.kind === "map" ? [reaction, this.map] : [null, null];
    const array = gradient ?? attribution;
    return array ? [array, this.input] : [null, null];
  }

  /* The scale at which the answer would be drawn by itself. */
  scale({ view, clip }) {
    const [array] = this.shown;
    if (!array) return 0;
    const numbers = VIEWS[view].quantity(array, array.planes);
    if (numbers.length === 1) return clippedAt(numbers[0], clip);
    const all = new Float64Array(numbers.reduce((sum, each) => sum + each.length, 0));
    numbers.reduce((at, each) => (all.set(each, at), at + each.length), 0);
    return clippedAt(all, clip);
  }

  /* Draw the answer; `how` is null if there is none. */
  paint(how) {
    if (this.answer && this.picture === null) return; // it is painted over the picture
    const [array, sheet] = this.shown;
    for (const each of [this.input, this.map]) if (each !== sheet) each.clear();
    if (sheet) sheet.show(array, how);
    const reaction = this.answer?.arrays.reaction;
    if (this.kind === "classes") {
      this.list.react(reaction ? reaction.planes.map((plane) => plane[0]) : null);
    }
    this.caption(how, sheet);
    if (this.pointed) this.tell(...this.pointed);
    this.section.dataset.method = this.answer?.method ?? "";
    this.section.dataset.answer = this.answer?.seed ?? "";
  }

  fade(share) {
    for (const sheet of [this.input, this.map]) sheet.fade(share);
  }

  /* The scale bars. */
  caption(how, sheet) {
    const [input, output] = this.captions;
    for (const [caption, drawn] of [[input, sheet === this.input], [output, sheet === this.map]]) {
      caption.bar.classList.toggle("empty", !drawn);
      if (drawn) drawScale(caption.bar, how);
    }
    if (sheet !== this.map && this.range) {
      output.bar.classList.remove("empty");
      drawScale(output.bar, { view: "gray", signed: false, scale: this.range[1], palette: how?.palette });
      output.bar.querySelector("span").textContent = short(this.range[0]);
    }
    const words = how ? `${how.view} of ${this.answer.seed}, scale ${short(how.scale)}` : "no map";
    const image = this.page.names[this.page.state.image];
    this.input.map.setAttribute("aria-label",
      `Image ${image}: ${sheet === this.input ? words : "no map"}`);
    this.map.map.setAttribute("aria-label",
      `Output: ${sheet === this.map ? words : "point at a pixel to see what it looks at"}`);
  }

  /* Everything that is known at once: pins, regions and structural boxes. */
  mark() {
    if (!this.places) return;
    const { state } = this.page;
    const [input, output] = this.captions;
    const inside = [];
    const outside = [];
    const told = [];
    const pins = [null, null];
    let touched = null;
    [state.seed, state.second].forEach((seed, n) => {
      const place = placeIn(this.own(seed));
      if (!place) return;
      const name = n ? "second" : "first";
      if (place.kind === "reacts") touched = place.at;
      if (place.kind === "pixel") pins[n] = place.at;
      if (place.kind === "region") outside.push([place.at, name]);
      if (place.kind === "pixel" || place.kind === "region") {
        const box = this.structuralBox(coveredBy(place));
        if (box) inside.push([box, name]);
        if (box) told.push(`sees ${box[2] - box[0]}×${box[3] - box[1]} pixels, from ${box[0]}, ${box[1]}`);
      }
    });
    if (this.kind === "boxes") {
      const asked = this.answer?.detection?.place ?? placeIn(state.seed)?.at[0];
      for (const { place, box_in_input: box } of this.output.detections) {
        if (box) inside.push([box, place === asked ? "first" : "found"]);
      }
    }
    this.input.mark(inside);
    this.map.mark(outside);
    if (this.kind === "map") {
      this.map.pin(this.first, pins[0]);
      this.map.pin(this.second, pins[1]);
    }
    for (const pin of [this.first, this.touched]) pin.classList.toggle("fixed", state.pinned);
    this.input.pin(this.touched, touched);
    this.list.mark(this.seedOfRow(state.seed), state.second);
    const reason = this.kind === "map" && !this.places.fields ? this.places.reason : "";
    input.seen.textContent = told.join("; ") || reason || "";
    output.seen.textContent = touched ? `reaction to x ${touched[0]}, y ${touched[1]}`
      : state.second ? `${state.seed} − ${state.second}` : state.seed;
  }

  /* The seed of the row that is asked about; the default one is what the answer says. */
  seedOfRow(seed) {
    const { class: answer, detection } = this.answer ?? {};
    if (seed && placeIn(seed)) return seed;
    if (answer) return `class:${answer.index}`;
    return detection ? `box:${detection.place}` : seed;
  }

  structuralBox([x0, y0, x1, y1]) {
    const { fields } = this.places;
    if (!fields || !fields.x[x1 - 1] || !fields.y[y1 - 1]) return null;
    const box = [fields.x[x0][0], fields.y[y0][0], fields.x[x1 - 1][1], fields.y[y1 - 1][1]];
    return box[2] > box[0] && box[3] > box[1] ? box : null;
  }

  /* Tell the values under the pointer. */
  tell(sheet, at) {
    this.pointed = [sheet, at];
    const caption = this.captions[sheet === this.input ? 0 : 1];
    const said = [];
    const [array, drawn] = this.shown;
    if (sheet === this.map) {
      const output = this.output?.arrays.output;
      if (output) said.push(`output ${short(output.planes[0][at[1] * output.cells[2] + at[0]], 6)}`);
      if (drawn === sheet) said.push(`reaction ${this.valueOf(array, at, sheet)}`);
    } else if (drawn === sheet) said.push(this.valueOf(array, at, sheet));
    caption.value.value = `x ${at[0]}, y ${at[1]}${said.length ? ": " : ""}${said.join(", ")}`;
  }

  valueOf(array, at, sheet) {
    const here = valuesAt(array, at, sheet.size).map((value) => Float64Array.of(value));
    const { view } = this.page.state;
    return VIEWS[view].quantity(array, here).map(([number]) => short(number, 6)).join(", ");
  }
}
