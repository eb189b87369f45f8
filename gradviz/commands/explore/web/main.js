/* The page: its state, its controls, and one panel for each model. */

import { cancel, Failure, progress, session } from "./protocol.js";
import { factsOf } from "./captions.js";
import { Controls } from "./controls.js";
import { Grid } from "./grid.js";
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
    this.grid = new Grid(this);
    this.comparing = false; // the pointer chooses the second seed
    this.saving = null; // the time since an answer is saved
    this.scales = []; // of the answers that are drawn, each by itself
    this.plain = null; // the view before a difference turned it
    this.time = null; // that the last answer took, in words
    this.settling = null; // the timer of the address bar
    this.drawing = null; // the frame in which the controls are drawn
    this.watching = false; // progress is asked for
    this.cancelled = null; // the promise that the server has dropped questions
    this.footer = document.querySelector("footer");
    const template = document.querySelector("#panel");
    this.panels = session.models.map((_, model) => {
      const section = template.content.cloneNode(true).firstElementChild;
      document.querySelector("main").append(section);
      return new Panel(this, model, section);
    });
    document.body.classList.toggle("pair", this.panels.length > 1);
    this.controls = new Controls(this);
    addEventListener("hashchange", () => this.change(this.fromAddress(), "address"));
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
      scale: (text) => text === "own" || (text === "shared" && this.models.length > 1) || Number(text) > 0,
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
    this.tellFacts();
  }

  // Changes

  /* Change the state, and whatever shows it. It is the user who changes it, a `pointer` that moves
  (it is drawn once a frame), the `address`, or the page that will `fit` the seeds. */
  change(changes, who = "user") {
    const before = this.state;
    const changed = (key) => Object.hasOwn(changes, key) && changes[key] !== before[key];
    if (who === "address") {
      clearTimeout(this.settling); // the state before is not written over it
      this.showProblems();
    }
    if (!Object.keys(changes).some(changed)) return;
    if (changed("image")) this.grid.leave();
    if (who === "address") {
      this.grid.forget(); // the seeds are of the image that it names
      this.plain = null;
    }
    this.state = { ...before, ...changes };
    if (changed("image")) this.start();
    else if (who === "address" || !this.state.seed) Object.assign(this.state, this.grid.settle());
    if (!this.state.pinned) this.comparing = false;
    if (who !== "address") {
      if (who !== "fit") this.problem("");
      if (this.state.second !== before.second) this.turnView(before);
      this.keep();
    }
    if (changed("image")) return;
    if (changed("channel")) for (const panel of this.panels) panel.look();
    if (REACHED.some(changed)) this.ask();
    else if (["view", "colours", "clip", "scale"].some(changed)) this.repaint();
    else if (changed("fade")) for (const panel of this.panels) panel.fade(this.state.fade);
    if (who === "pointer") this.drawing ??= requestAnimationFrame(() => this.draw());
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
    if (pinned && (this.comparing || (dragging && event.shiftKey))) this.subtract(seed, "pointer");
    else if (dragging) this.change({ seed, second: "", pinned: false }, "pointer");
    else if (!pinned) this.change({ seed, second: "" }, "pointer");
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
  subtract(seed, who = "user") {
    if (![seed, this.state.seed].some((each) => each === "" || each.startsWith("reacts:"))) {
      this.change({ second: seed }, who);
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
    const changes = { channel };
    if (panel && isOfPixels(place)) {
      const found = this.channel(panel, channel);
      // The winning channel is known once the output is there.
      this.grid.winning = found === WINNING;
      if (found !== WINNING) {
        Object.assign(changes, { seed: seedAt(place.kind, place.at, found), second: "" });
      }
    }
    this.change(changes);
  }

  /* Go to another image of the strip. */
  go(step) {
    const image = Math.min(this.names.length - 1, Math.max(0, this.state.image + step));
    this.change({ image });
  }

  // Questions and answers

  /* The panel that has the finest map, or input. */
  finest(sheet) {
    const pixels = ({ [sheet]: { size: [w, h] } }) => w * h;
    return this.panels
      .filter(({ places, kind }) => places && (sheet === "input" || kind === "map"))
      .reduce((best, each) => (best && pixels(best) >= pixels(each) ? best : each), null);
  }

  /* The channel that a choice stands for in a panel's seeds: a number, "winning", or null for all. */
  channel({ channels }, choice = this.state.channel) {
    if (choice === "") return channels > this.session.few_channels ? WINNING : null;
    return choice === "all" ? null : choice === WINNING ? choice : Number(choice);
  }

  /* Leave a channel that there is not. */
  checkChannel({ kind, channels }) {
    const { channel } = this.state;
    if (channel === "" || !this.grid.known) return;
    const there = kind === "map" && channels > 1 && !(Number(channel) >= channels);
    if (!there) this.change({ channel: "" }, "fit");
  }

  /* It is known of a panel where its seeds lie, or what the model answers. */
  refreshed() {
    const panel = this.finest("map") ?? this.panels[0];
    this.checkChannel(panel);
    this.controls.offerChannels(panel);
    this.change(this.grid.settle() ?? {}, "fit");
    this.askNew();
    this.controls.show();
    this.mark();
    this.warn();
  }

  /* Ask every panel anew. */
  ask() {
    for (const panel of this.panels) panel.asked = false;
    this.askNew();
  }

  /* Ask the panels that were not asked, once it is known what. */
  askNew() {
    if (!this.grid.ready) return;
    for (const panel of this.panels) {
      if (!panel.asked && (this.state.seed || panel.hasDefault)) panel.ask();
    }
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

  /* Say how long the last answer took, from the question to the painted map. */
  took(all, computed) {
    this.time = { text: `${Math.round(all)} ms`, title: `computed in ${computed.toFixed(1)} ms` };
    this.tellFacts();
  }

  /* Say what the answers say about themselves, after the time of the last. */
  tellFacts() {
    const place = this.footer.querySelector(".time");
    const answered = this.panels.filter(({ answer }) => answer);
    const { text, title } = answered.length && this.time ? this.time : { text: "", title: "" };
    const facts = answered.map(({ answer }) => factsOf(answer)).filter(Boolean).join(" | ");
    place.value = [text, facts].filter(Boolean).join(" · ");
    place.title = title;
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
