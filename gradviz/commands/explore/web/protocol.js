/* Questions to the server, and the arrays that it answers. */

/* A question that the server answered with one line instead of numbers. */
export class Failure extends Error {}

const GONE = "The server does not answer; start gradviz explore again and reload this page";

async function post(path, body) {
  let response;
  let content;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    content = await response.arrayBuffer(); // the connection may end in the middle
  } catch {
    throw new Failure(GONE);
  }
  const packed = response.headers.get("Content-Type")?.startsWith("application/octet-stream");
  if (response.ok && packed) return unpacked(content);
  const text = new TextDecoder().decode(content);
  if (!response.ok) throw new Failure(text);
  const answer = JSON.parse(text);
  if (answer.error) throw new Failure(answer.error.message);
  return answer;
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

/* Ask a question that no newer one replaces. */
export async function askFor(path, question) {
  const answer = await ask(path, question);
  if (answer.dropped) throw new Failure(GONE);
  return answer;
}

/* What models and images there are. */
export const session = () => post("/session", {});

/* What is under way for this tab. */
export const progress = () => post("/progress", { client: CLIENT });

/* Let the server forget which places this tab has asked about and not yet got. */
export const cancel = () => post("/cancel", { client: CLIENT });

/* Few questions under way (one, unless `most` says more) and at most one waiting, the newest. */
export class Line {
  /* answered(question, answer, begun) or failed(question, message) is called for each question that
  is not dropped; `begun` is the time when it came. */
  constructor(path, answered, failed, most = 1) {
    Object.assign(this, { path, answered, failed, most, waiting: null, sent: new Set() });
  }

  /* When the oldest question came that is under way; null if there is none. */
  get since() {
    return this.sent.size ? Math.min(...[...this.sent].map(({ begun }) => begun)) : null;
  }

  ask(question) {
    this.waiting = { question, begun: performance.now() };
    if (this.sent.size < this.most) this.work();
  }

  /* Drop the question that waits; true if one waited or is under way. */
  forget() {
    const busy = this.waiting !== null || this.sent.size > 0;
    this.waiting = null;
    return busy;
  }

  async work() {
    while (this.waiting !== null) {
      const sent = this.waiting;
      const { question, begun } = sent;
      this.waiting = null;
      this.sent.add(sent);
      let answer = null;
      let problem = null;
      try {
        answer = await ask(this.path, question);
      } catch (error) {
        if (!(error instanceof Failure)) reportError(error);
        problem = error.message;
      }
      try {
        if (problem !== null) this.failed(question, problem);
        else if (!answer.dropped) this.answered(question, answer, begun);
      } catch (error) {
        reportError(error); // a bug; the next question is asked all the same
      }
      this.sent.delete(sent);
    }
  }
}
