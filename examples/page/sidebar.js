// The list of conversations: by day, one view of them (favourites, archived, deleted, a tag), or what a search finds.
import { call, inWords } from "./api.js";
import { announce, el, icon } from "./elements.js";

const PAGE = 50;
const MOST = 200; // that the service gives at once
const SEARCH_AFTER_MS = 300;
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

export class Sidebar {
  #list = document.getElementById("list");
  #search = document.getElementById("search");
  #view = document.getElementById("view");
  #groups = new Map();
  #next = null;
  #request = 0;
  #current = null;

  constructor() {
    let timer;
    this.#search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.load(), SEARCH_AFTER_MS);
    });
    this.#view.addEventListener("change", () => this.load());
  }

  /** Show a conversation as the open one. */
  mark(id) {
    this.#current = id;
    for (const link of this.#list.querySelectorAll("a")) this.#markLink(link);
  }

  /** Load the list again from its start. An answer that a newer request has overtaken is dropped. */
  async load() {
    const request = ++this.#request;
    const text = this.#search.value.trim();
    // What was shown by "Show more" is shown again, so that the list keeps its place.
    const limit = Math.min(MOST, Math.max(PAGE, this.#list.querySelectorAll("li").length));
    try {
      const found = text ? await this.#find(text) : await this.#read({ limit });
      if (request !== this.#request) return;
      const place = this.#list.scrollTop;
      if (text) this.#showFound(text, ...found);
      else {
        this.#groups.clear();
        this.#list.replaceChildren();
        this.#add(found);
      }
      this.#list.scrollTop = place;
    } catch (problem) {
      if (request === this.#request) this.#showProblem(problem);
    }
  }

  /** The list stays: it is still good to read when the service can't be reached. */
  #showProblem(problem) {
    this.#list.querySelector(".problem-text")?.remove();
    this.#list.prepend(el("p", { className: "problem-text" }, inWords(problem)));
  }

  #parameters(more) {
    // The trash can't be searched.
    const chosen = more.q && this.#showsDeleted ? "" : this.#view.value;
    return new URLSearchParams({ limit: PAGE, tz: ZONE, ...Object.fromEntries(new URLSearchParams(chosen)), ...more });
  }

  get #showsDeleted() {
    return this.#view.value === "deleted=true";
  }

  /** Offer the user's tags as views. The chosen one stays. */
  async loadTags() {
    const tags = await call("GET", "/tags").catch(() => null);
    if (!tags) return;
    const chosen = this.#view.value;
    const group = document.getElementById("tags");
    group.replaceChildren(...tags.items.map(({ tag, count }) => el("option", { value: String(new URLSearchParams({ tag })) }, `${tag} (${count})`)));
    group.hidden = !tags.items.length;
    this.#view.value = chosen;
    if (this.#view.value === chosen) return;
    this.#view.value = "";
    this.load();
  }

  #read(more) {
    return call("GET", `/conversations?${this.#parameters(more)}`);
  }

  #find(text) {
    return Promise.all([
      call("GET", `/conversations?${this.#parameters({ q: text, limit: 10 })}`),
      call("GET", `/search?${new URLSearchParams({ q: text })}`),
    ]);
  }

  #add(page) {
    for (const [day, conversations] of Object.entries(page.grouped)) {
      if (!this.#groups.has(day)) this.#groups.set(day, this.#group(nameDay(day)));
      this.#groups.get(day).append(...conversations.map((conversation) => this.#item(conversation)));
    }
    this.#offerMore(page.next, () => this.#read({ cursor: this.#next }), (more) => this.#add(more));
    if (!this.#groups.size) this.#list.append(el("p", { className: "nothing" }, this.#view.value ? "Nothing here." : "No conversations yet."));
  }

  #offerMore(next, read, add) {
    this.#list.querySelector(".more")?.remove();
    this.#next = next;
    if (!next) return;
    const onclick = async () => {
      const request = ++this.#request;
      try {
        const page = await read();
        if (request === this.#request) add(page);
      } catch (problem) {
        if (request === this.#request) this.#showProblem(problem);
      }
    };
    this.#list.append(el("button", { type: "button", className: "quiet more", onclick }, "Show more"));
  }

  #addHits(group, text, page) {
    group.append(...page.items.filter((hit) => hit.in === "message").map((hit) => this.#hit(hit)));
    const read = () => call("GET", `/search?${new URLSearchParams({ q: text, cursor: this.#next })}`);
    this.#offerMore(page.next, read, (more) => this.#addHits(group, text, more));
  }

  #group(name) {
    const items = el("ul");
    this.#list.append(el("section", {}, el("h2", {}, name), items));
    return items;
  }

  #item(conversation) {
    if (conversation.deleted_at) return this.#deletedItem(conversation);
    const star = conversation.is_favorited ? el("span", { className: "starred" }, icon("star"), el("span", { className: "unseen" }, "Favourite")) : null;
    const running = conversation.running_message_id ? el("span", { className: "running", title: "Writing" }, el("span", { className: "unseen" }, "Writing")) : null;
    return el("li", {}, this.#link(conversation.id, el("span", { className: "name", dir: "auto" }, conversation.title), running, star));
  }

  #deletedItem({ id, title }) {
    const restore = async () => {
      try {
        await call("POST", `/conversations/${id}/restore`);
        await this.load();
        announce("Restored.");
      } catch (problem) {
        this.#showProblem(problem);
      }
    };
    const button = el("button", { type: "button", className: "quiet", "aria-label": `Restore ${title}`, onclick: restore }, "Restore");
    return el("li", { className: "deleted" }, el("span", { className: "name", dir: "auto" }, title), button);
  }

  #link(id, ...children) {
    const link = el("a", { href: `#/c/${id}` }, ...children);
    this.#markLink(link);
    return link;
  }

  #markLink(link) {
    if (this.#current && link.hash === `#/c/${this.#current}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }

  #showFound(text, titles, hits) {
    this.#list.replaceChildren();
    this.#groups.clear();
    if (titles.items.length) this.#group("Titles").append(...titles.items.map((conversation) => this.#item(conversation)));
    // Titles come from the list, which knows their stars. Their hits are left out.
    if (hits.items.some((hit) => hit.in === "message") || (hits.items.length && hits.next)) this.#addHits(this.#group("Messages"), text, hits);
    const count = titles.items.length + hits.items.filter((hit) => hit.in === "message").length;
    if (!count) this.#list.append(el("p", { className: "nothing" }, `Nothing matches “${text}”.`));
    announce(count === 1 ? "1 match" : `${count} matches`);
  }

  #hit(hit) {
    const snippet = el("span", { className: "snippet" }, ...readSnippet(hit.snippet));
    return el("li", {}, this.#link(hit.conversation_id, el("span", { className: "name", dir: "auto" }, hit.conversation_title, snippet)));
  }
}

/** Return a snippet as nodes. It is escaped for HTML, and `<mark>` is its only tag. */
function readSnippet(snippet) {
  const characters = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'", "&amp;": "&" };
  const plain = (text) => text.replace(/&(?:lt|gt|quot|#x27|amp);/g, (name) => characters[name]);
  return snippet.split(/<mark>(.*?)<\/mark>/s).map((part, index) => (index % 2 ? el("mark", {}, plain(part)) : plain(part)));
}

function nameDay(day) {
  const today = new Date();
  const noon = new Date(`${day}T12:00:00`);
  const age = Math.round((new Date(today.getFullYear(), today.getMonth(), today.getDate(), 12) - noon) / 86_400_000);
  if (age === 0) return "Today";
  if (age === 1) return "Yesterday";
  const year = noon.getFullYear() === today.getFullYear() ? {} : { year: "numeric" };
  return noon.toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long", ...year });
}
