// One message as elements: its text, its reasoning, how it ended, its versions, and what can be done with it.
import { el, iconButton } from "./elements.js";
import { renderText } from "./markdown.js";

const FAILURES = {
  upstream_unavailable: "The model could not be reached.",
  upstream_timeout: "The model took too long.",
  upstream_error: "The model failed.",
  no_answer: "The model gave no answer.",
};

/** A reply that may still be growing. Text that arrives is drawn once per frame of the screen. */
export class ReplyView {
  #text = "";
  #reasoning = "";
  #isDrawing = false;
  #body = el("div", { className: "text" });
  #thoughts = el("div", { className: "text" });
  #summary = el("summary", {}, "Reasoning");
  #details = el("details", { className: "reasoning", hidden: true }, this.#summary, this.#thoughts);
  #foot = el("footer");
  node = el("article", { className: "message reply", "aria-label": "Reply" }, this.#details, this.#body, this.#foot);

  constructor(message = null, { actions = [], versions = null, note = null } = {}) {
    if (!message) {
      this.begin();
      return;
    }
    this.node.id = `m-${message.id}`;
    this.#text = message.content;
    this.#reasoning = message.reasoning ?? "";
    this.#draw();
    if (note) this.#body.append(el("p", { className: "note" }, note));
    this.#foot.append(...(versions ? [versions] : []), ...actions);
  }

  get text() {
    return this.#text;
  }

  /** Begin anew: the stream brings the text from its start. */
  begin() {
    this.#text = this.#reasoning = "";
    this.node.classList.add("growing");
    // Screen readers hear of the end, not of every word.
    this.node.setAttribute("aria-busy", "true");
    this.#foot.replaceChildren();
    this.#draw();
  }

  add({ token = "", reasoning = "" }) {
    this.#text += token ?? "";
    this.#reasoning += reasoning ?? "";
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => this.#draw());
  }

  end() {
    this.node.classList.remove("growing");
    this.node.removeAttribute("aria-busy");
    this.#draw();
  }

  #draw() {
    this.#isDrawing = false;
    const isGrowing = this.node.classList.contains("growing");
    this.#details.hidden = !this.#reasoning;
    this.#summary.textContent = isGrowing && !this.#text ? "Thinking …" : "Reasoning";
    this.#thoughts.replaceChildren(...renderText(this.#reasoning));
    const blocks = renderText(this.#text);
    this.#body.replaceChildren(...blocks);
    if (isGrowing && !this.#text) this.#body.append(el("p", { className: "waiting" }, el("span"), el("span"), el("span")));
  }
}

/** Return a user's message. */
export function questionView(content, id = null, actions = [], versions = null) {
  const text = el("div", { className: "text plain" }, content);
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

/** Return the form in which the last question is edited. */
export function editForm(content, save, cancel) {
  const field = el("textarea", { value: content, rows: Math.min(12, content.split("\n").length + 1), required: true, "aria-label": "Edit your message" });
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
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), form.requestSubmit());
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

export function describeFailure(message) {
  if (message.status === "interrupted") return "The reply was interrupted.";
  return FAILURES[message.error_code] ?? "The reply failed.";
}

export function describeEnd(message) {
  if (message.status === "stopped") return message.content ? "You stopped this reply." : "You stopped this reply before its first word.";
  if (message.finish_reason === "length" && message.status === "complete") return "The reply reached its greatest length.";
  return hasFailed(message) ? describeFailure(message) : null;
}
