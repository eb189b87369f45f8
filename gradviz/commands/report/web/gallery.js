"use strict";
/* The gallery: every result as a card, and one of them at a time large. */

const PER_PAGE = 48;

/* The numbers by which results are sorted; text is compared as people count. */
const ORDERS = {
  image: (map) => map.image,
  seed: (map) => map.seed,
  score: (map) => map.score,
  scale: (map, state) => ownScale(map, state.view),
  warnings: (map) => map.warnings.length,
};

const compareText = new Intl.Collator(undefined, { numeric: true }).compare;

function compareKeys(a, b) {
  if (typeof a === "string") return compareText(a, b);
  return (a ?? -Infinity) - (b ?? -Infinity);
}

function ownScale(map, view) {
  return map.drawn ? null : map.scales[view];
}

/* For every run and seed, the largest scale of each view. */
const SHARED = new Map();
for (const map of DATA.maps) {
  for (const [view, scale] of Object.entries(map.scales ?? {})) {
    const key = JSON.stringify([map.run, map.seed, view]);
    SHARED.set(key, Math.max(SHARED.get(key) ?? 0, scale));
  }
}

function scaleOf(map, state) {
  if (map.drawn) return null;
  if (state.scale === "image") return ownScale(map, state.view);
  return SHARED.get(JSON.stringify([map.run, map.seed, state.view]));
}

/* Which results are shown, in which order. */
function chosen(maps, state) {
  const words = state.image.toLowerCase();
  const fits = (map) =>
    map.image.toLowerCase().includes(words) &&
    (state.seed === "" || map.seed === state.seed) &&
    (state.run === "" || map.run === state.run) &&
    (state.from === "" || (map.score ?? NaN) >= Number(state.from)) &&
    (state.to === "" || (map.score ?? NaN) <= Number(state.to)) &&
    (state.warned === "" || map.warnings.length > 0 === (state.warned === "with"));
  const key = ORDERS[state.sort];
  const sign = state.falling ? -1 : 1;
  return maps
    .filter(fits)
    .map((map) => [key(map, state), map])
    .sort(([a], [b]) => sign * compareKeys(a, b))
    .map(([, map]) => map);
}

/* Draw a map and its scale bar as the state says. */
async function show(map, state, canvas, bar) {
  const other = map.drawn ? Object.keys(map.drawn)[0] : "signed";
  const view = drawable(map, state.view) ? state.view : other;
  const scale = scaleOf(map, { ...state, view });
  const palette = PALETTES[map.palette];
  canvas.setAttribute(
    "aria-label",
    `${view} of ${map.image}, seed ${map.seed}` + (scale === null ? "" : `, scale ${short(scale)}`),
  );
  bar.hidden = map.drawn !== undefined;
  if (!bar.hidden) drawScale(bar, { view, signed: DATA.views[view].signed, scale, palette });
  await drawMap(canvas, map, { view, scale, fade: state.fade, palette });
}

class Gallery {
  constructor(section, maps) {
    this.section = section;
    this.maps = maps;
    this.page = 0;
    this.cards = section.querySelector(".cards");
    this.controls = section.querySelector("form");
    this.large = new Large(section.querySelector("dialog"), this);
    this.seen = new IntersectionObserver((entries) => this.draw(entries), { rootMargin: "200px" });
    this.controls.addEventListener("input", ({ target }) => {
      // Another look at the same results stays on their page.
      this.refresh(["view", "scale", "fade"].includes(target.name) ? this.page : 0);
    });
    this.controls.addEventListener("submit", (event) => event.preventDefault());
    section.querySelector(".pager").addEventListener("click", (event) => {
      const step = event.target.dataset.step;
      if (!step) return;
      this.refresh(this.page + Number(step));
      this.cards.scrollIntoView();
    });
    this.refresh();
  }

  get state() {
    const fields = new FormData(this.controls);
    return {
      run: "",
      seed: "",
      falling: false,
      ...Object.fromEntries(fields),
      fade: Number(fields.get("fade")),
    };
  }

  /* Change one of the controls, as if by hand. */
  set(name, value) {
    this.controls.elements[name].value = value;
    this.refresh(this.page);
  }

  refresh(page = 0) {
    const state = this.state;
    this.shown = chosen(this.maps, state);
    const pages = Math.max(1, Math.ceil(this.shown.length / PER_PAGE));
    this.page = Math.min(Math.max(page, 0), pages - 1);
    const start = this.page * PER_PAGE;
    const here = this.shown.slice(start, start + PER_PAGE);
    const cards = [...this.cards.children];
    this.seen.disconnect();
    // Cards that stay are drawn again, not made again: the eye keeps its place.
    if (cards.length !== here.length || cards.some((card, n) => card.map !== here[n])) {
      this.cards.replaceChildren(...here.map((map) => this.card(map)));
    }
    for (const card of this.cards.children) this.seen.observe(card);
    this.section.querySelector(".count").textContent =
      `${this.shown.length} of ${this.maps.length} results` +
      (pages > 1 ? `, page ${this.page + 1} of ${pages}` : "");
    const [before, after] = this.section.querySelectorAll(".pager button");
    before.disabled = this.page === 0;
    after.disabled = this.page === pages - 1;
    this.section.querySelector(".pager").hidden = pages === 1;
    const percent = `${Math.round(100 * state.fade)} %`;
    this.controls.elements.fade.nextElementSibling.textContent = percent;
    this.large.refresh();
  }

  draw(entries) {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) {
        this.seen.unobserve(target);
        show(target.map, this.state, target.querySelector("canvas"), target.querySelector(".bar"));
      }
    }
  }

  card(map) {
    const canvas = make("canvas", { role: "img", className: "map", width: 1, height: 1 });
    shape(canvas, canvasSize(map));
    const open = make("button", { type: "button", title: "Open large" }, canvas);
    if (map.marks.length) {
      const places = drawing("svg", { class: "places", "aria-hidden": "true" });
      drawMarks(places, map.marks, map.size);
      const mat = make("span", { className: "mat" }, canvas, places);
      shape(canvas, canvasSize(map), mat);
      open.replaceChildren(mat);
    }
    open.addEventListener("click", () => this.large.open(map));
    const lines = [
      make("bdi", { className: "image", title: map.image }, map.image),
      make("span", { className: "seed" }, make("bdi", {}, map.seed)),
      make("span", { className: "score" }, `score ${short(map.score)}`),
    ];
    const taken = map.answer ?? map.detection;
    if (taken) lines.push(make("bdi", { className: "answer" }, taken.short));
    if (this.controls.elements.run) {
      lines.push(make("bdi", { className: "run" }, map.run));
    }
    if (map.warnings.length) {
      lines.push(make("span", { className: "warned", title: map.warnings.join("\n") },
        `⚠ ${map.warnings.length} warning${map.warnings.length > 1 ? "s" : ""}`));
    }
    const readout = make("output", {}, "");
    this.hover(canvas, () => map, readout);
    const card = make("li", {}, make("figure", {}, open, makeBar(),
      make("figcaption", {}, ...lines, readout)));
    card.map = map;
    return card;
  }

  /* Tell the value under the pointer. */
  hover(canvas, mapOf, readout) {
    canvas.addEventListener("pointermove", async (event) => {
      const map = mapOf();
      const place = placeOf(canvas, map, event);
      const planes = map.drawn ? null : await planesOf(map);
      const view = drawable(map, this.state.view) ? this.state.view : "signed";
      readout.value = told(map, planes, view, place);
    });
    canvas.addEventListener("pointerleave", () => (readout.value = ""));
  }
}

/* One result, as large as the window allows. */
class Large {
  constructor(dialog, gallery) {
    this.dialog = dialog;
    this.gallery = gallery;
    this.canvas = dialog.querySelector(".stage canvas");
    this.cross = dialog.querySelector(".cross");
    this.places = dialog.querySelector(".places");
    this.bar = dialog.querySelector(".bar");
    this.readout = dialog.querySelector("output.value");
    gallery.hover(this.canvas, () => this.map, this.readout);
    dialog.addEventListener("click", (event) => {
      const { step, view, close } = event.target.dataset;
      if (event.target === dialog || close !== undefined) dialog.close();
      if (step) this.step(Number(step));
      if (view) gallery.set("view", view);
    });
    dialog.addEventListener("input", (event) => {
      if (event.target.name) gallery.set(event.target.name, event.target.value);
    });
    dialog.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("close", () => (this.map = null));
    this.canvas.addEventListener("blur", () => this.point(null));
  }

  open(map) {
    this.map = map;
    this.dialog.showModal();
    this.refresh();
  }

  /* To the next result, or the one before. */
  step(by) {
    const at = this.gallery.shown.indexOf(this.map) + by;
    if (at < 0 || at >= this.gallery.shown.length) return;
    this.map = this.gallery.shown[at];
    this.point(null);
    this.refresh();
  }

  refresh() {
    const { map, dialog } = this;
    if (!map) return;
    const state = this.gallery.state;
    dialog.querySelector("h3").replaceChildren(
      make("bdi", {}, map.image), make("bdi", { className: "seed" }, map.seed));
    for (const button of dialog.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === state.view));
      button.disabled = !drawable(map, button.dataset.view);
    }
    for (const name of ["fade", "scale"]) {
      dialog.querySelector(`[name=${name}]`).value = state[name];
    }
    dialog.querySelector("[name=fade]").disabled = !map.picture;
    const at = this.gallery.shown.indexOf(map);
    const [before, after] = dialog.querySelectorAll("[data-step]");
    before.disabled = at <= 0;
    after.disabled = at < 0 || at === this.gallery.shown.length - 1;
    dialog.querySelector(".place").textContent =
      at < 0 ? "" : `${at + 1} of ${this.gallery.shown.length}`;
    dialog.querySelector(".meaning").textContent = DATA.views[state.view].meaning;
    dialog.querySelector("dl").replaceChildren(...facts(map));
    dialog.querySelector(".warnings").replaceChildren(
      ...map.warnings.map((warning) => make("li", {}, warning)));
    shape(this.canvas, canvasSize(map), dialog.querySelector(".left"));
    drawMarks(this.places, map.marks, map.size);
    const answered = dialog.querySelector(".answered");
    answered.hidden = !map.answered?.picture;
    if (!answered.hidden) {
      const [image] = answered.children;
      image.src = document.getElementById(map.answered.picture).textContent;
      image.alt = map.answered.caption;
    }
    show(map, state, this.canvas, this.bar);
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const views = Object.keys(DATA.views);
    const on = event.target;
    if (on === this.canvas && ARROWS[event.key]) {
      this.move(ARROWS[event.key]);
    } else if (on.matches("input, select")) {
      return; // they know what arrows and letters mean
    } else if (event.key === "ArrowLeft") this.step(-1);
    else if (event.key === "ArrowRight") this.step(1);
    else if (event.key === "f" && this.map.picture) {
      this.gallery.set("fade", this.gallery.state.fade > 0.5 ? 0 : 1);
    } else if (views[Number(event.key) - 1] && drawable(this.map, views[Number(event.key) - 1])) {
      this.gallery.set("view", views[Number(event.key) - 1]);
    } else return;
    event.preventDefault();
  }

  /* Move the keyboard's place on the map by so many cells. */
  async move([right, down]) {
    const { width, height } = this.canvas;
    const { column, row } = this.at ?? { column: width >> 1, row: height >> 1 };
    this.point({
      column: Math.min(width - 1, Math.max(0, column + right)),
      row: Math.min(height - 1, Math.max(0, row + down)),
    });
    const { map } = this;
    const planes = map.drawn ? null : await planesOf(map);
    const view = drawable(map, this.gallery.state.view) ? this.gallery.state.view : "signed";
    this.readout.value = told(map, planes, view, placeAt(map, this.at.column, this.at.row));
  }

  point(at) {
    this.at = at;
    this.cross.hidden = at === null;
    if (!at) return;
    this.cross.style.left = `${(100 * (at.column + 0.5)) / this.canvas.width}%`;
    this.cross.style.top = `${(100 * (at.row + 0.5)) / this.canvas.height}%`;
  }
}

/* What a result says beside its picture. */
function facts(map) {
  const cells = map.grain > 1 ? ` in cells of ${map.grain}×${map.grain} pixels` : "";
  const rows = [
    ["run", map.run],
    ...(map.answer ? [["class", map.answer.whole]] : []),
    ...(map.answer?.share ? [["share", map.answer.share]] : []),
    ...(map.detection ? [
      ["class", map.detection.whole],
      ["score of the box", short(map.detection.score)],
      ["box", map.detection.place],
    ] : []),
    ["score ⟨v, y⟩", short(map.score, 6)],
    ["output", map.output.join("×")],
    ...(map.answered ? [["answer", map.answered.caption]] : []),
    ["input", map.size.join("×") + cells],
    ...Object.entries(map.more).map(([name, value]) => [
      name, typeof value === "number" ? short(value) : String(value)]),
    ["range", `${short(map.stats.min)} to ${short(map.stats.max)}`],
    ["mean |g|", short(map.stats.abs_mean)],
    ["zeros", `${(100 * map.stats.zero_fraction).toFixed(1)} %`],
    ["nonfinite", String(map.stats.nonfinite)],
    ...("inside" in map.stats ? [[map.detection ? "inside" : "inside the mask", short(map.stats.inside)]] : []),
  ];
  if (map.drawn) rows.push(["numbers", "not kept by the run: pictures as it drew them"]);
  else {
    rows.push(
      ["array", map.array],
      ["error of the page's numbers", `at most ${short(map.error, 2)}`],
    );
    if (!map.picture) rows.push(["input picture", "left out, see the notes"]);
  }
  return rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
}
