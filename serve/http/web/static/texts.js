// Texts of bots: each grows while it is written; one of them is picked, to be continued, copied, saved and shared.
import { announce, copy, el, kind, title, toast } from "./dom.js";
import { answer, link, remember, shown, whole } from "./picks.js";
import { say } from "./stream.js";

const TRIES = 3; // for each text
const AGAIN = [429, 500, 503]; // the errors after which a second try may succeed
const MOST_PARTS = 6, MOST_CHARS = 1000; // of a text that can be continued: the server's limits are above them
const MORE = { min_new_tokens: 10, max_new_tokens: 80 };

// One text in a list. `start` is what stands before the bot's words; `prompt` what the bot is asked to continue.
export function text(about, prompt, start, actions) {
  const words = el("span", { className: "words" });
  const choice = el("input", { type: "radio", name: "pick", disabled: true, className: "unseen" });
  const label = el("label", { dir: "auto" }, choice, start, words);
  const item = el("li", { className: "writing" }, label);
  const one = { about, bot: about.name, item, prompt, parts: [], begun: false, reason: "" };
  choice.addEventListener("change", () => actions.show(one));
  one.begin = () => {
    one.begun = false;
    one.reason = "";
    item.className = "writing";
    words.textContent = shown(one);
  };
  one.add = (more) => words.append(more);
  one.finish = (part) => {
    if (part) one.parts.push(part);
    words.textContent = shown(one);
    item.className = "written";
    choice.disabled = false;
  };
  one.fail = (message) => {
    one.reason = message;
    if (one.parts.length) { // what was written before stays
      one.finish();
      return toast(message);
    }
    item.className = "failed";
    label.append(el("em", {}, ` ${message}`));
  };
  one.pick = () => choice.click();
  return one;
}

// Has the bot write the text, or its next part. `show` is told what the visitor should know meanwhile.
export async function write(one, parameters, signal, show) {
  const inputs = one.prompt + answer(one);
  for (let attempt = 1; ; attempt++) {
    try {
      for await (const event of say(one.bot, inputs, parameters, signal)) {
        if (!one.begun) show("");
        one.begun = true;
        if (event.generated_text === null || event.generated_text === undefined) one.add(event.token.text);
        else if (!event.generated_text.trim()) return one.fail(one.parts.length ? "The bot has nothing to add." : "The bot wrote nothing.");
        else return one.finish({ said: event.generated_text, signature: event.details?.signature });
      }
      return one.fail("The answer ended early; try again.");
    } catch (error) {
      if (signal.aborted) return one.fail("Stopped.");
      if (!AGAIN.includes(error.code) || one.begun || attempt === TRIES) return one.fail(error.message);
      show(error.type === "bot_unavailable" || error.code === 500
        ? `${title(one.about)} does not work at the moment; trying again.`
        : `${title(one.about)} is busy; trying again.`);
      await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter || attempt)));
    }
  }
}

// The server draws only signed answers that are at least as long as their prompt.
const drawable = (one) => one.parts.every((part) => part.signature) && answer(one).trim().length >= one.prompt.trim().length;

// The actions for the picked text; their buttons are shown below it. `temperature` returns the one to continue with.
export function actions(temperature, left, picked) {
  let current;
  const button = (name, click) => el("button", { type: "button", on: { click } }, name);
  const address = () => location.origin + link(current);
  const file = () => `${current.bot}.png`;

  async function continueIt() {
    const one = current;
    if (one.item.className === "writing") return;
    announce("The bot is writing.");
    one.begin();
    await write(one, { ...MORE, ...temperature() }, left, (hint) => hint && toast(hint));
    if (left.aborted) return;
    announce(one.reason || "Written.");
    if (current === one && one.item.isConnected) show(one);
  }
  async function picture() {
    const reply = await fetch(`/bots/${current.bot}/card.png?${link(current).split("?")[1]}`);
    if (!reply.ok) throw new Error("The picture could not be drawn");
    return reply.blob();
  }
  async function download() {
    try {
      const url = URL.createObjectURL(await picture());
      el("a", { href: url, download: file() }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
      toast("Picture saved");
    } catch (error) { toast(error.message); }
  }
  async function share() {
    if (!navigator.share) return copy(address(), "Link copied");
    const data = { title: `${title(current.about)} (${kind(current.about)})`, text: whole(current), url: address() };
    try {
      if (drawable(current) && navigator.canShare?.({ files: [new File([], file(), { type: "image/png" })] }))
        data.files = [new File([await picture()], file(), { type: "image/png" })];
      await navigator.share(data);
    } catch (error) {
      if (error.name !== "AbortError") copy(address(), "Link copied");
    }
  }
  const more = button("And then?", continueIt), save = button("Save picture", download);
  const bar = el("div", { className: "actions", role: "group", ariaLabel: "Actions for the picked text" },
    more, button("Copy", () => copy(whole(current), "Copied")), save, button("Share", share));

  function show(one) {
    current = one;
    save.hidden = !drawable(one);
    more.hidden = one.parts.length >= MOST_PARTS || whole(one).length > MOST_CHARS;
    if (bar.parentNode !== one.item) one.item.append(bar);
    const { bot, prompt, parts } = one;
    remember({ bot, prompt, parts });
    picked(link(one));
  }
  return { show };
}
