/* The state of the page: all of it stands in the address bar. */

/* What is not in the address has these values. */
export const DEFAULTS = Object.freeze({
  image: 0,
  seed: "",
  second: "",
  pinned: false,
  method: "gradient",
  layer: "",
  baseline: "",
  channel: "",
  view: "overlay",
  colours: "",
  clip: "99",
  scale: "own", // "own", "shared" by two models, or the number at which it is locked
  fade: 1,
});

const KINDS = { number: Number, boolean: (text) => text === "yes", string: String };

const wordsOf = (hash) => new URLSearchParams(hash.replace(/^#/, ""));

/* The name of the image that an address says; null if it says none. */
export function imageNamed(hash) {
  return wordsOf(hash).get("image");
}

/* The state that an address says; images are told by name. */
export function stateOf(hash, names, defaults) {
  const state = { ...defaults };
  for (const [key, text] of wordsOf(hash)) {
    if (!Object.hasOwn(defaults, key)) continue;
    if (key === "image") state.image = Math.max(0, names.indexOf(text));
    else state[key] = KINDS[typeof defaults[key]](text);
  }
  return state;
}

/* The address of a state: what differs from the defaults. */
export function hashOf(state, names, defaults) {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (value === defaults[key] && key !== "image") continue;
    if (key === "image") words.set(key, names[value]);
    else words.set(key, typeof value === "boolean" ? "yes" : value);
  }
  return `#${words.toString().replaceAll("%3A", ":").replaceAll("%2C", ",").replaceAll("%2F", "/")}`;
}
