/* A picture with a map and marks over it, all in pixels of one size. */

const PIN = 0.5; // a pin stands in the middle of its pixel
const CLOSE = 4; // a map that is so many times smaller than its picture is shown close up as well
const CLOSEUP = 192; // pixels a side

const readable = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

export class Sheet {
  constructor(stage) {
    this.stage = stage;
    this.picture = stage.querySelector(".picture");
    this.map = stage.querySelector(".map");
    [this.nothing, this.painted] = this.map.querySelectorAll("canvas");
    this.marks = stage.querySelector(".marks");
    this.closeup = stage.querySelector(".closeup");
    this.size = [1, 1];
    this.pixels = readable(new OffscreenCanvas(1, 1));
    this.shown = null;
    new ResizeObserver(() => this.lay()).observe(stage);
  }

  /* Show a picture (an image or ImageData) of this size, without a map. */
  open(picture, [W, H]) {
    this.size = [W, H];
    this.pixels = readable(new OffscreenCanvas(W, H));
    if (picture instanceof ImageData) this.pixels.putImageData(picture, 0, 0);
    else if (picture) this.pixels.drawImage(picture, 0, 0, W, H);
    this.marks.setAttribute("viewBox", `0 0 ${W} ${H}`);
    this.stage.style.setProperty("--ratio", W / H);
    this.clear();
    this.lay();
  }

  /* Draw what stays: the picture, and the map where nothing matters. A browser scales a canvas
  again in every frame, so they have no more pixels than are seen. */
  lay() {
    const { width, height } = this.stage.getBoundingClientRect();
    const seen = [width, height].map((side, axis) =>
      Math.max(1, Math.min(this.size[axis], Math.round(side * devicePixelRatio))));
    for (const canvas of [this.picture, this.nothing]) [canvas.width, canvas.height] = seen;
    this.stage.classList.toggle("coarse", Math.max(...seen) < 512 && String(seen) === String(this.size));
    const context = this.picture.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(this.pixels.canvas, 0, 0, ...seen);
    if (this.how) this.layNothing();
  }

  /* Take the map away. */
  clear() {
    this.shown = this.how = null;
    this.map.style.opacity = 0;
    delete this.map.dataset.drawn;
    this.closeup.hidden = true;
  }

  /* Show nothing at all. */
  empty() {
    this.pixels = readable(new OffscreenCanvas(...this.size));
    this.mark([]);
    this.clear();
    this.lay();
  }

  /* Paint an array over the picture; `how` has view, scale, palette, nonfinite and fade. */
  show(array, how) {
    const [W, H] = this.size;
    const { window, planes, cells } = this.fitting(array);
    const same = this.how && this.how.view === how.view && this.how.colours === how.colours;
    this.how = how;
    if (!same) this.layNothing();
    const [x0, y0, x1, y1] = window;
    const size = [x1 - x0, y1 - y0];
    this.painted.hidden = size[0] <= 0 || size[1] <= 0;
    if (!this.painted.hidden) {
      const backdrop = VIEWS[how.view].paint === overlay ? this.pixels.getImageData(x0, y0, ...size).data : null;
      const pixels = painted({ cells, whole: array.whole }, planes, size, { ...how, backdrop });
      [this.painted.width, this.painted.height] = size;
      this.painted.getContext("2d").putImageData(pixels, 0, 0);
      const places = { left: x0 / W, top: y0 / H, width: size[0] / W, height: size[1] / H };
      for (const [name, part] of Object.entries(places)) this.painted.style[name] = `${100 * part}%`;
    }
    this.shown = window;
    this.fade(how.fade);
    this.map.dataset.drawn = `${how.view} ${how.scale}`;
  }

  /* An array whose window lies in the pixels of this sheet; one of a layer's size is enlarged. */
  fitting({ planes, cells, window, size }) {
    const [W, H] = this.size;
    if (size[0] === W && size[1] === H) return { planes, cells, window };
    const [w, h] = size;
    const [x0, y0, x1] = window;
    const whole = planes.map((plane) => {
      const found = new Float32Array(w * h);
      for (let i = 0; i < plane.length; i++) {
        const along = x1 - x0;
        found[(y0 + Math.floor(i / along)) * w + x0 + (i % along)] = plane[i];
      }
      return found;
    });
    return { planes: whole, cells: [cells[0], h, w], window: [0, 0, W, H] };
  }

  /* Draw the map as if nothing mattered anywhere. */
  layNothing() {
    const context = readable(this.nothing);
    context.drawImage(this.picture, 0, 0);
    this.cover(context);
  }

  /* Cover a picture with the map where nothing matters. */
  cover(context) {
    const { width, height } = context.canvas;
    if (VIEWS[this.how.view].paint === overlay) {
      const pixels = context.getImageData(0, 0, width, height);
      const { data } = pixels;
      for (let at = 0; at < data.length; at += 4) {
        data.fill(dimmed(data[at], data[at + 1], data[at + 2]), at, at + 3);
      }
      context.putImageData(pixels, 0, 0);
      return;
    }
    const zero = { cells: [1, 1, 1], whole: true };
    const how = { ...this.how, scale: 1 };
    const [r, g, b] = painted(zero, [new Float32Array(1)], [1, 1], how).data;
    context.globalCompositeOperation = "source-atop"; // not beyond the picture's edge
    context.fillStyle = `rgb(${r} ${g} ${b})`;
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "source-over";
  }

  /* From the picture (0) to the map (1). */
  fade(share) {
    if (!this.shown) return;
    this.map.style.opacity = share;
    this.enlarge(share);
  }

  /* A small map is shown close up, in the corner that lies opposite. */
  enlarge(share) {
    const [W, H] = this.size;
    const [x0, y0, x1, y1] = this.shown;
    const side = Math.max(x1 - x0, y1 - y0);
    const { closeup } = this;
    closeup.hidden = side <= 0 || side * CLOSE > Math.max(W, H);
    if (closeup.hidden) return;
    const all = side + 2 * Math.ceil(side / 8);
    const from = [Math.round((x0 + x1 - all) / 2), Math.round((y0 + y1 - all) / 2), all, all];
    [closeup.width, closeup.height] = [CLOSEUP, CLOSEUP];
    const context = readable(closeup);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.pixels.canvas, ...from, 0, 0, CLOSEUP, CLOSEUP);
    this.cover(context);
    const place = [x0 - from[0], y0 - from[1], x1 - x0, y1 - y0];
    context.drawImage(this.painted, ...place.map((n) => (n * CLOSEUP) / all));
    context.globalAlpha = 1 - share;
    context.drawImage(this.pixels.canvas, ...from, 0, 0, CLOSEUP, CLOSEUP);
    closeup.classList.toggle("left", x0 + x1 > W);
    closeup.classList.toggle("top", y0 + y1 > H);
  }

  /* Draw rectangles [x0, y0, x1, y1[ with a class each. */
  mark(rectangles) {
    this.marks.replaceChildren(...rectangles.map(([[x0, y0, x1, y1], name]) =>
      drawing("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: name })));
  }

  /* Put a pin in the middle of a pixel; null, or one that is outside, hides it. */
  pin(pin, at) {
    pin.hidden = at === null || at.some((n, axis) => n >= this.size[axis]);
    if (pin.hidden) return;
    ["left", "top"].forEach((edge, axis) => {
      pin.style[edge] = `${(100 * (at[axis] + PIN)) / this.size[axis]}%`;
    });
  }

  /* The pixel under a pointer. */
  pixelUnder(event) {
    const { left, top, width, height } = this.map.getBoundingClientRect();
    const along = (at, start, length, pixels) =>
      Math.min(pixels - 1, Math.max(0, Math.floor(((at - start) / length) * pixels)));
    return [
      along(event.clientX, left, width, this.size[0]),
      along(event.clientY, top, height, this.size[1]),
    ];
  }
}

/* The number of each channel of an array at a pixel of a sheet of this size; 0 outside. */
export function valuesAt({ planes, cells, window, size }, [x, y], [W, H]) {
  const [, h, w] = cells;
  const column = Math.floor(((x + PIN) * size[0]) / W) - window[0];
  const row = Math.floor(((y + PIN) * size[1]) / H) - window[1];
  if (column < 0 || row < 0 || column >= w || row >= h) return planes.map(() => 0);
  return planes.map((plane) => plane[row * w + column]);
}
