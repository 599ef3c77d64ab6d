// The gallery: all bots, loaded and searched a page at a time through GET /bots.
import { announce, atHandles, el, faces, getJson, hue, kind, number, share, title, tweets } from "./dom.js";

const PAGE = 48;
let kept = { q: "", bots: [], next: null, total: 0 }; // shown last, so that going back needs no request

export function gallery(view) {
  document.title = "huggingtweets: bots that learned from tweets";
  const wanted = new URLSearchParams(location.search).get("q") ?? "";
  const search = el("input", {
    type: "search", id: "q", value: wanted, placeholder: "Search by name or handle", autocomplete: "off",
    autocapitalize: "none", spellcheck: false, maxLength: 100, "data-slash": "", "aria-describedby": "found",
  });
  const found = el("p", { id: "found", className: "found" });
  const list = el("ul", { className: "bots" });
  const more = el("button", { type: "button", className: "more", hidden: true, on: { click: () => load(false) } }, "Show more");
  const lucky = el("button", { type: "button", className: "quiet", on: { click: surprise } }, "Surprise me");
  view.append(
    el("section", { className: "hero" },
      el("h1", { className: "caret" }, "Start a sentence, and a bot continues it"),
      el("p", {}, "Each bot is a small language model trained on one person’s tweets."),
      el("form", { className: "search", role: "search", on: { submit: first } },
        el("label", { htmlFor: "q", className: "unseen" }, "Search the bots"), search, lucky)),
    found, list, more);

  let asked = 0, waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => load(true), 150);
  });

  async function load(anew) {
    const turn = ++asked, q = search.value.trim();
    history.replaceState(history.state, "", q ? `/?${new URLSearchParams({ q })}` : "/");
    const query = new URLSearchParams({ q, limit: PAGE, ...(anew || !kept.next ? {} : { cursor: kept.next }) });
    more.disabled = true;
    try {
      const page = await getJson(`/bots?${query}`);
      if (turn !== asked) return; // a newer search has started
      const start = anew ? 0 : kept.bots.length;
      kept = { q, next: page.next, total: page.total, bots: [...(anew ? [] : kept.bots), ...page.bots] };
      render(start);
      if (!anew) list.children[start]?.firstChild.focus();
    } catch (error) {
      found.textContent = `The bots cannot be listed: ${error.message}`;
    } finally {
      if (turn === asked) more.disabled = false;
    }
  }

  function render(start = 0) {
    if (!start) list.replaceChildren();
    list.append(...kept.bots.slice(start).map(card));
    more.hidden = !kept.next;
    const shown = number(kept.bots.length) + (kept.next ? "+" : "");
    const text = !kept.bots.length
      ? (kept.q ? `No bot’s name contains “${kept.q}”.` : "No bot is served yet: huggingtweets deploy FLEET.yaml")
      : kept.q ? `${shown} ${kept.bots.length === 1 ? "bot" : "bots"} for “${kept.q}”` : `${number(kept.total)} ${kept.total === 1 ? "bot" : "bots"}`;
    found.textContent = text;
    announce(text);
  }

  function first(event) {
    event.preventDefault();
    list.querySelector("a")?.click();
  }

  // Opens one of all the bots that the search finds, not only of those that are loaded.
  async function surprise() {
    try {
      const { bots } = await getJson(`/bots?${new URLSearchParams({ q: search.value.trim(), limit: 1, shuffle: true })}`);
      if (!bots.length) return;
      const link = el("a", { href: `/b/${bots[0].name}` });
      view.append(link);
      link.click();
    } catch (error) {
      found.textContent = error.message;
    }
  }

  if (kept.bots.length && kept.q === wanted.trim()) {
    render();
    requestAnimationFrame(() => scrollTo(0, history.state?.scroll ?? 0));
  } else load(true);
  return () => clearTimeout(waiting);
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
