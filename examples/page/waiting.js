// Messages that wait until the running reply has ended.
import { inWords } from "./api.js";
import { el, iconButton } from "./elements.js";

export class Waiting {
  #section;
  #thread;
  #messages = [];

  /** `thread` has what this needs of the conversation: `call`, `read`, `isBusy`, `reopen`, `giveBack`, `showProblem`. */
  constructor(section, thread) {
    this.#section = section;
    this.#thread = thread;
  }

  get isEmpty() {
    return !this.#messages.length;
  }

  /** Take the messages that wait out of a page of messages, and return the others. */
  take(messages) {
    this.#messages = messages.filter((message) => message.status === "queued");
    return messages.filter((message) => message.status !== "queued");
  }

  show(isRunning) {
    this.hide();
    if (this.isEmpty) return;
    const count = this.#messages.length === 1 ? "1 message waits" : `${this.#messages.length} messages wait`;
    const resume = el("button", { type: "button", className: "quiet", onclick: () => this.#resume() }, "Go on with them");
    this.#section.append(
      el(
        "section",
        { className: "queue", "aria-label": "Messages that wait" },
        el("h2", {}, isRunning ? `${count} for the reply to end` : `${count} since the reply was stopped`),
        el("ul", {}, ...this.#messages.map((message) => this.#item(message))),
        isRunning ? null : resume,
      ),
    );
  }

  hide() {
    this.#section.querySelector(".queue")?.remove();
  }

  /** Have a message wait behind the running reply and behind what waits already. */
  async add(content) {
    const wait = { Prefer: "respond-async", "Idempotency-Key": crypto.randomUUID() };
    if (!(await this.#change("POST", "/messages", { content, when_busy: "enqueue" }, wait))) this.#thread.giveBack(content);
    else if (!this.#thread.isBusy()) await this.#resume();
  }

  #item(message) {
    const remove = () => this.#change("DELETE", `/messages/${message.id}`);
    const takeBack = async () => (await remove()) && this.#thread.giveBack(message.content);
    return el(
      "li",
      {},
      el("span", { className: "name", dir: "auto" }, message.content),
      iconButton("pencil", "Take back to edit", takeBack, { className: "icon small" }),
      iconButton("bin", "Remove", remove, { className: "icon small" }),
    );
  }

  #resume() {
    return this.#change("POST", "/resume");
  }

  /** Tell whether it was done. A message may have had its turn in the meantime. */
  async #change(...request) {
    let isDone = true;
    let problem = null;
    try {
      await this.#thread.call(...request);
    } catch (refusal) {
      isDone = false;
      problem = inWords(refusal);
    }
    await this.#refresh();
    if (problem) this.#thread.showProblem(problem);
    return isDone;
  }

  async #refresh() {
    // Only these are drawn anew while the reply grows.
    if (!this.#thread.isBusy()) return this.#thread.reopen();
    const page = await this.#thread.read().catch(() => null);
    if (page && this.#thread.isBusy()) {
      this.take(page.items);
      this.show(true);
    }
    return undefined;
  }
}
