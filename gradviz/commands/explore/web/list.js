/* The classes or detections that a model answered, to be pointed at. */

export class List {
  constructor(element, pointed) {
    this.element = element;
    this.pointed = pointed; // (seed, pinned) for a row under the pointer, or pressed
    element.addEventListener("pointerover", (event) => this.tell(event, false));
    element.addEventListener("focusin", (event) => this.tell(event, false));
    element.addEventListener("click", (event) => this.tell(event, true));
    element.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key]?.[1];
      if (!step) return;
      event.preventDefault();
      const row = event.target.closest("li");
      (step > 0 ? row.nextElementSibling : row.previousElementSibling)?.firstChild.focus();
    });
  }

  tell(event, pressed) {
    const row = event.target.closest("button");
    if (row) this.pointed(row.dataset.seed, pressed);
  }

  /* Show rows of { seed, label, score, share }; a share is drawn as a bar. */
  open(rows) {
    this.element.replaceChildren(...rows.map(({ seed, label, score, share }) => {
      const bar = make("span", { className: "share", "aria-hidden": "true" });
      bar.style.setProperty("--share", share ?? 0);
      const part = share === null || share === undefined ? "" : `${(100 * share).toFixed(1)} %`;
      const row = make("button", { type: "button" },
        make("bdi", {}, label), make("span", { className: "score" }, short(score)),
        make("span", { className: "percent" }, part), bar);
      row.dataset.seed = seed;
      return make("li", {}, row);
    }));
  }

  /* Mark the rows of seeds: the first and the one that is subtracted. */
  mark(first, second) {
    for (const row of this.element.querySelectorAll("button")) {
      row.setAttribute("aria-pressed", row.dataset.seed === first);
      row.classList.toggle("second", row.dataset.seed === second);
    }
  }

  /* Write how strongly each class reacts; null takes the numbers away. */
  react(values) {
    const largest = values && Math.max(...values.map(Math.abs));
    for (const row of this.element.querySelectorAll("button")) {
      const value = values?.[Number(row.dataset.seed.split(":")[1])];
      row.querySelector(".score").textContent =
        value === undefined ? (row.dataset.score ?? row.querySelector(".score").textContent) : short(value);
      row.style.setProperty("--reaction", value === undefined || !largest ? 0 : value / largest);
    }
  }
}
