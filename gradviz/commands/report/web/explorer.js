"use strict";
/* The explorer of receptive fields: what does an output pixel see? */

const PLAIN = 160; // the gray level where there is no picture

/* A rectangle around a box, whose right and bottom pixels belong to it. */
function frame([x0, y0, x1, y1], name) {
  return drawing("rect", { x: x0, y: y0, width: x1 - x0 + 1, height: y1 - y0 + 1, class: name });
}

/* The edges between cells inside and outside, as one path in input pixels. */
function outline(inside, [w, h], grain, [width, height]) {
  const steps = [];
  const at = (x, y) => x >= 0 && y >= 0 && x < w && y < h && inside[y * w + x];
  const X = (x) => Math.min(x * grain, width);
  const Y = (y) => Math.min(y * grain, height);
  for (let y = 0; y <= h; y++) {
    for (let x = 0; x <= w; x++) {
      if (at(x, y) !== at(x - 1, y) && y < h) steps.push(`M${X(x)} ${Y(y)}V${Y(y + 1)}`);
      if (at(x, y) !== at(x, y - 1) && x < w) steps.push(`M${X(x)} ${Y(y)}H${X(x + 1)}`);
    }
  }
  return steps.join("");
}

class Explorer {
  constructor(section, data) {
    this.section = section;
    this.data = data;
    this.palette = PALETTES[data.palette].sequential;
    this.canvas = section.querySelector("canvas");
    this.marks = section.querySelector("svg.marks");
    this.readout = section.querySelector("output");
    this.controls = section.querySelector("form");
    const { elements } = this.controls;
    data.fields.forEach(({ image, pixel }, n) =>
      elements.field.append(make("option", { value: n }, `${image}, output pixel ${pixel}`)));
    this.controls.addEventListener("submit", (event) => event.preventDefault());
    this.controls.addEventListener("input", (event) => {
      if (["x", "y"].includes(event.target.name)) {
        this.point([Number(elements.x.value), Number(elements.y.value)]);
      } else this.refresh();
    });
    this.canvas.addEventListener("pointermove", (event) => this.point(this.pixelUnder(event)));
    this.canvas.addEventListener("pointerdown", (event) => this.point(this.pixelUnder(event)));
    this.canvas.addEventListener("keydown", (event) => {
      const step = ARROWS[event.key];
      if (!step) return;
      event.preventDefault();
      this.point([0, 1].map((axis) => this.at[axis] + step[axis]));
    });
    this.refresh();
  }

  get field() {
    return this.data.fields[Number(this.controls.elements.field.value)];
  }

  /* The boxes that were measured, if they are of inputs of this size. */
  async boxes() {
    const { boxes } = this.data;
    if (!boxes || String(boxes.extent) !== String(this.field.extent)) return null;
    boxes.numbers ??= new Int32Array((await inflated(boxes.data)).buffer);
    return boxes;
  }

  /* How many output pixels lie along x and y. */
  get outputSize() {
    const { boxes, geometry } = this.data;
    if (boxes && String(boxes.extent) === String(this.field.extent)) return boxes.size;
    return this.field.extent.map((length, axis) => {
      const stride = geometry.stride?.[axis];
      return stride ? Math.max(1, Math.round(length / stride)) : this.field.pixel[axis] + 1;
    });
  }

  pixelUnder(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const [columns, rows] = this.outputSize;
    return [
      Math.floor(((event.clientX - left) / width) * columns),
      Math.floor(((event.clientY - top) / height) * rows),
    ];
  }

  /* The box of an output pixel, and how it is known. */
  async boxOf([x, y]) {
    const { field, data } = this;
    const recorded = data.fields.find(
      (each) => each.image === field.image && each.pixel[0] === x && each.pixel[1] === y);
    if (recorded) return [recorded.box, "measured"];
    const boxes = await this.boxes();
    if (boxes) {
      const [columns, rows] = boxes.size;
      const box = [0, 1, 2, 3].map((n) => boxes.numbers[(n * rows + y) * columns + x]);
      return [box[0] < 0 ? null : box, "measured"];
    }
    const { size, stride, centre, period } = data.geometry;
    const ends = field.extent.map((length, axis) => {
      if (!size?.[axis]) return [0, length - 1];
      const first = Math.round(centre[axis] + [x, y][axis] * stride[axis] - size[axis] / 2);
      return [Math.max(0, first), Math.min(length - 1, first + size[axis] - 1)];
    });
    const exact = [0, 1].every((axis) => size?.[axis] && period[axis] === stride[axis]);
    return [
      [ends[0][0], ends[1][0], ends[0][1], ends[1][1]],
      exact ? "by the geometry" : "by the geometry, at most; --map measures it",
    ];
  }

  /* Look at an output pixel. */
  async point(pixel) {
    const size = this.outputSize;
    const at = pixel.map((place, axis) => Math.min(size[axis] - 1, Math.max(0, place)));
    this.at = at;
    const { elements } = this.controls;
    [elements.x.value, elements.y.value] = at;
    const [box, how] = await this.boxOf(at);
    if (this.at !== at) return;
    this.marks.querySelectorAll(".seen, .asked").forEach((mark) => mark.remove());
    const { extent } = this.field;
    const [width, height] = extent.map((length, axis) => length / size[axis]);
    this.marks.append(drawing("rect", {
      x: at[0] * width, y: at[1] * height, width, height, class: "asked",
    }));
    if (box) this.marks.append(frame(box, "seen"));
    this.readout.value = box
      ? `output pixel ${at} sees the box [${box.join(", ")}], ` +
        `${box[2] - box[0] + 1}×${box[3] - box[1] + 1}, ${how}`
      : `output pixel ${at} sees nothing`;
  }

  async refresh() {
    const { field, canvas, controls } = this;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const [, h, w] = field.cells;
    const [[energy], structural, local, picture] = await Promise.all([
      planesOf(field),
      maskOf(field.structural, w * h),
      maskOf(field.local, w * h),
      pictureOf(field.picture),
    ]);
    if (turn !== this.turn) return;
    [canvas.width, canvas.height] = [w, h];
    shape(canvas, [w, h], canvas.parentElement);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = `rgb(${PLAIN} ${PLAIN} ${PLAIN})`;
    context.fillRect(0, 0, w, h);
    if (picture) context.drawImage(picture, 0, 0, w, h);
    const pixels = context.getImageData(0, 0, w, h);
    const kind = controls.elements.show.value;
    const peak = energy.reduce((most, each) => (each > most ? each : most), 0);
    for (let i = 0; i < w * h; i++) {
      const colour = pixels.data.subarray(4 * i, 4 * i + 3);
      if (kind === "structural" && !structural[i]) colour.set(colour.map((level) => 0.3 * level));
      if (kind === "local" && !local[i]) colour.set(colour.map((level) => 0.3 * level));
      if (kind === "effective" || kind === "log") {
        const ratio = kind === "log"
          ? Math.log1p((1e5 * energy[i]) / peak) / Math.log1p(1e5)
          : Math.min(1, energy[i] / field.scale);
        colour.set(Number.isNaN(energy[i]) ? DATA.nonfinite
          : this.palette[Math.round(254 * (peak > 0 ? ratio : 0))]);
      }
    }
    context.putImageData(pixels, 0, 0);
    canvas.setAttribute("aria-label",
      `${kind} field of output pixel ${field.pixel} at ${field.image}`);
    this.marks.setAttribute("viewBox", `0 0 ${field.extent.join(" ")}`);
    this.marks.replaceChildren();
    if (controls.elements.contours.checked) {
      Object.entries(field.contours).forEach(([share, least]) => {
        const inside = Array.from(energy, (each) => each >= least - field.error);
        this.marks.append(drawing("path", {
          d: outline(inside, [w, h], field.grain, field.extent), class: `contour c${share}`,
        }));
      });
    }
    if (field.box) this.marks.append(frame(field.box, "box"));
    this.section.querySelector("dl").replaceChildren(...fieldFacts(field));
    canvas.dataset.drawn = `${controls.elements.field.value} ${kind}`;
    [controls.elements.x.max, controls.elements.y.max] = this.outputSize.map((side) => side - 1);
    this.point(field.pixel);
  }
}

/* What a field says beside its picture. */
function fieldFacts(field) {
  const sides = ["left", "top", "right", "bottom"];
  const { squares, sigma, area_4_55: area } = field.effective;
  const rows = [
    ...(field.grain > 1 ? [["drawn in cells of", `${field.grain}×${field.grain} pixels`]] : []),
    ["status", field.status],
    ...(field.lost_at.length ? [["more may matter, because of", field.lost_at.join(", ")]] : []),
    ["box", field.box ? `[${field.box.join(", ")}]` : "nothing matters"],
    ["size", field.size ? field.size.join("×") : "none"],
    ["area", `${field.area} pixels`],
    ["fill of the box", field.fill === null ? "none" : `${(100 * field.fill).toFixed(1)} %`],
    ["cut off by the border", sides.filter((_, n) => field.clipped?.[n]).join(", ") || "nowhere"],
    ["global", field.global ? `yes, through ${field.global_through}` : "no"],
    ["local area", `${field.local_area} pixels`],
    ["squares of 20, 50, 99 %", ["20", "50", "99"].map((share) => squares[share]).join(", ")],
    ["σ along x, y", sigma ? sigma.map((each) => short(each)).join(", ") : "none"],
    ["area above 4.55 % of the peak", `${area} pixels`],
  ];
  return rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
}
