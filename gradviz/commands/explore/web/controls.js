/* The row of controls, the strip of images, and the keys. */

import { stem } from "./captions.js";
import { copy, save } from "./deeds.js";
import { askFor, Failure } from "./protocol.js";
import { WINNING, placeIn } from "./seeds.js";

const DEFAULT_COLOURS = "default";

export class Controls {
  constructor(page) {
    this.page = page;
    this.form = document.querySelector("form.controls");
    this.strip = document.querySelector(".strip");
    this.header = document.querySelector("header");
    this.fill();
    this.listen();
  }

  fill() {
    const { page } = this;
    const { elements } = this.form;
    const option = (value, text, title = "") => make("option", { value, title }, text);
    elements.view.append(...Object.entries(page.views).map(([name, { meaning }]) =>
      option(name, name, meaning)));
    elements.colours.append(...[...page.palettes.keys()].map((name) =>
      option(name, name || DEFAULT_COLOURS)));
    elements.scale.append(option("own", page.models.length > 1 ? "each its own" : "its own"));
    if (page.models.length > 1) elements.scale.append(option("shared", "one for both"));
    elements.scale.append(option("locked", "locked"));
    elements.method.append(...page.methods.map(({ name, meaning }) => option(name, name, meaning)));
    elements.baseline.append(option("", "default"), ...page.baselines.map((name) => option(name, name)));
    elements.layer.append(option("", "default"));
    this.strip.hidden = page.names.length < 2;
    if (!this.strip.hidden) {
      this.strip.append(...page.names.map((name, image) => {
        const button = make("button", { type: "button", title: name },
          make("img", { src: `/image?image=${image}&small=1`, alt: name, loading: "lazy" }));
        button.addEventListener("click", () => page.change({ image }));
        return button;
      }));
    }
  }

  listen() {
    const { page, form, header } = this;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", ({ target }) => this.turned(target));
    form.addEventListener("change", ({ target }) => {
      if (target.name === "seed") this.typed(target.value);
    });
    const { pin, compare, layer } = form.elements;
    pin.addEventListener("click", () =>
      page.state.pinned ? page.letGo() : page.pin());
    compare.addEventListener("click", () => {
      if (page.state.second) page.change({ second: "" });
      else page.compare(!page.comparing);
    });
    for (const kind of ["pointerdown", "focus"]) layer.addEventListener(kind, () => this.offerLayers());
    header.querySelector("[name=copy]").addEventListener("click", () => copy(page));
    header.querySelector("[name=save]").addEventListener("click", () => save(page));
    addEventListener("keydown", (event) => this.pressed(event));
  }

  /* A control was turned. */
  turned({ name, value }) {
    const { page } = this;
    const number = Number(value);
    if (name === "clip") {
      this.form.elements.clip.ariaInvalid = isClip(value) ? null : "true";
      if (isClip(value)) page.change({ clip: value });
    } else if (name === "fade") page.change({ fade: number });
    else if (name === "scale") {
      const now = Math.max(0, ...page.scales);
      if (value !== "locked") page.change({ scale: value });
      else if (now > 0) page.change({ scale: String(now) });
      else this.show(); // nothing is drawn whose scale could be locked
    } else if (name === "method") {
      const takes = this.takes(value);
      page.change({
        method: value,
        layer: takes.includes("layer") ? page.state.layer : "",
        baseline: takes.includes("baseline") ? page.state.baseline : "",
      });
    } else if (name === "channel") page.turnChannel(value);
    else if (name !== "seed") page.change({ [name]: value });
  }

  /* A seed was typed; a difference of two places becomes two pins. */
  typed(text) {
    const terms = text.trim().split(" - ");
    const places = terms.length === 2 && terms.every((term) => placeIn(term));
    const [seed, second] = places ? terms : [text.trim(), ""];
    this.page.grid.winning = false; // it is asked as it is written
    this.page.change({ seed, second, pinned: seed !== "" });
  }

  takes(method) {
    return this.page.methods.find(({ name }) => name === method)?.takes ?? [];
  }

  pressed(event) {
    const { page } = this;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") page.letGo();
    if (event.target.closest("input, select, textarea")) return;
    const views = Object.keys(page.views);
    if (/^[1-9]$/.test(event.key) && event.key <= views.length) page.change({ view: views[event.key - 1] });
    if (event.key === "f") page.change({ fade: page.state.fade > 0 ? 0 : 1 });
    const step = ARROWS[event.key]?.[0];
    if (step && !event.defaultPrevented) page.go(step);
  }

  /* The names of the layers, once they are asked for. */
  async offerLayers() {
    const { page } = this;
    if (this.offered) return;
    this.offered = true;
    try {
      const { layers } = await askFor("/layers", { model: 0, image: page.state.image });
      const { layer } = this.form.elements;
      const known = new Set(Array.from(layer.options, ({ value }) => value));
      layer.append(...layers.filter(({ name }) => !known.has(name)).map(({ name, shape }) =>
        make("option", { value: name, title: shape.join("×") }, name)));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.offered = false;
      page.problem(error.message);
    }
  }

  offerChannels({ kind, channels: all }) {
    const channels = kind === "map" ? all : 1;
    const { channel } = this.form.elements;
    const { labels } = this.page.models[0];
    const option = (value, text) => make("option", { value }, text);
    const found = [option("", channels > 1 ? "default" : "the only one")];
    if (channels > 1) {
      found.push(option(WINNING, "the winning one"), option("all", "all"));
      for (let c = 0; c < channels; c++) found.push(option(String(c), labels?.[c] ? `${c} ${labels[c]}` : String(c)));
    }
    channel.replaceChildren(...found);
    this.show();
  }

  /* Show the state. */
  show() {
    const { page, form, header } = this;
    const { state, comparing } = page;
    const { elements } = form;
    const seed = state.second ? `${state.seed} - ${state.second}` : state.seed;
    if (document.activeElement !== elements.seed) elements.seed.value = seed;
    for (const name of ["layer", "method", "baseline", "channel", "view", "colours"]) {
      const select = elements[name];
      const value = String(state[name]);
      if (![...select.options].some((option) => option.value === value)) {
        select.append(make("option", { value }, value));
      }
      if (select.value !== value) select.value = value;
    }
    const locked = !["own", "shared"].includes(state.scale);
    elements.scale.value = locked ? "locked" : state.scale;
    elements.scale.lastChild.textContent = locked ? `locked at ${short(Number(state.scale))}` : "locked";
    if (document.activeElement !== elements.clip) {
      elements.clip.value = state.clip;
      elements.clip.ariaInvalid = null;
    }
    elements.fade.value = state.fade;
    const takes = this.takes(state.method);
    elements.layer.disabled = !takes.includes("layer");
    elements.baseline.closest("label").hidden = !takes.includes("baseline");
    elements.channel.closest("label").hidden = elements.channel.options.length < 2;
    elements.pin.setAttribute("aria-pressed", state.pinned);
    elements.compare.disabled = !state.pinned;
    header.querySelector("[name=save]").disabled = page.saving !== null;
    elements.compare.setAttribute("aria-pressed", comparing || state.second !== "");
    const paths = page.models.map(({ name }) => name);
    header.querySelector(".model").textContent = paths.map(stem).join(" and ");
    header.querySelector(".model").title = paths.join(" and ");
    header.querySelector(".image").textContent = page.names[state.image];
    [...this.strip.children].forEach((button, n) => {
      if (n === state.image && button.ariaCurrent !== "true") {
        button.ariaCurrent = "true";
        button.scrollIntoView({ block: "nearest", inline: "nearest" });
      } else if (n !== state.image) button.ariaCurrent = null;
    });
  }
}
