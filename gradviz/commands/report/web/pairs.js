"use strict";
/* Comparisons: A, B and their difference, row by row. */

const PAIRS_PER_PAGE = 16;

class Pairs {
  constructor(section, data) {
    this.section = section;
    this.data = data;
    this.list = section.querySelector(".pairs");
    this.controls = section.querySelector("form");
    this.seen = new IntersectionObserver((entries) => this.draw(entries), { rootMargin: "200px" });
    this.controls.addEventListener("input", () => this.refresh(this.page));
    this.controls.addEventListener("submit", (event) => event.preventDefault());
    section.querySelector(".pager").addEventListener("click", (event) => {
      const { step } = event.target.dataset;
      if (!step) return;
      this.refresh(this.page + Number(step));
      this.list.scrollIntoView();
    });
    this.refresh(0);
  }

  refresh(page) {
    const { rows } = this.data;
    const pages = Math.max(1, Math.ceil(rows.length / PAIRS_PER_PAGE));
    this.page = page;
    this.seen.disconnect();
    const start = page * PAIRS_PER_PAGE;
    const here = rows.slice(start, start + PAIRS_PER_PAGE);
    this.list.start = start + 1;
    this.list.replaceChildren(...here.map((row) => this.row(row)));
    for (const item of this.list.children) this.seen.observe(item);
    const pager = this.section.querySelector(".pager");
    pager.hidden = pages === 1;
    pager.querySelector(".count").textContent = `page ${page + 1} of ${pages}`;
    const [before, after] = pager.querySelectorAll("button");
    before.disabled = page === 0;
    after.disabled = page === pages - 1;
  }

  row(row) {
    const title = make("p", {},
      make("strong", { className: row.ok ? "good" : "bad" }, row.ok ? "ok " : "differs "),
      row.run ? make("bdi", {}, row.run) : "", row.run ? " " : "",
      make("bdi", {}, row.image), " ", make("bdi", { className: "seed" }, row.seed),
      row.array ? ` ${row.array}` : "", row.value === null ? "" : `, ${short(row.value)}`);
    const problems = row.problems.map((problem) => make("li", {}, problem));
    const pictures = row.maps.map((map, n) => {
      const canvas = make("canvas", { role: "img", className: "map", width: 1, height: 1 });
      shape(canvas, canvasSize(map));
      const readout = make("output", {});
      canvas.addEventListener("pointermove", async (event) => {
        const place = placeOf(canvas, map, event);
        readout.value = told(map, await planesOf(map), this.viewOf(map), place);
      });
      canvas.addEventListener("pointerleave", () => (readout.value = ""));
      return make("figure", {}, canvas, makeBar(),
        make("figcaption", {}, ["A", "B", "A − B"][n], " ", readout));
    });
    const item = make("li", {}, title, make("ul", { className: "warnings" }, ...problems),
      make("div", { className: "three" }, ...pictures));
    item.row = row;
    return item;
  }

  viewOf(map) {
    const view = this.controls.elements.view.value;
    return drawable(map, view) ? view : "signed";
  }

  draw(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.seen.unobserve(target);
      const { maps, image, seed } = target.row;
      const canvases = target.querySelectorAll("figure > canvas");
      const bars = target.querySelectorAll(".bar");
      maps.forEach((map, n) => {
        const view = this.viewOf(map);
        const both = Math.max(...maps.slice(0, 2).map((each) => each.scales[view]));
        const scale = n < 2 ? both : map.scales[view];
        const palette = PALETTES[map.palette];
        drawScale(bars[n], { view, signed: DATA.views[view].signed, scale, palette });
        canvases[n].setAttribute("aria-label",
          `${["A", "B", "A minus B"][n]}: ${view} of ${image}, ${seed}, scale ${short(scale)}`);
        drawMap(canvases[n], map, { view, scale, fade: 1, palette });
      });
    }
  }
}
