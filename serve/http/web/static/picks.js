// What a visitor has picked, newest first. It stays in this browser: localStorage, and nothing where that is not allowed.
import { el, withoutLeadIn } from "./dom.js";

const KEY = "picks";
const MOST = 60;

// A pick is {bot, prompt, parts: [{said, signature}]}. What is picked again, or has been continued, moves to the front.
export function remember(pick) {
  const begins = (other) => other.bot === pick.bot && other.prompt === pick.prompt && other.parts[0].said === pick.parts[0].said;
  write([pick, ...read().filter((other) => !begins(other))].slice(0, MOST));
}

export const forgetPicks = () => write([]);

// The link to a text; the server shows it if it has a valid signature for each part.
export function link({ bot, prompt, parts }) {
  if (!parts.every((part) => part.signature)) return `/b/${bot}`;
  return `/b/${bot}?${new URLSearchParams([["prompt", prompt], ...parts.flatMap(({ said, signature }) => [["said", said], ["signature", signature]])])}`;
}

export const answer = ({ parts }) => parts.map((part) => part.said).join("");

export const shown = ({ parts }) => parts.map((part) => withoutLeadIn(part.said)).join("");

export const whole = (text) => text.prompt + shown(text);

// A section with the picks from these bots; it is filled anew whenever it is opened.
export function picks(bots) {
  const list = el("ul", { className: "picks" });
  const clear = el("button", { type: "button", className: "quiet", on: { click: () => { write(read().filter(others)); fill(); } } }, "Clear");
  const others = (pick) => !bots.includes(pick.bot);
  function fill() {
    const mine = read().filter((pick) => !others(pick));
    list.replaceChildren(...mine.map((pick) => el("li", {}, el("a", { href: link(pick), dir: "auto" }, whole(pick)))));
    if (!mine.length) list.append(el("li", {}, "Nothing yet: pick a text above."));
    clear.hidden = !mine.length;
  }
  return el("details", { on: { toggle: fill } }, el("summary", {}, "Your picks"),
    el("p", {}, "They are kept in this browser only."), list, clear);
}

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return kept.filter((pick) => typeof pick.bot === "string" && Array.isArray(pick.parts) && pick.parts.length);
  } catch { // not allowed, or not ours
    return [];
  }
}

function write(kept) {
  try {
    localStorage.setItem(KEY, JSON.stringify(kept));
  } catch { /* not allowed, or full */ }
}
