// Helpers for all parts of the page. Text enters the page as text only, never as markup.

export function el(name, props = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (key === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (key === "vars") for (const [variable, set] of Object.entries(value)) node.style.setProperty(variable, set);
    else if (key in node && key !== "list") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// A bot's text without words at its end that announce a link, which training has removed: "Watch:". As the server does
// it (public_facts.py); what is signed and continued is the whole text.
export const withoutLeadIn = (text) => text.replace(/(?<=[^\p{L}\p{N}_\s,;:@#&-])\s+\p{L}[\p{L}\p{N}_'’]*(?: [\p{L}\p{N}_'’]+){0,3} ?[:→]\s*$/u, "");

export const share = (value) => `${Math.round(100 * value)} %`;

export const number = (value) => new Intl.NumberFormat("en").format(value);

// fetch, whose error without a connection is one for people to read.
export async function request(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const lost = new Error(navigator.onLine ? "The server does not answer." : "You are offline.");
    lost.code = 0;
    throw lost;
  }
}

export const getJson = (path) => json(path, { headers: { Accept: "application/json" } });

export const postJson = (path, body, signal) =>
  json(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });

async function json(path, options) {
  const reply = await request(path, options);
  if (!reply.ok) throw await problem(reply);
  return reply.json();
}

// An error with the server's message, if its reply has one.
export async function problem(reply) {
  const error = new Error(`The server answered ${reply.status}.`);
  error.code = reply.status;
  error.retryAfter = Number(reply.headers.get("Retry-After")) || 0;
  try {
    const body = (await reply.json()).error;
    error.message = body.message;
    error.type = body.type;
  } catch { /* no JSON: the message names the status */ }
  if (reply.status === 401) location.reload(); // the server shows the form that asks for a key
  return error;
}

let hiding;
export function toast(text) {
  const node = document.getElementById("toast");
  node.textContent = text;
  node.classList.add("shown");
  clearTimeout(hiding);
  hiding = setTimeout(() => node.classList.remove("shown"), 2500);
}

export function announce(text) {
  document.getElementById("status").textContent = text;
}

export async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no permission, or a page without TLS
    const field = el("textarea", { value: text, className: "unseen" });
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    if (!copied) return toast("Copying is not allowed here");
  }
  toast(done);
}

// A bot's colour: the same hue as in its pictures (pipeline/core/picture.py).
export function hue(name) {
  let sum = 0;
  for (const char of name) sum = (sum * 31 + char.codePointAt(0)) % 360;
  return (sum * 137) % 360;
}

// The people of a bot as circles: their profile pictures if the bot has them, or their initials.
export function faces(bot) {
  const shown = bot.handles.slice(0, 3);
  return el("span", { className: `faces of${shown.length}`, ariaHidden: "true" }, ...shown.map((handle) => {
    const src = `/bots/${bot.name}/pictures/${handle}.png`;
    if (bot.pictures?.includes(handle)) return el("img", { className: "face", src, alt: "", loading: "lazy" });
    const initial = named(bot, handle).match(/[\p{L}\p{N}]/u)?.[0].toUpperCase() ?? "@";
    return el("span", { className: "face", vars: { "--hue": hue(handle) } }, initial);
  }));
}

const named = (bot, handle) => bot.names?.[handle] ?? `@${handle}`; // the display name, if it is known

export const atHandles = (bot) => bot.handles.map((handle) => `@${handle}`).join(" & ");

export const title = (bot) => bot.handles.map((handle) => named(bot, handle)).join(" & ");

export const kind = (bot) => (bot.handles.length > 1 ? "AI cyborg" : "AI bot");

export const tweets = (bot) => Object.values(bot.counts ?? {}).reduce((sum, count) => sum + (count.kept ?? 0), 0);
