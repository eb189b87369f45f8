/* What a model answered: a picture of its map, or the rows of a list. */

/* A map of one channel in gray, with its range; or of the winning ones, each with its hue. */
export function pictureOf({ output, winner: hues }, nonfinite) {
  const { planes: [numbers], cells: [, h, w] } = hues ?? output;
  let [low, high] = [Infinity, -Infinity];
  for (const number of numbers) {
    if (!Number.isFinite(number)) continue;
    low = Math.min(low, number);
    high = Math.max(high, number);
  }
  const pixels = new ImageData(w, h);
  const { data } = pixels;
  for (let i = 0; i < numbers.length; i++) {
    const number = numbers[i];
    const level = high > low ? (255 * (number - low)) / (high - low) : 128;
    const colour = !Number.isFinite(number) ? nonfinite
      : hues ? hueOf(number) : [level, level, level];
    for (let c = 0; c < 3; c++) data[4 * i + c] = colour[c];
    data[4 * i + 3] = 255;
  }
  return { pixels, range: hues || !(high >= low) ? null : [low, high] };
}

/* The rows of a list of classes or detections. */
export function rowsOf({ kind, classes, detections }) {
  if (kind === "classes") {
    return classes.map(({ index, label, score, share }) => (
      { seed: `class:${index}`, index, label: label ?? `class ${index}`, score, share }));
  }
  return (detections ?? []).map(({ place, label, index, score }) => (
    { seed: `box:${place}`, index, label: label ?? `class ${index}`, score, share: null }));
}

/* A colour for each channel: hues that lie far from each other. */
function hueOf(channel) {
  const hue = (channel * 137.508 + 210) % 360;
  const part = (n) => {
    const k = (n + hue / 30) % 12;
    return 255 * (0.55 - 0.25 * Math.max(-1, Math.min(k - 3, 9 - k, 1)));
  };
  return [part(0), part(8), part(4)];
}
