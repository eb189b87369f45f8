/* From looking to doing: the commands that draw what is on the screen, and saving it. */

import { askFor, Failure } from "./protocol.js";

/* The commands that write what is on the screen. */
function commands(page) {
  const { view, clip, colours, scale } = page.state;
  const more = [["--view", view]];
  if (clip !== page.defaults.clip) more.push(["--clip", clip]);
  if (colours) more.push(["--colormap", colours]);
  if (scale !== "own") more.push(["--scale", scale === "shared" ? Math.max(...page.scales) : scale]);
  return page.panels.filter(({ answer }) => answer?.command).map(({ model, answer: { command } }) => {
    if (page.session.in_python) return command; // a call, which returns arrays
    const { out } = page.models[model];
    return [command, ...more.flat(), ...(out ? ["-o", out] : [])].join(" ");
  });
}

/* Copy the commands. */
export async function copy(page) {
  const text = commands(page).join("\n");
  if (!text) {
    const reacts = page.panels.some(({ answer }) => answer?.arrays.reaction);
    page.notice(reacts ? "No command writes a reaction; point at the output"
      : "There is no answer to copy a command for; point at the output");
    return;
  }
  try {
    await navigator.clipboard.writeText(text);
    page.notice(`Copied: ${text}`);
  } catch {
    page.notice(text); // there is no clipboard here: the text can be marked by hand
  }
}

/* Write what is on the screen into new folders, one for each model. */
export async function save(page) {
  if (page.saving !== null) return;
  const { state } = page;
  const scale = { own: null, shared: Math.max(0, ...page.scales) }[state.scale];
  const look = {
    views: [state.view], clip: state.clip, colormap: state.colours || null,
    scale: scale === undefined ? Number(state.scale) : scale,
  };
  const questions = page.panels.map((panel) => panel.question()); // as they are now
  page.saving = performance.now();
  page.notice("Saving …");
  page.controls.show();
  const folders = [];
  try {
    for (const question of questions) {
      folders.push((await askFor("/save", { ...question, ...look })).folder);
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    page.problem(error.message);
  } finally {
    page.saving = null;
    page.notice(folders.length ? `Saved in ${folders.join(" and ")}` : "");
    page.controls.show();
  }
}
