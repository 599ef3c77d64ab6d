// The page: / shows the gallery, /b/nasa a bot, /b/nasa?with=ferry two of them. Links between them change the view without loading the page again.
import { bot } from "./bot.js";
import { el } from "./dom.js";
import { gallery } from "./gallery.js";
import { forgetPicks } from "./picks.js";

const view = document.getElementById("view");
let leave = null; // cancels the requests of the view that is shown

function show() {
  leave?.();
  const name = location.pathname.match(/^\/b\/([^/]+)$/)?.[1];
  const other = new URLSearchParams(location.search).get("with");
  view.replaceChildren();
  leave = name ? bot(view, [decoded(name), ...(other ? [other] : [])]) : location.pathname === "/" ? gallery(view) : missing(view);
}

function missing(view) {
  document.title = "huggingtweets";
  view.append(el("h1", {}, "There is no such page."),
    el("p", { className: "message" }, el("a", { href: "/" }, "All bots")));
  return null;
}

// Whether an address has a bot's answer in it. The server shows that, after it has checked the signature.
const isShared = ({ search }) => new URLSearchParams(search).has("said");

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
  if (link.hash || isShared(link)) return;
  event.preventDefault();
  go(link.href);
});
addEventListener("popstate", () => (isShared(location) ? location.reload() : show()));
document.querySelector("form[action='/sign-out']")?.addEventListener("submit", forgetPicks);
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  const field = document.querySelector("[data-slash]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey || !field) return;
  event.preventDefault();
  field.focus();
  field.select();
});
show();
