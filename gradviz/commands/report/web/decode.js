"use strict";
/* The page's long texts become numbers and pictures again, when they are looked at. */

const DATA = JSON.parse(document.getElementById("data").textContent);

/* How many decoded numbers are kept: about 64 MB. */
const KEPT = 8e6;
const decoded = new Map();

/* The bytes behind a text of the page. */
async function inflated(id) {
  const text = document.getElementById(id).textContent;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* The planes of a packed array, one Float64Array each; NaN where the array was not finite. */
async function planesOf(packed) {
  let planes = decoded.get(packed.data);
  if (planes) {
    decoded.delete(packed.data); // and to the end: what was used last is thrown away last
  } else {
    const bytes = await inflated(packed.data);
    const [count, height, width] = packed.cells;
    const all = count * height * width;
    const numbers = new Float64Array(all);
    for (let i = 0; i < all; i++) {
      const level = ((bytes[i] << 24) >> 16) | bytes[all + i];
      numbers[i] = level === -32768 ? NaN : level * packed.step;
    }
    const size = height * width;
    planes = Array.from({ length: count }, (_, n) => numbers.subarray(n * size, (n + 1) * size));
  }
  decoded.set(packed.data, planes);
  let held = 0;
  for (const each of decoded.values()) held += each.length * each[0].length;
  for (const [id, each] of decoded) {
    if (held <= KEPT || decoded.size === 1) break;
    held -= each.length * each[0].length;
    decoded.delete(id);
  }
  return planes;
}

/* A mask of so many cells, one truth value each. */
async function maskOf(id, count) {
  const bytes = await inflated(id);
  return Uint8Array.from({ length: count }, (_, i) => (bytes[i >> 3] >> (7 - (i & 7))) & 1);
}

/* A picture of the page, ready to be drawn; null where there is none. */
async function pictureOf(id) {
  if (id === null || id === undefined) return null;
  const image = new Image();
  image.src = document.getElementById(id).textContent;
  await image.decode();
  return image;
}
