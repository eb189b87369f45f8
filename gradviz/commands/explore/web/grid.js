/* Where the seeds of the page lie: the pixels in which they are told, and how they get to others. */

import { WINNING, fitted, isOfPixels, placeIn, seedAt } from "./seeds.js";

const sheetOf = (seed) => (seed.startsWith("reacts:") ? "input" : "map");

export class Grid {
  constructor(page) {
    this.page = page;
    this.forget();
  }

  /* Take the seeds as they are: they are told in the pixels of what will be shown. */
  forget() {
    this.map = this.input = null; // the width and height of the map and the input of the seeds
    this.winning = false; // the seeds wait for the channel that wins
    this.left = false; // the seeds are of the image before
  }

  /* Another image comes; a seed of the winning channel will be one there too. */
  leave() {
    const { page } = this;
    const panel = page.finest("map");
    const place = placeIn(page.state.seed);
    this.left = true;
    this.winning ||= Boolean(panel) && isOfPixels(place) && page.channel(panel) === WINNING &&
      place.channel === panel.channelAt(place.at);
  }

  /* A seed of the page in the pixels of a panel. */
  own(panel, seed) {
    const sheet = sheetOf(seed);
    const lies = this[sheet] && panel.places && (sheet === "input" || panel.kind === "map");
    if (!lies) return seed;
    const found = fitted(seed, this[sheet], panel[sheet].size);
    const place = placeIn(found);
    const lacks = ({ kind, channels }) => kind !== "map" || channels <= place.channel;
    if (!isOfPixels(place) || place.channel === null || !lacks(panel)) return found;
    // The channel is that of the other model; one that none has is refused by the server.
    return this.page.panels.every(lacks) ? found : seedAt(place.kind, place.at);
  }

  /* A seed that was chosen on a panel, in the pixels of the page. */
  common(panel, seed) {
    if (!seed) return seed;
    if (isOfPixels(placeIn(seed)) && this.lacksWinner(panel)) this.winning = true;
    const size = this[sheetOf(seed)];
    return size ? fitted(seed, panel[sheetOf(seed)].size, size) : seed;
  }

  /* True once it is known where the seeds of every panel lie. */
  get known() {
    return this.page.panels.every(({ decided }) => decided);
  }

  /* True once the seeds can be asked. */
  get ready() {
    return this.known && !this.winning;
  }

  /* True while the channel that wins at a pixel is asked for and not known. */
  lacksWinner(panel) {
    const { kind, output, problems } = panel;
    return kind === "map" && this.page.channel(panel) === WINNING &&
      !output?.arrays.winner && !problems.output;
  }

  /* The seeds in the pixels of what is shown, or first ones; null while that is not known. */
  settle() {
    const { page, left } = this;
    const panel = page.finest("map") ?? page.panels.find(({ places }) => places);
    if (!this.known || !panel) return null;
    let { seed, second } = page.state;
    const to = {
      map: page.finest("map")?.map.size ?? this.map,
      input: page.finest("input")?.input.size ?? this.input,
    };
    [seed, second] = [seed, second].map((each) => {
      const sheet = sheetOf(each);
      return this[sheet] ? fitted(each, this[sheet], to[sheet]) : each;
    });
    Object.assign(this, to, { left: false });
    if (left && panel.kind === "boxes") {
      [seed, second] = [seed, second].map((each) => (isThere(panel, each) ? each : ""));
    }
    const lacking = this.lacksWinner(panel);
    if (!seed && !lacking) seed = firstSeed(panel);
    if (this.winning && !lacking) {
      this.winning = false;
      [seed, second] = [seed, second].map((each) => this.ofWinner(panel, each));
    }
    return { seed, second: seed && second };
  }

  /* A seed of pixels with the channel that wins there. */
  ofWinner(panel, seed) {
    const place = placeIn(seed);
    if (!isOfPixels(place)) return seed;
    return seedAt(place.kind, place.at, panel.channelAt(place.at));
  }
}

/* False for a detection that the panel does not list. */
function isThere(panel, seed) {
  const place = placeIn(seed);
  return place?.kind !== "box" || place.at[0] < panel.output.detections.length;
}

/* What an image is asked about first: the middle of a map, the first of the detections. */
function firstSeed(panel) {
  if (panel.kind === "map") return panel.seedOver(panel.map.size.map((side) => Math.floor(side / 2)));
  return panel.output?.detections.length ? "box:0" : ""; // of classes the server asks its default
}
