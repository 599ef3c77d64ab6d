// The page: / shows the gallery, /b/nasa a bot. Links between them change the view without loading the page again.
import { bot } from "./bot.js";
import { el } from "./dom.js";
import { gallery } from "./gallery.js";

const view = document.getElementById("view");
let leave = null; // cancels the requests of the view that is shown

function show() {
  leave?.();
  const name = location.pathname.match(/^\/b\/([^/]+)$/)?.[1];
  view.replaceChildren();
  leave = name ? bot(view, decoded(name)) : location.pathname === "/" ? gallery(view) : missing(view);
}

function missing(view) {
  document.title = "huggingtweets";
  view.append(el("h1", {}, "There is no such page."),
    el("p", { className: "message" }, el("a", { href: "/" }, "All bots")));
  return null;
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch { // not UTF-8: no bot's name
    return name;
  }
}

function go(address) {
  history.replaceState({ ...history.state, scroll: scrollY }, "");
  history.pushState({}, "", address);
  delete view.dataset.answer; // the answer of the link with which the page was loaded
  show();
  scrollTo(0, 0);
  view.focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  const plain = !event.defaultPrevented && event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey);
  if (!link || !plain || link.target || link.origin !== location.origin) return;
  if (link.pathname !== "/" && !link.pathname.startsWith("/b/")) return;
  if (link.hash) return;
  event.preventDefault();
  go(link.href);
});
addEventListener("popstate", show);
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  const field = document.querySelector("[data-slash]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey || !field) return;
  event.preventDefault();
  field.focus();
  field.select();
});
show();
