/* Questions to the server, and the arrays that it answers. */

/* A question that the server answered with one line instead of numbers. */
export class Failure extends Error {}

const GONE = "The server does not answer; start gradviz explore again and reload this page";

async function post(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Failure(GONE);
  }
  if (!response.ok) throw new Failure(await response.text());
  if (response.headers.get("Content-Type").startsWith("application/octet-stream")) {
    return unpacked(await response.arrayBuffer());
  }
  const content = await response.json();
  if (content.error) throw new Failure(content.error.message);
  return content;
}

/* The values of all 65536 half-precision numbers, by their bits. */
const HALVES = Float32Array.from({ length: 1 << 16 }, (_, bits) => {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});

/* The header of an answer, with its arrays by name. */
function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const arrays = {};
  for (const array of header.arrays) {
    const [count, h, w] = array.shape;
    const bits = new Uint16Array(buffer, 4 + length + array.offset, count * h * w);
    const numbers = new Float32Array(bits.length);
    for (let i = 0; i < bits.length; i++) numbers[i] = HALVES[bits[i]] * array.scale;
    const planes = Array.from({ length: count }, (_, n) =>
      numbers.subarray(n * h * w, (n + 1) * h * w));
    arrays[array.name] = {
      planes, cells: array.shape, window: array.window, size: array.size, whole: true,
    };
  }
  return { ...header, arrays };
}

/* The name of this tab, so that the newest question of each tab wins among its own. */
const CLIENT = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) =>
  byte.toString(16).padStart(2, "0")).join("");
let number = 0;

/* Ask one question and wait for its answer. */
export function ask(path, question) {
  number += 1;
  return post(path, { client: CLIENT, number, ...question });
}

/* What models and images there are. */
export const session = () => post("/session", {});

/* What is under way for this tab. */
export const progress = () => post("/progress", { client: CLIENT });

/* Let the server forget what this tab has asked and not yet got. */
export const cancel = () => post("/cancel", { client: CLIENT });

/* Few questions under way (one, unless `most` says more) and at most one waiting, the newest. */
export class Line {
  /* answered(question, answer) and failed(question, error) are called in the order of asking. */
  constructor(path, answered, failed, most = 1) {
    Object.assign(this, { path, answered, failed, most, waiting: null, sent: new Set() });
  }

  /* When the oldest question was sent that is under way; null if there is none. */
  get since() {
    return this.sent.size ? Math.min(...this.sent) : null;
  }

  ask(question) {
    this.waiting = question;
    if (this.sent.size < this.most) this.work();
  }

  forget() {
    this.waiting = null;
  }

  async work() {
    while (this.waiting !== null) {
      const question = this.waiting;
      this.waiting = null;
      const begun = performance.now();
      this.sent.add(begun);
      try {
        const answer = await ask(this.path, question);
        if (!answer.dropped) this.answered(question, answer, performance.now() - begun);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        this.failed(question, error.message);
      } finally {
        this.sent.delete(begun);
      }
    }
  }
}
