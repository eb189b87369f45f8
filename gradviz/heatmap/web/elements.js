"use strict";
/* What the pages of gradviz are made of. */

/* An element with properties and children; text stays text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/* Which way an arrow key goes, along x and y. */
const ARROWS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

/* A number as people read it, with so many digits. */
function short(number, digits = 4) {
  if (number === null || number === undefined) return "none";
  if (!Number.isFinite(number)) return "NaN or Inf";
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size >= 1e6 || size < 1e-3) {
    return number.toExponential(digits - 1).replace(/\.?0+e/, "e");
  }
  const text = number.toPrecision(digits);
  if (text.includes("e")) return String(Math.round(number));
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/* An element of a drawing in lines. */
function drawing(tag, properties, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/* Outline the places that a seed asks about over a picture of so many pixels. */
function drawMarks(svg, marks, [width, height]) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.replaceChildren(...marks.map(({ path, subtracted }) =>
    drawing("g", { class: subtracted ? "asked subtracted" : "asked" },
      drawing("path", { d: path }), drawing("path", { d: path, class: "line" }))));
}

/* A scale bar: a view's colours between the numbers that they stand for. */
function makeBar() {
  return make("div", { className: "bar" },
    make("span"), make("canvas", { "aria-hidden": "true" }), make("span"));
}

function drawScale(bar, { view, signed, scale, palette }) {
  const canvas = bar.querySelector("canvas");
  [canvas.width, canvas.height] = [255, 1];
  const colours = new ImageData(255, 1);
  const paint = VIEWS[view].paint === overlay ? sequential : VIEWS[view].paint;
  for (let i = 0; i < 255; i++) {
    const t = i / 254;
    const colour = view === "rgb" || !signed ? paint(t, palette) : paint(2 * t - 1, palette);
    colours.data.set([...colour, 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(colours, 0, 0);
  const [low, high] = bar.querySelectorAll("span");
  low.textContent = signed ? short(-scale) : "0";
  high.textContent = short(scale);
}
