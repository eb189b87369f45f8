/* One model: the image with what the output looks at, and the output with what reacts. */

import { drawBars, markPlaces, stem, valuesUnder } from "./captions.js";
import { pictureOf, rowsOf } from "./output.js";
import { Line } from "./protocol.js";
import { List } from "./list.js";
import { followKeys, followPointer } from "./pointing.js";
import { WINNING, seedAt, placeIn } from "./seeds.js";
import { Sheet } from "./sheet.js";

const NONE = "There is no detection; a lower --box-score lists more";
const UNLOADED = "The picture of this image could not be loaded";

export class Panel {
  constructor(page, model, section) {
    Object.assign(this, { page, model, section });
    this.places = this.output = this.answer = null; // of /fields, /output and /ask
    this.picture = null; // of the image; false if it could not be loaded
    this.loading = null; // the picture that is loaded
    this.range = null; // the least and the largest number of the map that is drawn
    this.asked = false; // about this image, with the present seed
    this.missed = false; // a question came while the tab was hidden
    this.pointed = null; // the sheet and the pixel under the pointer
    this.problems = {}; // one line for each kind of question that failed
    this.warnings = []; // of the answer
    section.querySelector("h2").textContent = stem(page.models[model].name);
    const [input, answer] = section.querySelectorAll("figure");
    this.input = new Sheet(input.querySelector(".stage"));
    this.map = new Sheet(answer.querySelector(".stage"));
    this.captions = [input, answer].map((figure) => ({
      bar: figure.querySelector(".bar"),
      value: figure.querySelector(".value"),
      seen: figure.querySelector(".seen"),
    }));
    this.list = new List(answer.querySelector(".list"), (...of) => this.chosen(...of));
    [this.first, this.second] = answer.querySelectorAll(".pin");
    this.touched = input.querySelector(".pin");
    this.grids = new Line("/fields", (...of) => this.placed(...of), (...of) => this.unplaced(...of));
    // A newer one lets the server drop the one that it works on: a large output takes seconds.
    this.outputs = new Line("/output", (...of) => this.opened(...of), (...of) => this.unopened(...of), 2);
    this.answers = new Line("/ask", (...of) => this.answered(...of), (...of) => this.unanswered(...of));
    for (const follow of [followPointer, followKeys]) {
      follow(this, this.map, (at, end) => this.seedOver(at, end));
      follow(this, this.input, (at) => this.seedUnder(at));
    }
  }

  // What the model answers for an image

  /* Show the image that the state names: its picture and its places come first, side by side. */
  open() {
    const { image } = this.page.state;
    this.picture = this.places = this.output = this.answer = this.range = null;
    this.asked = false;
    this.problems = {};
    this.warnings = [];
    this.section.classList.add("opening"); // what is drawn is another image
    this.section.dataset.answer = "";
    drawBars(this, null, null);
    for (const { seen } of this.captions) seen.textContent = "";
    this.tellNothing();
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
    if (!loaded && !this.problems.fields) this.failed("picture", UNLOADED);
    if (this.places) this.lay();
  }

  placed(question, places) {
    if (question.image !== this.page.state.image) return;
    this.places = places;
    this.lay();
    this.list.element.hidden = true;
    this.page.refreshed();
    this.look();
  }

  unplaced(question, message) {
    if (question.image !== this.page.state.image) return;
    for (const sheet of [this.input, this.map]) sheet.empty();
    for (const pin of [this.first, this.second, this.touched]) pin.hidden = true;
    this.map.stage.hidden = this.list.element.hidden = true;
    this.section.classList.remove("opening");
    this.problems = {};
    this.failed("fields", message);
    this.page.refreshed();
  }

  failed(kind, message) {
    this.problems[kind] = message;
    this.page.showProblems();
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
    if (picture === null) return;
    this.section.classList.remove("opening");
    this.page.repaint();
  }

  /* The channel of the output that is drawn. */
  get drawn() {
    const { channel } = this.page.state;
    if (channel === "") return null; // the server chooses
    if (channel === WINNING) return WINNING;
    return channel === "all" ? 0 : Number(channel);
  }

  /* Ask what the model answers; the map is drawn of the channel that is chosen. */
  look() {
    const { image } = this.page.state;
    this.outputs.ask({ image, model: this.model, channel: this.drawn });
  }

  isOld({ image, channel }) {
    return image !== this.page.state.image || channel !== this.drawn;
  }

  opened(question, output) {
    if (this.isOld(question) || !this.places) return;
    this.output = output;
    this.failed("output", "");
    // Channels are whole numbers, which travel in half precision as well.
    output.arrays.winner?.planes.forEach((plane) => plane.set(plane.map(Math.round)));
    const isMap = output.kind === "map";
    this.map.stage.classList.remove("coming");
    this.map.stage.hidden = !isMap;
    this.list.element.hidden = isMap;
    if (isMap) this.drawOutput();
    else {
      this.list.open(rowsOf(output));
      this.page.repaint(); // the rows may tell a reaction
    }
    if (output.kind === "boxes" && !output.detections.length) this.warnings = [NONE];
    this.page.refreshed();
  }

  unopened(question, message) {
    if (this.isOld(question)) return;
    this.failed("output", message);
    this.page.refreshed();
  }

  /* What kind of output it is; null while that is not known. */
  get kind() {
    return this.output?.kind ?? (this.places?.shape?.length === 3 ? "map" : null);
  }

  /* True once it is known what kind of output it is, or that this cannot be known. */
  get decided() {
    return Boolean(this.kind || this.hasDefault || this.problems.fields || this.problems.output);
  }

  /* True if the server has a seed for the output, as for class scores. */
  get hasDefault() {
    return this.output ? ["classes", "other"].includes(this.kind) : this.places?.shape?.length === 1;
  }

  get channels() {
    return this.output?.channels ?? this.places?.shape?.[0] ?? 1;
  }

  drawOutput() {
    const { pixels, range } = pictureOf(this.output.arrays, this.page.nonfinite);
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
    return this.output?.arrays.winner?.planes[0][y * w + x] ?? null;
  }

  /* The question of an input pixel: the detection there, or what reacts to it. */
  seedUnder([x, y]) {
    if (this.kind !== "boxes") return seedAt("reacts", [x, y]);
    const found = this.output.detections.find(({ box_in_input: box }) =>
      box && box[0] <= x + 0.5 && x + 0.5 < box[2] && box[1] <= y + 0.5 && y + 0.5 < box[3]);
    return found ? `box:${found.place}` : null;
  }

  /* A seed of the page in the pixels of this model. */
  own(seed) {
    return this.page.grid.own(this, seed);
  }

  /* A seed that was chosen here in the pixels of the page. */
  common(seed) {
    return this.page.grid.common(this, seed);
  }

  chosen(seed, event, pressed) {
    if (!this.output) return; // the rows are of another image
    if (pressed) this.page.press(seed, event);
    else this.page.point(seed, { event });
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
    if (!this.places) return;
    if (document.hidden) {
      this.missed = true;
      return;
    }
    this.asked = true;
    this.answers.ask(this.question());
  }

  answered(question, answer, begun) {
    const { state } = this.page;
    const settings = { ...question, layer: question.layer ?? "", baseline: question.baseline ?? "" };
    // An answer to other settings than those on the screen is not painted.
    if (["image", "method", "layer", "baseline"].some((key) => settings[key] !== state[key])) return;
    this.answer = answer;
    this.warnings = answer.warnings ?? [];
    this.section.classList.remove("waiting");
    this.failed("answer", "");
    this.page.repaint();
    this.page.took(performance.now() - begun, answer.milliseconds.computed);
  }

  unanswered(question, message) {
    if (question.image !== this.page.state.image) return;
    this.answer = null;
    this.warnings = [];
    this.section.classList.remove("waiting");
    this.failed("answer", message);
    this.page.repaint();
    this.page.tellFacts();
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
    drawBars(this, how, sheet);
    if (this.pointed) this.tell(...this.pointed);
    this.section.dataset.method = this.answer?.method ?? "";
    this.section.dataset.answer = this.answer?.seed ?? "";
  }

  fade(share) {
    for (const sheet of [this.input, this.map]) sheet.fade(share);
  }

  mark() {
    if (this.places) markPlaces(this);
  }

  /* The seed of the row that is asked about; the default one is what the answer says. */
  seedOfRow(seed) {
    const { class: answer, detection } = this.answer ?? {};
    if (seed && placeIn(seed)) return seed;
    if (answer) return `class:${answer.index}`;
    return detection ? `box:${detection.place}` : seed;
  }

  /* The pointer is elsewhere. */
  tellNothing() {
    this.pointed = null;
    for (const { value } of this.captions) value.value = "";
  }

  /* Tell the values under the pointer. */
  tell(sheet, at) {
    this.pointed = [sheet, at];
    this.captions[sheet === this.input ? 0 : 1].value.value = valuesUnder(this, sheet, at);
  }
}
