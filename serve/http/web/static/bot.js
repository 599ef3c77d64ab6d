// The page of a bot, or of two side by side: start a sentence, watch it being continued, pick a text.
import { announce, atHandles, copy, el, faces, getJson, hue, kind, number, title, tweets } from "./dom.js";
import { game } from "./game.js";
import { picks } from "./picks.js";
import { actions, text, write } from "./texts.js";

const SEVERAL = 4; // texts at a time
const WAKING_MS = 1200; // without a first token, before the page says that the bot is starting
const OPENINGS = ["My dream is", "I love", "The best thing about", "Today I learned"];
const OFFERED = 3; // openings
const FOUND = 6; // bots that are offered for a comparison

// Shows the bot of one name, or those of two; returns what ends it.
export function bot(view, names) {
  const leaving = new AbortController();
  const main = el("article", { className: names.length > 1 ? "talk two" : "talk", vars: { "--hue": hue(names[0]) } },
    el("div", { className: "skeleton bot-head", ariaHidden: "true" }));
  view.append(el("a", { href: "/", className: "back" }, "← All bots"), main);
  document.title = `@${names.join(" and @")} · huggingtweets`;
  Promise.all(names.map((name) => getJson(`/bots/${encodeURIComponent(name)}`))).then(
    (bots) => leaving.signal.aborted || fill(main, bots, names.length > 1 ? null : shared(view), leaving.signal),
    (error) => main.replaceChildren(
      el("h1", {}, error.code === 404 ? "No bot of this name is served here." : "This bot cannot be shown."),
      el("p", { className: "message" }, error.code === 404 ? "It may have been removed, or the link may be misspelled." : error.message)));
  return () => leaving.abort();
}

// The text in a shared link; the server puts its answer into the page only if all its signatures are valid.
function shared(view) {
  const query = new URLSearchParams(location.search), signatures = query.getAll("signature");
  if (!query.has("said")) return null;
  if (view.dataset.answer === undefined) return { refused: true };
  const parts = query.getAll("said").map((said, i) => ({ said, signature: signatures[i] }));
  return { prompt: view.dataset.prompt, opening: view.dataset.opening, parts };
}

function fill(main, bots, given, left) {
  const [first] = bots, comparing = bots.length > 1, names = bots.map(title).join(" and ");
  const home = comparing ? `/b/${first.name}?with=${bots[1].name}` : `/b/${first.name}`;
  document.title = `${names} · huggingtweets`;
  const field = el("input", {
    type: "text", id: "prompt", value: given?.prompt ?? OPENINGS[0], maxLength: 280, autocomplete: "off",
    enterKeyHint: "go", dir: "auto", "data-slash": "",
  });
  const button = el("button", { className: "primary" }, "Continue");
  const heat = el("input", { type: "range", min: 0.4, max: 1.6, step: 0.1, value: 1, ariaLabel: "Temperature, from calm to wild" });
  const temperature = () => (heat.value === "1" ? {} : { temperature: Number(heat.value) });
  const hint = el("p", { className: "hint" }, comparing ? "Both bots continue the same sentence: pick the text you like."
    : `The bot writes ${SEVERAL} continuations: pick the one you like.`);
  const earlier = !comparing && first.sample && !given ? el("figure", { className: "earlier" },
    el("figcaption", {}, "Written by the bot when it was trained:"), el("blockquote", { className: "sample", dir: "auto" }, first.sample)) : null;
  const lists = bots.map(() => el("ol", { className: "continuations" }));
  const form = el("form", { className: "ask", on: { submit: (event) => { event.preventDefault(); running ? running.abort() : ask(); } } },
    el("label", { htmlFor: "prompt" }, "Start a sentence"),
    el("div", { className: "line" }, field, button),
    el("div", { className: "tune" },
      el("div", { className: "openings" }, ...openings(bots).map((opening) =>
        el("button", { type: "button", on: { click: () => { field.value = opening; ask(); } } }, `${opening} …`))),
      el("div", { className: "heat" }, el("span", { ariaHidden: "true" }, "calm"), heat, el("span", { ariaHidden: "true" }, "wild"))));
  main.replaceChildren(...[
    comparing ? el("h1", { className: "together" }, "Two bots, one sentence") : header(first, "h1"),
    form, hint, earlier,
    el("fieldset", { className: "sides" }, el("legend", { className: "unseen" }, "Continuations: pick one"),
      ...bots.map((about, i) => el("div", { vars: { "--hue": hue(about.name) }, className: "side" }, comparing ? header(about, "h2") : null, lists[i]))),
    picks(bots.map((about) => about.name)),
    ...(comparing ? [] : [first.fooled ? game(first, left) : null, comparison(first), details(first)]),
  ].filter((part) => part));

  let running = null;
  const bar = actions(temperature, left, (address) => comparing || history.replaceState(history.state, "", address));
  left.addEventListener("abort", () => running?.abort());
  if (given?.refused) hint.textContent = "This link was changed or has expired, so its text is not shown.";
  else if (given) {
    hint.textContent = "Somebody shared this answer. Start a sentence of your own above.";
    const one = text(first, given.prompt, el("span", { className: "opening" }, given.opening), bar);
    lists[0].append(one.item);
    one.parts = given.parts.slice(0, -1);
    one.finish(given.parts.at(-1));
    one.pick();
  }

  async function ask() {
    const prompt = field.value.trim();
    running?.abort();
    const mine = (running = new AbortController());
    history.replaceState(history.state, "", home);
    earlier?.remove();
    const waking = setTimeout(() => { hint.textContent = `${names} ${comparing ? "are" : "is"} starting; this takes a few seconds.`; }, WAKING_MS);
    hint.textContent = "";
    announce("The bot is writing.");
    button.textContent = "Stop";
    const all = bots.flatMap((about, i) => {
      const texts = Array.from({ length: SEVERAL / bots.length }, () => text(about, prompt, el("span", { className: "prompt" }, prompt), bar));
      lists[i].replaceChildren(...texts.map((one) => one.item));
      return texts;
    });
    const show = (words) => { clearTimeout(waking); if (running === mine) hint.textContent = words; };
    await Promise.all(all.map((one) => write(one, temperature(), mine.signal, show)));
    clearTimeout(waking);
    if (running !== mine) return;
    running = null;
    button.textContent = "Again";
    const written = all.filter((one) => one.parts.length).length;
    const reasons = new Set(all.map((one) => one.reason));
    if (written) hint.textContent = "Pick one to continue, copy, save or share it.";
    else if (reasons.size === 1 && !mine.signal.aborted) { // the same for all of them: said once
      hint.textContent = all[0].reason;
      for (const list of lists) list.replaceChildren();
      return announce(all[0].reason);
    }
    announce(mine.signal.aborted ? "Stopped." : `${written} of ${SEVERAL} continuations are written.`);
  }
}

// The openings that are offered: how these bots' own texts begin, from each bot in turn, then general ones.
function openings(bots) {
  const own = [0, 1, 2].flatMap((i) => bots.map((about) => about.openings?.[i])).filter((opening) => opening);
  return [...new Set([...own, ...OPENINGS])].slice(0, OFFERED);
}

function header(about, level) {
  const one = about.handles.length === 1;
  const name = [title(about), " ", el("span", { className: "kind" }, kind(about))];
  if (level === "h2") return el("header", { className: "bot-head" }, faces(about), el("h2", {}, el("a", { href: `/b/${about.name}` }, ...name)));
  return el("header", { className: "bot-head" },
    faces(about),
    el("div", { className: "who" },
      el("h1", {}, ...name),
      el("p", {}, `A language model trained on ${number(tweets(about))} tweets by ${atHandles(about)}. `,
        el("strong", {}, `Its texts are written by AI, not by ${one ? `@${about.handles[0]}` : "these people"}.`))));
}

// Search for another bot that continues the same sentence.
function comparison(about) {
  const list = el("ul", { className: "found-bots" });
  let asked = 0;
  async function find() {
    const turn = ++asked;
    try {
      const { bots } = await getJson(`/bots?${new URLSearchParams({ q: search.value.trim(), limit: FOUND + 1 })}`);
      if (turn !== asked) return; // a newer search has started
      const others = bots.filter((other) => other.name !== about.name).slice(0, FOUND);
      list.replaceChildren(...others.map((other) => el("li", {}, el("a", { href: `/b/${about.name}?with=${other.name}` }, title(other)))));
      if (!others.length) list.append(el("li", {}, "No other bot is found."));
    } catch (error) {
      list.replaceChildren(el("li", {}, error.message));
    }
  }
  const search = el("input", {
    type: "search", placeholder: "Name or handle", ariaLabel: "Search a bot to compare with", autocomplete: "off",
    autocapitalize: "none", spellcheck: false, maxLength: 100, on: { input: find },
  });
  return el("details", { on: { toggle: (event) => event.target.open && find() } },
    el("summary", {}, "Compare with another bot"), search, list);
}

// Details: the bot's numbers, and how to call it from a program.
function details(about) {
  const held = about.metrics?.held_out ?? {};
  const two = (value) => (typeof value === "number" ? value.toFixed(2) : "unknown");
  const rows = Object.entries(about.counts ?? {}).map(([handle, count]) =>
    [`Tweets of @${handle}`, `${number(count.kept ?? 0)} of ${number(count.downloaded ?? 0)}, without retweets and very short tweets`]);
  rows.push(["Loss on held-out tweets", `${two(held.loss)} nats per token (${two(held.base_loss)} before training)`]);
  rows.push(["Version", `${about.version}, fleet ${about.fleet}`]);
  const code = `curl ${location.origin}/bots/${about.name} \\\n  -d '{"inputs": "My dream is", "parameters": {"num_return_sequences": 3}}'`;
  rows.push(["Something wrong?", about.contact
    ? el("a", { href: about.contact, rel: "noreferrer" }, "Report this bot, or ask to be taken out")
    : "Ask the operator of this site to take the bot out."]);
  return el("details", {},
    el("summary", {}, "About this bot, and how to call it from a program"),
    el("dl", {}, ...rows.flatMap(([term, content]) => [el("dt", {}, term), el("dd", {}, content)])),
    el("pre", { tabIndex: 0 }, el("code", {}, code)),
    el("button", { type: "button", className: "quiet", on: { click: () => copy(code, "Command copied") } }, "Copy the command"));
}
