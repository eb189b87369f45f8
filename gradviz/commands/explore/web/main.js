/* The page: its state, its controls, and one panel for each model. */

import { cancel, Failure, progress, session } from "./protocol.js";
import { Controls } from "./controls.js";
import { carry, settled } from "./fitting.js";
import { Panel } from "./panel.js";
import { WINNING, isOfPixels, placeIn, seedAt } from "./seeds.js";
import { DEFAULTS, hashOf, imageNamed, stateOf } from "./state.js";

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
    this.trouble = ""; // what went wrong beside the questions of the panels
    this.state = this.fromAddress();
    this.carried = null; // what the seeds belong to, while they do not fit this image yet
    this.comparing = false; // the pointer chooses the second seed
    this.saving = null; // the time since an answer is saved
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
    addEventListener("hashchange", () => this.change(this.fromAddress(), { told: true }));
    addEventListener("visibilitychange", () => this.rest());
    setInterval(() => this.watch(), SLOW);
    this.start();
    this.showProblems();
  }

  /* The state that the address bar says, as far as this page can have it. */
  fromAddress() {
    const image = imageNamed(location.hash);
    this.trouble = image === null || this.names.includes(image) ? ""
      : `The address names ${image}, which is not among the images`;
    const state = stateOf(location.hash, this.names, this.defaults);
    const possible = {
      view: (name) => Object.hasOwn(this.views, name),
      method: (name) => this.methods.some((method) => method.name === name),
      colours: (name) => this.palettes.has(name),
      scale: (text) => ["own", "shared"].includes(text) || Number(text) > 0,
      channel: (text) => /^(all|winning|\d{0,6})$/.test(text),
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
    this.took(null);
  }

  // Changes

  /* Change the state, and whatever shows it; `often` draws it once a frame, and the address has
  `told` it. */
  change(changes, { told = false, often = false } = {}) {
    const before = this.state;
    const changed = (key) => Object.hasOwn(changes, key) && changes[key] !== before[key];
    const carried = changed("image") ? carry(this) : null;
    this.state = { ...before, ...changes };
    if (!Object.keys(changes).some(changed)) return;
    if (!this.state.pinned) this.comparing = false;
    if (!told) {
      this.trouble = "";
      this.keep();
      if (changed("second")) this.turnView(before);
    }
    this.showProblems();
    if (changed("image")) {
      // Seeds from the address are of the image that it names.
      this.carried = told ? null : this.carried ?? carried;
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
    if (![seed, this.state.seed].some((each) => each === "" || each.startsWith("reacts:"))) {
      this.change({ second: seed }, { often });
    }
  }

  /* Keep the seed that is shown, while the pointer moves. */
  pin() {
    const { seed } = this.state;
    this.change({ seed: seed || this.panels[0].seedOfRow(seed), pinned: true });
  }

  /* Enter pins, lets go, or ends the choice of the second seed. */
  enter() {
    if (this.comparing && this.state.second) this.compare(false);
    else if (this.state.pinned) this.letGo();
    else this.pin();
  }

  /* Whether the pointer chooses the second seed. */
  compare(comparing) {
    this.comparing = comparing && this.state.pinned;
    this.controls.show();
  }

  letGo() {
    this.change({ pinned: false, second: "" });
    this.controls.show();
  }

  /* Choose a channel of the output, for the map and for the seed. */
  turnChannel(channel) {
    const panel = this.finest("map");
    const place = placeIn(this.state.seed);
    const carried = carry(this);
    this.state = { ...this.state, channel };
    this.keep();
    if (panel && isOfPixels(place)) {
      // The winning channel is known once the output is there.
      if (this.channel(panel) === WINNING) this.carried ??= { ...carried, winning: true };
      else this.change({ seed: seedAt(place.kind, place.at, this.channel(panel)), second: "" });
    }
    for (const each of this.panels) each.look();
    this.controls.show();
  }

  /* Go to another image of the strip. */
  go(step) {
    const image = Math.min(this.names.length - 1, Math.max(0, this.state.image + step));
    this.change({ image });
  }

  // Questions and answers

  /* True once it is known where the seeds of every panel lie. */
  get placed() {
    return this.panels.every(({ places, problems }) => places || problems.fields);
  }

  /* The panel that has the finest map, or input: the page tells seeds in its pixels. */
  finest(sheet) {
    const pixels = ({ [sheet]: { size: [w, h] } }) => w * h;
    return this.panels
      .filter(({ places, kind }) => places && (sheet === "input" || kind === "map"))
      .reduce((best, each) => (best && pixels(best) >= pixels(each) ? best : each), null);
  }

  /* The channel that a panel's seeds name: a number, "winning", or null for all. */
  channel({ channels }) {
    const { channel } = this.state;
    if (channel === "") return channels > this.session.limits.few_channels ? WINNING : null;
    return channel === "all" ? null : channel === WINNING ? channel : Number(channel);
  }

  /* Leave a channel that the first panel does not have. */
  checkChannel() {
    const [{ kind, channels }] = this.panels;
    const { channel } = this.state;
    if (channel === "" || kind === null) return;
    if (kind === "map" && channels > 1 && !(Number(channel) >= channels)) return;
    this.state = { ...this.state, channel: "" };
    for (const panel of this.panels) if (panel.places) panel.look();
  }

  /* It is known of a panel where its seeds lie, or what the model answers. */
  refreshed(panel) {
    if (panel === this.panels[0]) {
      this.checkChannel();
      this.controls.offerChannels(panel);
    }
    const found = settled(this);
    if (found) {
      const { seed, second } = this.state;
      this.carried = null;
      this.state = { ...this.state, ...found };
      if (found.seed !== seed || found.second !== second) this.ask();
    }
    this.controls.show();
    this.mark();
    for (const each of this.panels) {
      if (found && !each.asked && (this.state.seed || each.isNoMap)) each.ask();
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

  /* Say how long the last answer took, from the question to the painted map; null for none. */
  took(all, computed) {
    const time = this.footer.querySelector(".time");
    const facts = this.panels.map(({ facts }) => facts).filter(Boolean).join(" | ");
    time.value = all === null ? "" : [`${Math.round(all)} ms`, facts].filter(Boolean).join(" · ");
    time.title = all === null ? "" : `computed in ${computed.toFixed(1)} ms`;
    this.warn();
  }

  /* Show the warnings of the answers in place of progress. */
  warn() {
    this.notice(this.panels.flatMap(({ warnings }) => warnings).join("; "));
  }

  notice(text) {
    this.footer.querySelector(".notice").textContent = text;
  }

  /* Show what went wrong and still matters. */
  showProblems() {
    const all = [this.trouble, ...this.panels.flatMap(({ problems }) => Object.values(problems))];
    const text = [...new Set(all.filter(Boolean))].join("; ");
    const place = this.footer.querySelector(".problem");
    if (place.textContent !== text) place.textContent = text;
  }

  /* Show what went wrong beside the questions of the panels, until the state changes. */
  problem(text) {
    this.trouble = text;
    this.showProblems();
  }

  /* When the questions came that are under way. */
  busySince() {
    return [this.saving, ...this.panels.flatMap(({ grids, outputs, answers }) =>
      [grids.since, outputs.since, answers.since])].filter((each) => each !== null);
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

  /* A hidden tab asks about no place; what it missed is asked once it is seen again. */
  async rest() {
    if (document.hidden) {
      for (const panel of this.panels) panel.missed = panel.answers.forget() || panel.missed;
      this.cancelled = cancel().catch(() => {});
      return;
    }
    await this.cancelled;
    for (const panel of this.panels) {
      if (panel.missed) panel.ask();
      panel.missed = false;
    }
  }
}

try {
  new Page(await session());
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  document.querySelector(".problem").textContent = error.message;
}
