/* The pointer and the arrow keys on a sheet, and the places that they choose. */

import { coveredBy, placeIn } from "./seeds.js";

/* Places can be chosen once it is known what a pixel of every panel is. */
const isReady = (panel) => panel.kind !== null && panel.page.grid.known;

/* Let the pointer choose seeds on a sheet of a panel; `seedFor(at, end)` is the seed of a place. */
export function followPointer(panel, sheet, seedFor) {
  const { page } = panel;
  const canvas = sheet.map;
  const drags = sheet === panel.map;
  let start = null; // where the button went down
  let moved = false;
  const choose = (event) => {
    if (!isReady(panel)) return;
    const at = sheet.pixelUnder(event);
    if (start !== null && drags) {
      moved ||= String(at) !== String(start);
      if (moved) page.point(panel.common(seedFor(start, at)), { dragging: true, event });
    } else page.point(panel.common(seedFor(at)), { event });
  };
  canvas.addEventListener("pointerrawupdate", choose); // does not wait for the next frame
  canvas.addEventListener("pointermove", (event) => {
    choose(event);
    if (isReady(panel)) panel.tell(sheet, sheet.pixelUnder(event));
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (!isReady(panel) || event.button !== 0) return;
    start = sheet.pixelUnder(event);
    moved = false;
    if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", (event) => {
    const from = start;
    start = null;
    if (from === null || !isReady(panel)) return;
    const end = sheet.pixelUnder(event);
    const seed = moved && drags ? seedFor(from, end) : seedFor(end);
    panel.tell(sheet, end);
    page.press(panel.common(seed), event);
  });
  canvas.addEventListener("pointercancel", () => (start = null));
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") panel.tellNothing(); // a finger leaves when it is lifted
  });
}

/* Let the keys choose seeds on a sheet of a panel. */
export function followKeys(panel, sheet, seedFor) {
  const { page } = panel;
  sheet.map.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!isReady(panel) || !(step || event.key === "Enter" || event.key === " ")) return;
    event.preventDefault();
    if (!step) {
      page.enter();
      return;
    }
    const { at, end } = stepped(panel, sheet, step, event.shiftKey);
    panel.tell(sheet, end ?? at);
    const seed = panel.common(seedFor(at, end));
    if (!seed) return;
    if (page.comparing) page.subtract(seed);
    else page.change({ seed });
  });
}

/* The pixel beside the one that is asked about, or a region that is larger by one. */
function stepped(panel, sheet, step, grow) {
  const { comparing, state } = panel.page;
  const place = placeIn(panel.own((comparing && state.second) || state.seed));
  const kinds = sheet === panel.map ? ["pixel", "region"] : ["reacts"];
  const inside = (n, axis) => Math.min(sheet.size[axis] - 1, Math.max(0, n));
  const middle = sheet.size.map((side) => Math.floor(side / 2));
  const known = place && kinds.includes(place.kind);
  const [x, y, right, bottom] = coveredBy(known ? place : { at: middle });
  if (grow && sheet === panel.map) {
    const end = [right - 1 + step[0], bottom - 1 + step[1]].map(inside);
    return { at: [x, y], end: [Math.max(x, end[0]), Math.max(y, end[1])] };
  }
  return { at: known ? [x + step[0], y + step[1]].map(inside) : middle, end: null };
}
