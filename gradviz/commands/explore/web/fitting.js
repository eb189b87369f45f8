/* Which seeds fit the image that is shown: first ones, and those of another image or channel. */

import { WINNING, fitted, isOfPixels, placeIn, seedAt } from "./seeds.js";

/* What the seeds of the page belong to: the sizes of the image, and whether the winning channel is
meant. */
export function carry(page) {
  const panel = page.finest("map");
  const place = placeIn(page.state.seed);
  return {
    map: panel?.map.size,
    input: page.finest("input")?.input.size,
    winning: Boolean(panel) && isOfPixels(place) && page.channel(panel) === WINNING &&
      place.channel === panel.channelAt(place.at),
  };
}

/* The seeds that the page asks about: those of its state, fitted to where they were carried; null
while that is not known. */
export function settled(page) {
  const panel = page.finest("map") ?? page.panels.find(({ places }) => places);
  if (!page.placed || !panel) return null;
  const { kind, isNoMap, output, problems } = panel;
  if (!kind && !isNoMap && !problems.output) return null;
  const { seed, second } = page.state;
  const winning = kind === "map" && page.channel(panel) === WINNING;
  const known = !winning || output?.arrays.winner || problems.output;
  if (!known && (!seed || page.carried)) return null;
  if (!seed) return { seed: firstSeed(panel), second };
  if (!page.carried) return { seed, second };
  return { seed: refitted(page, panel, seed), second: second && refitted(page, panel, second) };
}

/* What an image is asked about first: the middle of a map, the first of the detections. */
function firstSeed(panel) {
  if (panel.kind === "map") return panel.seedOver(panel.map.size.map((side) => Math.floor(side / 2)));
  return panel.output?.detections.length ? "box:0" : ""; // of classes the server asks its default
}

function refitted(page, panel, seed) {
  const place = placeIn(seed);
  if (!place) return seed;
  const { kind } = place;
  if (kind === "box") return panel.output?.detections.length > place.at[0] ? seed : firstSeed(panel);
  const sheet = kind === "reacts" ? "input" : "map";
  const [from, to] = [page.carried[sheet], page.finest(sheet)?.[sheet].size];
  const there = from && to ? fitted(seed, from, to) : seed;
  if (!page.carried.winning || !isOfPixels(place)) return there;
  const { at } = placeIn(there);
  return seedAt(kind, at, panel.channelAt(at));
}
