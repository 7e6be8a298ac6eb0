// One message as elements: its text, its reasoning, how it ended, its versions, and what can be done with it.
import { el, iconButton, isComposing } from "./elements.js";
import { renderText, settledLength } from "./markdown.js";

// Of the time, at most this part is spent on drawing a reply that grows.
const DRAWING_SHARE = 0.2;

const FAILURES = {
  upstream_unavailable: "The model could not be reached.",
  upstream_busy: "The model has too many requests.",
  upstream_refused: "The model's provider refused this service.",
  upstream_timeout: "The model took too long.",
  upstream_error: "The model failed.",
  no_answer: "The model gave no answer.",
};

/** Text that grows at its end. Blocks that are settled are drawn once, only the rest is drawn again. */
class GrowingText {
  node = el("div", { className: "text" });
  #settled = 0;
  #rest = [];

  draw(text, isGrowing) {
    this.#rest.forEach((block) => block.remove());
    const more = isGrowing ? settledLength(text.slice(this.#settled)) : 0;
    if (more) this.node.append(...renderText(text.slice(this.#settled, this.#settled + more)));
    this.#settled += more;
    this.#rest = renderText(text.slice(this.#settled));
    this.node.append(...this.#rest);
  }

  clear() {
    this.node.replaceChildren();
    this.#settled = 0;
    this.#rest = [];
  }
}

/** A reply that may still be growing. Text that arrives is drawn once per frame of the screen. */
export class ReplyView {
  #text = "";
  #reasoning = "";
  #isDrawing = false;
  #pause = 0; // ms
  #body = new GrowingText();
  #thoughts = new GrowingText();
  #waiting = el("p", { className: "waiting" }, el("span"), el("span"), el("span"));
  #summary = el("summary", {}, "Reasoning");
  #details = el("details", { className: "reasoning", hidden: true }, this.#summary, this.#thoughts.node);
  #foot = el("footer");
  node = el("article", { className: "message reply", "aria-label": "Reply" }, this.#details, this.#body.node, this.#foot);

  /** Is called when more text has been drawn. */
  ondraw = () => {};

  constructor(message = null, { actions = [], versions = null, note = null } = {}) {
    if (!message) {
      this.begin();
      return;
    }
    this.node.id = `m-${message.id}`;
    this.#text = message.content;
    this.#reasoning = message.reasoning ?? "";
    this.#draw();
    if (note) this.#body.node.append(el("p", { className: "note" }, note));
    this.#foot.append(...(versions ? [versions] : []), ...actions);
  }

  get text() {
    return this.#text;
  }

  /** Begin anew: the stream brings the text from its start. */
  begin() {
    this.#text = this.#reasoning = "";
    this.goOn();
  }

  /** Grow behind the text that is there. Return its place in the stream, as the service counts it. */
  goOn() {
    this.#body.clear();
    this.#thoughts.clear();
    this.node.classList.add("growing");
    // Screen readers hear of the end, not of every word.
    this.node.setAttribute("aria-busy", "true");
    this.#foot.replaceChildren();
    this.#draw();
    return [this.#text, ...(this.#reasoning ? [this.#reasoning] : [])].map((text) => [...text].length).join("-");
  }

  add({ token = "", reasoning = "" }) {
    this.#text += token ?? "";
    this.#reasoning += reasoning ?? "";
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    setTimeout(() => requestAnimationFrame(() => this.#isDrawing && this.#draw()), this.#pause);
  }

  end() {
    this.node.classList.remove("growing");
    this.node.removeAttribute("aria-busy");
    this.#draw();
  }

  #draw() {
    const began = performance.now();
    this.#isDrawing = false;
    const isGrowing = this.node.classList.contains("growing");
    this.#details.hidden = !this.#reasoning;
    this.#summary.textContent = isGrowing && !this.#text ? "Thinking …" : "Reasoning";
    this.#thoughts.draw(this.#reasoning, isGrowing);
    this.#body.draw(this.#text, isGrowing);
    if (isGrowing && !this.#text) this.#body.node.append(this.#waiting);
    else this.#waiting.remove();
    this.ondraw(); // It scrolls, so its time has the layout in it.
    this.#pause = (performance.now() - began) * (1 / DRAWING_SHARE - 1);
  }
}

/** Return a user's message. */
export function questionView(content, id = null, actions = [], versions = null) {
  const text = el("div", { className: "text plain", dir: "auto" }, content);
  const foot = el("footer", {}, ...(versions ? [versions] : []), ...actions);
  return el("article", { className: "message question", "aria-label": "Your message", ...(id && { id: `m-${id}` }) }, text, foot);
}

/** Return the switch between versions of a message, or null if there is only one. */
export function versionSwitch(what, versions, shown, choose) {
  if (versions.length < 2) return null;
  const place = versions.findIndex((version) => version.id === shown.id);
  const step = (name, label, to) =>
    iconButton(name, label, () => choose(versions[to].id), { disabled: !versions[to], className: "icon small" });
  const count = el("span", {}, `${place + 1} / ${versions.length}`);
  return el(
    "span",
    { className: "versions", role: "group", "aria-label": `Versions of ${what}` },
    step("left", "Earlier version", place - 1),
    count,
    step("right", "Later version", place + 1),
  );
}

/** Return the form in which a question is edited. */
export function editForm(content, save, cancel) {
  const field = el("textarea", { value: content, rows: Math.min(12, content.split("\n").length + 1), required: true, dir: "auto", "aria-label": "Edit your message" });
  const form = el(
    "form",
    { className: "edit", onsubmit: (event) => (event.preventDefault(), field.value.trim() && save(field.value)) },
    field,
    el(
      "div",
      { className: "dialog-actions" },
      el("button", { type: "button", className: "quiet", onclick: cancel }, "Cancel"),
      el("button", { type: "submit", className: "primary" }, "Send again"),
    ),
  );
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") cancel();
    if (event.key === "Enter" && !event.shiftKey && !isComposing(event)) (event.preventDefault(), form.requestSubmit());
  });
  return form;
}

/** Return what went wrong, in words, with a button to try again. */
export function problemView(text, retry) {
  return el(
    "div",
    { className: "problem", role: "alert" },
    el("p", {}, text),
    retry && el("button", { type: "button", className: "quiet", onclick: retry }, "Try again"),
  );
}

export const hasFailed = (message) => message.status === "failed" || message.status === "interrupted";

/** Tell whether the service can write on at the end of a reply, if it is the last one. */
export const canGoOn = (message) => message.content !== "" && (hasFailed(message) || message.status === "stopped" || message.finish_reason === "length");

export function describeFailure(message) {
  if (message.status === "interrupted") return "The reply was interrupted.";
  return FAILURES[message.error_code] ?? "The reply failed.";
}

export function describeEnd(message) {
  if (message.status === "stopped") return message.content ? "You stopped this reply." : "You stopped this reply before its first word.";
  if (message.finish_reason === "length" && message.status === "complete") return "The reply reached its greatest length.";
  return hasFailed(message) ? describeFailure(message) : null;
}
