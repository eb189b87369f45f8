/* The page: its state, its controls, and one panel for each model. */

import { ask, cancel, Failure, progress, session } from "./protocol.js";
import { Controls } from "./controls.js";
import { Panel, UNLOADED } from "./panel.js";
import { WINNING, coveredBy, placeIn } from "./seeds.js";
import { DEFAULTS, hashOf, stateOf } from "./state.js";

const MANY = 4; // maps of more channels are scores of classes, of which one wins
const SETTLED = 250; // ms without a change, then the address bar follows
const SLOW = 300; // ms without an answer, then progress is told
const REACHED = ["image", "seed", "second", "method", "layer", "baseline"]; // these need a pass

class Page {
  constructor(session) {
    const { models, methods, baselines, views, nonfinite } = session;
    Object.assign(this, { session, models, methods, baselines, views, nonfinite });
    this.names = session.images.map(({ name }) => name);
    this.palettes = new Map(session.palettes.map(({ name, sequential, diverging }) =>
      [name ?? "", { sequential: tableOf(sequential), diverging: tableOf(diverging) }]));
    this.defaults = Object.freeze({
      ...DEFAULTS, clip: String(session.clip), scale: session.models.length > 1 ? "shared" : "own",
    });
    if (location.search) history.replaceState(null, "", `/${location.hash}`); // the token is used up
    this.state = this.fromAddress();
    this.comparing = false; // the pointer chooses the second seed
    this.scales = []; // of the answers that are drawn, each by itself
    this.footer = document.querySelector("footer");
    const template = document.querySelector("#panel");
    this.panels = session.models.map((_, model) => {
      const section = template.content.cloneNode(true).firstElementChild;
      document.querySelector("main").append(section);
      return new Panel(this, model, section);
    });
    document.body.classList.toggle("pair", this.panels.length > 1);
    this.controls = new Controls(this);
    addEventListener("hashchange", () => this.change(this.fromAddress(), { settled: true }));
    addEventListener("visibilitychange", () => this.rest());
    setInterval(() => this.watch(), SLOW);
    this.start();
  }

  /* The state that the address bar says, as far as this page can have it. */
  fromAddress() {
    const state = stateOf(location.hash, this.names, this.defaults);
    const possible = {
      view: (name) => Object.hasOwn(this.views, name),
      method: (name) => this.methods.some((method) => method.name === name),
      colours: (name) => this.palettes.has(name),
      scale: (text) => ["own", "shared"].includes(text) || Number(text) > 0,
      clip: isClip,
      fade: (number) => number >= 0 && number <= 1,
    };
    for (const [key, holds] of Object.entries(possible)) {
      if (!holds(state[key])) state[key] = this.defaults[key];
    }
    return state;
  }

  /* Load the image of the state. */
  start() {
    this.controls.show();
    for (const panel of this.panels) panel.open();
  }

  // Changes

  /* Change the state, and whatever shows it; `often` draws it once a frame. */
  change(changes, { settled = false, often = false } = {}) {
    const before = this.state;
    this.state = { ...before, ...changes };
    const changed = (key) => this.state[key] !== before[key];
    if (!Object.keys(this.state).some(changed)) return;
    if (!settled) this.keep();
    if (changed("second")) this.turnView(before);
    if (changed("image")) {
      this.problem("");
      this.start();
      return;
    }
    if (changed("channel")) for (const panel of this.panels) panel.look();
    if (REACHED.some(changed)) this.ask();
    else if (["view", "colours", "clip", "scale"].some(changed)) this.repaint();
    else if (changed("fade")) for (const panel of this.panels) panel.fade(this.state.fade);
    if (often) this.drawing ??= requestAnimationFrame(() => this.draw());
    else this.draw();
  }

  draw() {
    this.drawing = null;
    this.controls.show();
    this.mark();
  }

  /* A difference is drawn with its signs, unless the view has them. */
  turnView({ second, view }) {
    const { state } = this;
    if (state.second && !second && !this.views[state.view].signed) {
      this.plain = view;
      state.view = "signed";
    } else if (!state.second && this.plain) {
      if (state.view === "signed") state.view = this.plain;
      this.plain = null;
    }
  }

  /* Write the state into the address bar once it has settled. */
  keep() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      history.replaceState(null, "", hashOf(this.state, this.names, this.defaults));
    }, SETTLED);
  }

  /* The pointer is over a seed's place. */
  point(seed, { dragging = false, event = {} }) {
    const { pinned } = this.state;
    if (!seed) return;
    if (pinned && (this.comparing || (dragging && event.shiftKey))) this.subtract(seed, true);
    else if (dragging) this.change({ seed, second: "", pinned: false }, { often: true });
    else if (!pinned) this.change({ seed, second: "" }, { often: true });
  }

  /* A place was clicked, or a drag has ended there. */
  press(seed, event) {
    const { pinned, seed: before, second } = this.state;
    if (!seed) return;
    if (pinned && (this.comparing || event.shiftKey)) {
      this.subtract(seed);
      this.compare(false);
    } else if (pinned && seed === before && !second) this.change({ pinned: false });
    else this.change({ seed, second: "", pinned: true });
  }

  /* Reactions are no seeds: they cannot be subtracted. */
  subtract(seed, often = false) {
    if (![seed, this.state.seed].some((each) => each.startsWith("reacts:"))) {
      this.change({ second: seed }, { often });
    }
  }

  /* Whether the pointer chooses the second seed. */
  compare(comparing) {
    this.comparing = comparing && this.state.pinned;
    this.controls.show();
  }

  letGo() {
    this.comparing = false;
    this.change({ pinned: false, second: "" });
    this.controls.show();
  }

  /* Choose a channel of the output, for the map and for the seed. */
  turnChannel(channel) {
    const place = placeIn(this.state.seed);
    this.state = { ...this.state, channel };
    this.keep();
    for (const panel of this.panels) panel.look();
    if (place?.kind === "pixel" || place?.kind === "region") {
      const [x0, y0, x1, y1] = coveredBy(place);
      this.change({ seed: this.panels[0].seedOver([x0, y0], [x1 - 1, y1 - 1]), second: "" });
    }
    this.controls.show();
  }

  /* Go to another image of the strip. */
  go(step) {
    const image = Math.min(this.names.length - 1, Math.max(0, this.state.image + step));
    this.change({ image });
  }

  // Questions and answers

  /* The channel that a panel's seeds name: a number, "winning", or null for all. */
  channel({ channels }) {
    const { channel } = this.state;
    if (channel === "") return channels > MANY ? WINNING : null;
    return channel === "all" ? null : channel === WINNING ? channel : Number(channel);
  }

  /* A panel has the picture of this image, or what the model answers. */
  refreshed(panel) {
    if (panel === this.panels[0]) {
      this.controls.offerChannels(panel);
      const known = panel.output || this.channel(panel) !== WINNING;
      if (!this.state.seed && panel.kind === "map" && known) {
        const middle = panel.map.size.map((side) => Math.floor(side / 2));
        this.state = { ...this.state, seed: panel.seedOver(middle) };
      }
      if (!this.state.seed && panel.kind === "boxes" && panel.output.detections.length) {
        this.state = { ...this.state, seed: "box:0" };
      }
    }
    this.controls.show();
    this.mark();
    for (const each of this.panels) {
      if (!each.asked && (this.state.seed || each.isNoMap)) each.ask();
    }
    this.warn();
  }

  ask() {
    for (const panel of this.panels) panel.ask();
  }

  mark() {
    for (const panel of this.panels) panel.mark();
  }

  /* Draw every answer with the controls as they are. */
  repaint() {
    const { view, colours, clip, scale, fade } = this.state;
    const own = this.panels.map((panel) => (scale === "own" || scale === "shared" ? panel.scale({ view, clip }) : Number(scale)));
    const palette = this.palettes.get(colours) ?? this.palettes.get("");
    this.panels.forEach((panel, n) => {
      const how = {
        view, colours, palette, fade, nonfinite: this.nonfinite, signed: this.views[view].signed,
        scale: scale === "shared" ? Math.max(...own) : own[n],
      };
      panel.paint(panel.answer && how);
    });
    this.scales = own;
    this.mark();
  }

  told(panel, answer) {
    this.problem("");
    const { score, class: found, detection, parts, completeness, warnings } = answer;
    const facts = [];
    if (score !== null && score !== undefined) facts.push(`score ${short(score)}`);
    if (found) facts.push(`${found.label ?? `class ${found.index}`}` +
      (found.share === null || found.share === undefined ? "" : ` ${(100 * found.share).toFixed(1)} %`));
    if (detection) facts.push(detection.label ?? `class ${detection.index}`);
    if (completeness) facts.push(`completeness gap ${short(completeness.gap)}`);
    if (parts) facts.push(`parts ${parts}`);
    panel.facts = facts.join(" · ");
    panel.warnings = [...(warnings ?? []), ...(panel.picture === false ? [UNLOADED] : [])];
  }

  /* Say how long the last answer took, from the question to the painted map. */
  took(all, computed) {
    const time = this.footer.querySelector(".time");
    const facts = this.panels.map(({ facts }) => facts).filter(Boolean).join(" | ");
    time.value = [`${Math.round(all)} ms`, facts].filter(Boolean).join(" · ");
    time.title = `computed in ${computed.toFixed(1)} ms`;
    this.warn();
  }

  /* Show the warnings of the answers in place of progress. */
  warn() {
    this.notice(this.panels.flatMap(({ warnings }) => warnings ?? []).join("; "));
  }

  notice(text) {
    this.footer.querySelector(".notice").textContent = text;
  }

  problem(text) {
    this.footer.querySelector(".problem").textContent = text;
  }

  failed(message) {
    this.problem(message);
    this.notice("");
    this.footer.querySelector(".time").value = "";
    this.mark();
  }

  /* When the questions were sent that are under way. */
  busySince() {
    return this.panels.flatMap(({ grids, outputs, answers }) => [grids.since, outputs.since, answers.since])
      .filter((each) => each !== null);
  }

  /* Tell the progress of what takes long. */
  async watch() {
    const since = this.busySince();
    for (const { section, answers } of this.panels) {
      section.classList.toggle("waiting", performance.now() - (answers.since ?? Infinity) > SLOW);
    }
    const waited = since.length ? performance.now() - Math.min(...since) : 0;
    if (waited < SLOW || this.watching) return;
    this.watching = true;
    try {
      const { text } = await progress();
      if (!this.busySince().length) return;
      this.notice(`${text ?? "computing"} … ${(waited / 1000).toFixed(1)} s`);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
    } finally {
      this.watching = false;
    }
  }

  /* A hidden tab asks nothing. */
  rest() {
    if (!document.hidden) return;
    for (const { answers } of this.panels) answers.forget();
    cancel().catch(() => {});
  }

  // From looking to doing

  /* The commands that write what is on the screen. */
  commands() {
    const { view, clip, colours, scale } = this.state;
    const more = [["--view", view]];
    if (clip !== this.defaults.clip) more.push(["--clip", clip]);
    if (colours) more.push(["--colormap", colours]);
    if (scale !== "own") more.push(["--scale", scale === "shared" ? Math.max(...this.scales) : scale]);
    return this.panels.map(({ answer }) => answer?.command).filter(Boolean)
      .map((command) => [command, ...more.flat()].join(" "));
  }

  async copy() {
    const text = this.commands().join("\n");
    if (!text) {
      this.notice("No command writes a reaction; point at the output");
      return;
    }
    try {
      await navigator.clipboard.writeText(text);
      this.notice(`Copied: ${text}`);
    } catch {
      this.notice(text); // there is no clipboard here: the text can be marked by hand
    }
  }

  async save() {
    const { state } = this;
    const scale = { own: null, shared: Math.max(0, ...this.scales) }[state.scale];
    const look = {
      views: [state.view], clip: state.clip, colormap: state.colours || null,
      scale: scale === undefined ? Number(state.scale) : scale,
    };
    try {
      const folders = [];
      for (const panel of this.panels) {
        folders.push((await ask("/save", { ...panel.question(), ...look })).folder);
      }
      this.notice(`Saved in ${folders.join(" and ")}`);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.failed(error.message);
    }
  }
}

try {
  new Page(await session());
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  document.querySelector(".problem").textContent = error.message;
}
