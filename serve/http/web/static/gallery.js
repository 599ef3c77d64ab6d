// The gallery: all bots, loaded, searched and ordered a page at a time through GET /bots.
import { announce, atHandles, el, faces, getJson, hue, kind, number, share, title, tweets } from "./dom.js";

const PAGE = 48;
const ORDERS = { name: "A to Z", tweets: "Most tweets", voice: "Most like their person" };
const ENOUGH = 9; // bots, for one of the day
const AHEAD = "800px"; // below the window: the next page is loaded before the end of this one is seen
let kept = { asked: null, bots: [], next: null, total: 0, letters: "" }; // shown last, so that going back needs no request
let daily = null; // the bot of the day, once it is loaded

export function gallery(view) {
  document.title = "huggingtweets: bots that learned from tweets";
  const given = new URLSearchParams(location.search);
  let letter = given.get("letter") ?? "";
  const search = el("input", {
    type: "search", id: "q", value: given.get("q") ?? "", placeholder: "Name or handle", autocomplete: "off",
    autocapitalize: "none", spellcheck: false, maxLength: 100, "data-slash": "", "aria-describedby": "found",
  });
  const order = el("select", { ariaLabel: "Order", hidden: true, on: { change: () => load(true) } },
    ...Object.entries(ORDERS).map(([value, name]) => el("option", { value }, name)));
  order.value = given.get("order") in ORDERS ? given.get("order") : "name";
  const found = el("p", { id: "found", className: "found" });
  const letters = el("nav", { className: "letters", ariaLabel: "First letter" });
  const today = el("div", { className: "today", hidden: true });
  const list = el("ul", { className: "bots" });
  const more = el("button", { type: "button", className: "more", hidden: true, on: { click: () => load(false, true) } }, "Show more");
  const lucky = el("button", { type: "button", className: "quiet", on: { click: surprise } }, "Surprise me");
  view.append(
    el("section", { className: "hero" },
      el("h1", { className: "caret" }, "Start a sentence, and a bot continues it"),
      el("p", {}, "Each bot is a small language model trained on one person’s tweets."),
      el("form", { className: "search", role: "search", on: { submit: first } },
        el("label", { htmlFor: "q", className: "unseen" }, "Search the bots"), search, lucky)),
    today, el("div", { className: "sorting" }, found, order), letters, list, more);

  let turns = 0, waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => load(true), 150);
  });
  const end = new IntersectionObserver(([entry]) => entry.isIntersecting && !more.disabled && load(false), { rootMargin: AHEAD });

  // What is asked for, without what has its default.
  function asked() {
    const all = { q: search.value.trim(), letter, order: order.value === "name" ? "" : order.value };
    return new URLSearchParams(Object.entries(all).filter(([, value]) => value));
  }

  async function load(anew, focus = false) {
    const turn = ++turns, query = asked();
    history.replaceState(history.state, "", query.size ? `/?${query}` : "/");
    const page = new URLSearchParams([...query, ["limit", PAGE], ...(anew || !kept.next ? [] : [["cursor", kept.next]])]);
    more.disabled = true;
    try {
      const { bots, next, total, letters = "" } = await getJson(`/bots?${page}`);
      if (turn !== turns) return; // a newer search has started
      const start = anew ? 0 : kept.bots.length;
      kept = { asked: `${query}`, next, total, letters, bots: [...(anew ? [] : kept.bots), ...bots] };
      render(start);
      if (focus) list.children[start]?.firstChild.focus();
      more.disabled = false;
    } catch (error) {
      if (turn !== turns) return;
      if (anew) list.replaceChildren();
      found.textContent = `The bots cannot be listed: ${error.message}`;
      announce(found.textContent);
      more.disabled = false;
      end.disconnect(); // until somebody asks again
    }
  }

  function render(start = 0) {
    if (!start) list.replaceChildren();
    list.append(...kept.bots.slice(start).map(card));
    more.hidden = !kept.next;
    const q = search.value.trim(), few = !kept.next && !letter;
    order.hidden = few && kept.bots.length < 3;
    letters.hidden = few;
    if (!start) letters.replaceChildren(...["", ...kept.letters].map((one) => el("button", {
      type: "button", ariaPressed: `${one === letter}`, on: { click: () => { letter = one; load(true); } },
    }, one ? one.toUpperCase() : "All")));
    today.hidden = !daily || !!kept.asked || kept.total < ENOUGH;
    const count = number(q || letter ? kept.bots.length : kept.total) + (kept.next && (q || letter) ? "+" : "");
    const bots = `${count} ${count === "1" ? "bot" : "bots"}${q ? ` for “${q}”` : ""}${letter ? ` under ${letter.toUpperCase()}` : ""}`;
    const text = kept.bots.length ? bots
      : kept.asked ? `No bot’s name contains “${q}”.` : "No bot is served yet: huggingtweets deploy FLEET.yaml";
    if (found.textContent !== text) announce(text);
    found.textContent = text;
    end.disconnect();
    end.observe(more); // observed anew, it is called again if the list still ends near the window
  }

  function first(event) {
    event.preventDefault();
    list.querySelector("a")?.click();
  }

  // Opens one of all the bots that the search finds, not only of those that are loaded.
  async function surprise() {
    try {
      const { bots } = await getJson(`/bots?${new URLSearchParams([...asked(), ["limit", 1], ["shuffle", true]])}`);
      if (!bots.length) return;
      const link = el("a", { href: `/b/${bots[0].name}` });
      view.append(link);
      link.click();
    } catch (error) {
      found.textContent = error.message;
    }
  }

  async function showDaily() {
    try {
      daily ??= (await getJson("/bots?shuffle=daily&limit=1")).bots.find((bot) => bot.sample) ?? null;
    } catch { /* the list says what is wrong */ }
    if (!daily) return;
    today.replaceChildren(el("a", { href: `/b/${daily.name}`, vars: { "--hue": hue(daily.name) } },
      el("span", { className: "kind" }, "Bot of the day"),
      el("q", { className: "sample", dir: "auto" }, daily.sample),
      el("span", { className: "by" }, faces(daily), `${title(daily)}, ${kind(daily)}`)));
    today.hidden = !!kept.asked || kept.total < ENOUGH;
  }

  if (kept.bots.length && kept.asked === `${asked()}`) {
    render();
    showDaily().then(() => requestAnimationFrame(() => scrollTo(0, history.state?.scroll ?? 0)));
  } else {
    list.append(...Array.from({ length: 6 }, () => el("li", { className: "skeleton", ariaHidden: "true" })));
    load(true);
    showDaily();
  }
  return () => {
    clearTimeout(waiting);
    end.disconnect();
  };
}

function card(bot) {
  const taken = bot.metrics?.voice?.top1, learned = tweets(bot), name = title(bot), handles = atHandles(bot);
  return el("li", {},
    el("a", { href: `/b/${bot.name}`, className: "bot", vars: { "--hue": hue(bot.name) } },
      faces(bot),
      el("span", { className: "who" },
        el("span", { className: "name" }, name),
        name === handles ? null : el("span", { className: "handle" }, handles),
        el("span", { className: "facts" },
          el("span", { className: "kind" }, kind(bot)), ` ${number(learned)} tweets`,
          typeof taken === "number" ? ` · taken for ${bot.handles.length > 1 ? "one of them" : "them"} ${share(taken)}` : null),
        bot.sample ? el("q", { className: "sample", dir: "auto" }, bot.sample) : null)));
}
