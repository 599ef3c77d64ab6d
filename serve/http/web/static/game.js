// The game: three texts by the bot and one tweet of its person; the visitor looks for the real one.
import { announce, atHandles, el, number, postJson } from "./dom.js";

// The game's section on a bot's page. A round begins when the section is opened.
export function game(about, left) {
  const whose = about.handles.length === 1 ? `@${about.handles[0]}` : "one of these people";
  const path = `/bots/${about.name}/game`;
  const list = el("ol", { className: "round" });
  const result = el("p", { className: "result" });
  const another = el("button", { type: "button", className: "quiet", hidden: true, on: { click: begin } }, "Another round");

  const failed = (error) => {
    if (left.aborted) return;
    say(error.message);
    another.hidden = false;
  };
  function say(words) {
    result.textContent = words;
    announce(words);
  }

  async function begin() {
    another.hidden = true;
    list.replaceChildren();
    say("The bot is writing three texts.");
    try {
      const { round, texts } = await postJson(path, {}, left);
      const choices = texts.map((text, place) =>
        el("button", { type: "button", dir: "auto", on: { click: () => pick(round, place, choices) } }, text));
      list.replaceChildren(...choices.map((choice) => el("li", {}, choice)));
      say(`Which of these did ${whose} write?`);
    } catch (error) { failed(error); }
  }

  async function pick(round, place, choices) {
    for (const choice of choices) choice.disabled = true;
    try {
      const { real, found, fooled } = await postJson(`${path}/${round}`, { pick: place }, left);
      choices.forEach((choice, i) => {
        choice.parentNode.className = i === real ? "real" : i === place ? "wrong" : "";
        choice.after(el("span", { className: "kind" }, i === real ? `By ${atHandles(about)}` : "By the bot"));
      });
      const tally = `${number(fooled.fooled)} of ${number(fooled.rounds)} visitors picked a text by the bot.`;
      say(`${found ? "Right" : `No, that was the bot; text ${real + 1} is real`}. ${tally}`);
      another.hidden = false;
    } catch (error) { failed(error); }
  }

  return el("details", { className: "game", on: { toggle: (event) => event.target.open && !list.children.length && begin() } },
    el("summary", {}, "Which one is real?"),
    el("p", {}, `Three of four texts are by the bot, and one is a tweet by ${whose} that the bot was not trained on.`),
    list, result, another);
}
