/* The classes or detections that a model answered, to be pointed at. */

export class List {
  constructor(element, pointed) {
    this.element = element;
    this.rows = [];
    this.pointed = pointed; // (seed, event, pressed) for a row under the pointer, or pressed
    element.addEventListener("pointerover", (event) => this.choose(event, false));
    element.addEventListener("focusin", (event) => this.choose(event, false));
    element.addEventListener("click", (event) => this.choose(event, true));
    element.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key]?.[1];
      if (!step) return;
      event.preventDefault();
      const row = event.target.closest("li");
      (step > 0 ? row.nextElementSibling : row.previousElementSibling)?.firstChild.focus();
    });
  }

  choose(event, pressed) {
    const row = event.target.closest("button");
    if (row) this.pointed(row.dataset.seed, event, pressed);
  }

  /* Show rows of { seed, label, score, share }; a share is drawn as a bar. */
  open(rows) {
    this.rows = rows;
    this.element.replaceChildren(...rows.map(({ seed, label, share }) => {
      const part = share === null ? "" : `${(100 * share).toFixed(1)} %`;
      const row = make("button", { type: "button" },
        make("bdi", {}, label), make("span", { className: "score" }),
        make("span", { className: "percent" }, part),
        make("span", { className: "share", hidden: share === null, "aria-hidden": "true" }));
      row.dataset.seed = seed;
      return make("li", {}, row);
    }));
    this.tell(rows.map(({ score, share }) => [score, share ?? 0]));
  }

  /* Write a number into each row, and draw its bar. */
  tell(numbers) {
    [...this.element.querySelectorAll("button")].forEach((row, n) => {
      const [number, part] = numbers[n];
      row.querySelector(".score").textContent = short(number);
      const bar = row.querySelector(".share");
      bar.style.setProperty("--share", Math.abs(part));
      bar.classList.toggle("negative", part < 0);
    });
  }

  /* Mark the rows of seeds: the first and the one that is subtracted. */
  mark(first, second) {
    for (const row of this.element.querySelectorAll("button")) {
      row.setAttribute("aria-pressed", row.dataset.seed === first);
      row.classList.toggle("second", row.dataset.seed === second);
    }
  }

  /* Tell how strongly each class reacts, by index; null tells the scores again. */
  react(values) {
    const largest = values && Math.max(...values.map(Math.abs));
    this.tell(this.rows.map(({ index, score, share }) => values
      ? [values[index], largest ? values[index] / largest : 0]
      : [score, share ?? 0]));
    this.element.classList.toggle("reacting", values !== null);
  }
}
