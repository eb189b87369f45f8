/* Seeds as text, as --seed takes them, and the places that they name. */

/* The choice of the channel that is largest at a pixel. */
export const WINNING = "winning";

const PLACES = {
  pixel: /^pixel:(\d+),(\d+)(?:,(\d+))?$/,
  region: /^region:(\d+),(\d+),(\d+),(\d+)(?:,(\d+))?$/,
  reacts: /^reacts:(\d+),(\d+)$/,
  class: /^class:(\d+)$/,
  box: /^box:(\d+)$/,
};

/* The kind of a seed and its numbers; null if it names no place of the page. */
export function placeIn(seed) {
  for (const [kind, pattern] of Object.entries(PLACES)) {
    const found = pattern.exec(seed);
    if (!found) continue;
    const numbers = found.slice(1).filter((text) => text !== undefined).map(Number);
    const axes = { pixel: 2, region: 4, reacts: 2, class: 1, box: 1 }[kind];
    return { kind, at: numbers.slice(0, axes), channel: numbers[axes] ?? null };
  }
  return null;
}

/* The text of a place. */
export function seedAt(kind, at, channel = null) {
  return `${kind}:${at.join(",")}` + (channel === null ? "" : `,${channel}`);
}

/* The region [x0, y0, x1, y1[ that a pixel or a region covers. */
export function coveredBy({ kind, at: [x, y, right, bottom] }) {
  return kind === "region" ? [x, y, right, bottom] : [x, y, x + 1, y + 1];
}

/* True for the places of a map. */
export function isOfPixels(place) {
  return place?.kind === "pixel" || place?.kind === "region";
}

/* The same seed, which may be a sum of places, on a map of another size. */
export function fitted(seed, [w, h], [W, H]) {
  if (w === W && h === H) return seed;
  return seed.replace(/\b(?:pixel|region|reacts):[\d,]+/g, (term) => {
    const place = placeIn(term);
    if (!place) return term;
    const { kind, at: [x, y, right, bottom], channel } = place;
    if (kind !== "region") {
      const middle = (n, from, to) => Math.floor(((n + 0.5) * to) / from);
      return seedAt(kind, [middle(x, w, W), middle(y, h, H)], channel);
    }
    const [x0, y0] = [Math.floor((x * W) / w), Math.floor((y * H) / h)];
    const end = (n, from, to, start) => Math.max(start + 1, Math.ceil((n * to) / from));
    return seedAt(kind, [x0, y0, end(right, w, W, x0), end(bottom, h, H, y0)], channel);
  });
}
