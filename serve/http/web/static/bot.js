// A bot's page: start a sentence, watch several continuations being written, pick one, save or share it.
import { announce, atHandles, copy, el, faces, getJson, hue, kind, number, title, toast, tweets } from "./dom.js";
import { say } from "./stream.js";

const SEVERAL = 4;
const WAKING_MS = 1200; // without a first token, before the page says that the bot is starting
const TRIES = 3; // for each continuation
const AGAIN = [429, 500, 503]; // the errors after which a second try may succeed
const OPENINGS = ["My dream is", "I love", "The best thing about", "Today I learned"];

export function bot(view, name) {
  const leaving = new AbortController();
  const main = el("article", { className: "talk", vars: { "--hue": hue(name) } });
  view.append(el("a", { href: "/", className: "back" }, "← All bots"), main);
  document.title = `@${name} · huggingtweets`;
  getJson(`/bots/${encodeURIComponent(name)}`).then(
    (about) => leaving.signal.aborted || fill(main, about, shared(view), leaving.signal),
    (error) => main.append(el("h1", {}, error.code === 404 ? "No bot of this name is served here." : "This bot cannot be shown."),
      el("p", { className: "message" }, error.code === 404 ? "It may have been removed, or the link may be misspelled." : error.message)));
  return () => leaving.abort();
}

// The answer in a shared link; the server puts it into the page only if its signature is valid.
function shared(view) {
  const { prompt, opening, answer, signature } = view.dataset;
  if (answer !== undefined) return { prompt, opening, answer, signature };
  return new URLSearchParams(location.search).has("said") ? { refused: true } : null;
}

function fill(main, about, given, left) {
  document.title = `${title(about)} · huggingtweets`;
  const field = el("input", {
    type: "text", id: "prompt", value: given?.prompt ?? OPENINGS[0], maxLength: 280, autocomplete: "off",
    enterKeyHint: "go", dir: "auto", "data-slash": "",
  });
  const button = el("button", { className: "primary" }, "Continue");
  const hint = el("p", { className: "hint" }, `The bot writes ${SEVERAL} continuations: pick the one you like.`);
  const list = el("ol", { className: "continuations" });
  const choices = el("fieldset", {}, el("legend", { className: "unseen" }, "Continuations: pick one"), list);
  const earlier = about.sample && !given ? el("figure", { className: "earlier" },
    el("figcaption", {}, "Written by the bot when it was trained:"), el("blockquote", { className: "sample", dir: "auto" }, about.sample)) : null;
  const chips = el("p", { className: "openings" }, ...OPENINGS.map((text) =>
    el("button", { type: "button", on: { click: () => { field.value = text; ask(); } } }, `${text} …`)));
  const form = el("form", { className: "ask", on: { submit: (event) => { event.preventDefault(); running ? stop() : ask(); } } },
    el("label", { htmlFor: "prompt" }, "Start a sentence"),
    el("div", { className: "line" }, field, button), chips);
  main.append(header(about), form, hint, ...(earlier ? [earlier] : []), choices, details(about));

  let running = null;
  const actions = picked(about);
  left.addEventListener("abort", () => running?.abort());
  if (given?.refused) hint.textContent = "This link was changed or has expired, so its text is not shown.";
  else if (given) {
    hint.textContent = "Somebody shared this answer. Start a sentence of your own below.";
    const one = continuation(el("span", { className: "opening" }, given.opening), actions);
    list.append(one.item);
    one.add(given.answer);
    one.finish(given);
    one.pick();
  }

  function stop() {
    running.abort();
  }

  async function ask() {
    const prompt = field.value.trim();
    running?.abort();
    const mine = (running = new AbortController());
    history.replaceState(history.state, "", `/b/${about.name}`);
    earlier?.remove();
    const waking = setTimeout(() => { hint.textContent = `${title(about)} is starting; this takes a few seconds.`; }, WAKING_MS);
    hint.textContent = "";
    announce("The bot is writing.");
    button.textContent = "Stop";
    const all = Array.from({ length: SEVERAL }, () => continuation(el("span", { className: "prompt" }, prompt), actions));
    list.replaceChildren(...all.map((one) => one.item));
    const show = (text = "") => { clearTimeout(waking); if (running === mine) hint.textContent = text; };
    await Promise.all(all.map((one) => write(one, prompt, mine.signal, show)));
    clearTimeout(waking);
    if (running !== mine) return;
    running = null;
    button.textContent = "Again";
    const written = all.filter((one) => one.done).length;
    const reasons = new Set(all.map((one) => one.reason));
    if (written) hint.textContent = "Pick one to copy, save or share it.";
    else if (reasons.size === 1 && !mine.signal.aborted) { // the same for all of them: said once
      hint.textContent = all[0].reason;
      list.replaceChildren();
      return announce(all[0].reason);
    }
    announce(mine.signal.aborted ? "Stopped." : `${written} of ${SEVERAL} continuations are written.`);
  }

  // Writes one continuation; `show` replaces the line above all of them.
  async function write(one, prompt, signal, show) {
    for (let attempt = 1; ; attempt++) {
      try {
        for await (const event of say(about.name, prompt, signal)) {
          if (!one.begun) show();
          one.begun = true;
          if (event.generated_text === null || event.generated_text === undefined) one.add(event.token.text);
          else if (!event.generated_text.trim()) return one.fail("The bot wrote nothing.");
          else one.finish({ prompt, answer: event.generated_text, signature: event.details?.signature });
        }
        return one.done || one.fail("The answer ended early; try again.");
      } catch (error) {
        if (signal.aborted) return one.fail("Stopped.");
        if (!AGAIN.includes(error.code) || one.begun || attempt === TRIES) return one.fail(error.message);
        show(error.type === "bot_unavailable" || error.code === 500
          ? `${title(about)} does not work at the moment; trying again.`
          : `${title(about)} is busy; trying again.`);
        await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter || attempt)));
      }
    }
  }
}

function header(about) {
  return el("header", { className: "bot-head" },
    faces(about),
    el("div", { className: "who" },
      el("h1", {}, title(about), " ", el("span", { className: "kind" }, kind(about))),
      el("p", {}, `A language model trained on ${number(tweets(about))} tweets by ${atHandles(about)}. `,
        el("strong", {}, `Its texts are written by AI, not by ${about.handles.length > 1 ? "these people" : `@${about.handles[0]}`}.`))));
}

// One continuation in the list: it grows as it is written, and can be picked once it is complete.
function continuation(start, actions) {
  const words = el("span", { className: "words" });
  const choice = el("input", { type: "radio", name: "pick", disabled: true, className: "unseen" });
  const label = el("label", { dir: "auto" }, choice, start, words);
  const item = el("li", { className: "writing" }, label);
  const one = { item, done: false, begun: false, reason: "" };
  one.add = (text) => words.append(text);
  one.finish = (written) => {
    one.done = true;
    words.textContent = written.answer;
    item.className = "written";
    choice.disabled = false;
    choice.addEventListener("change", () => actions.show(item, written));
  };
  one.fail = (message) => {
    one.reason = message;
    item.className = "failed";
    label.append(el("em", {}, ` ${message}`));
  };
  one.pick = () => choice.click();
  return one;
}

// The server draws only signed answers that are at least as long as their prompt.
const drawable = ({ prompt, answer, signature }) => signature && answer.trim().length >= prompt.trim().length;

// The actions for the picked continuation; their buttons are shown below it.
function picked(about) {
  let shown;
  const button = (text, click) => el("button", { type: "button", on: { click } }, text);
  const query = () => new URLSearchParams({ prompt: shown.prompt, said: shown.answer, signature: shown.signature });
  const link = () => `${location.origin}/b/${about.name}${shown.signature ? `?${query()}` : ""}`;
  const file = `${about.name}.png`;

  async function picture() {
    const reply = await fetch(`/bots/${about.name}/card.png?${query()}`);
    if (!reply.ok) throw new Error("The picture could not be drawn");
    return reply.blob();
  }
  async function download() {
    try {
      const address = URL.createObjectURL(await picture());
      el("a", { href: address, download: file }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10000);
      toast("Picture saved");
    } catch (error) { toast(error.message); }
  }
  async function share() {
    if (!navigator.share) return copy(link(), "Link copied");
    const data = { title: `${title(about)} (${kind(about)})`, text: shown.prompt + shown.answer, url: link() };
    try {
      if (drawable(shown) && navigator.canShare?.({ files: [new File([], file, { type: "image/png" })] }))
        data.files = [new File([await picture()], file, { type: "image/png" })];
      await navigator.share(data);
    } catch (error) {
      if (error.name !== "AbortError") copy(link(), "Link copied");
    }
  }
  const save = button("Save picture", download);
  const bar = el("div", { className: "actions", role: "group", ariaLabel: "Actions for the picked text" },
    button("Copy", () => copy(shown.prompt + shown.answer, "Copied")), save, button("Share", share));
  return {
    show(item, chosen) {
      shown = chosen;
      save.hidden = !drawable(shown);
      item.append(bar);
      history.replaceState(history.state, "", link());
    },
  };
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
    el("dl", {}, ...rows.flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)])),
    el("pre", { tabIndex: 0 }, el("code", {}, code)),
    el("button", { type: "button", className: "quiet", on: { click: () => copy(code, "Command copied") } }, "Copy the command"));
}
