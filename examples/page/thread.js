// The open conversation: its messages, and the reply that is being written.
import { call, inWords, stream } from "./api.js";
import { announce, copyText, el, iconButton } from "./elements.js";
import { ReplyView, describeEnd, describeFailure, editForm, hasFailed, problemView, questionView, versionSwitch } from "./message.js";

const PAGE = 200;
const NEAR_THE_END_PX = 120;

export class Thread {
  #section = document.getElementById("thread");
  #id = null;
  #messages = [];
  #next = null;
  #following = null;
  #views = new Map();
  #changed;
  #busy;

  /** `changed` is called when a reply has begun or ended, `busy` with whether one is being written. */
  constructor({ changed, busy }) {
    this.#changed = changed;
    this.#busy = busy;
  }

  get id() {
    return this.#id;
  }

  get isBusy() {
    return this.#following !== null;
  }

  /** Leave the conversation. A reply that is being written goes on without this page. */
  close() {
    this.#following?.abort();
    this.#setFollowing(null);
    this.#id = null;
    this.#messages = [];
    this.#section.replaceChildren();
  }

  showWelcome() {
    this.close();
    this.#section.append(el("div", { className: "welcome" }, el("h2", {}, "What would you like to know?"), el("p", {}, "Replies are saved while they are written. You can close this page and come back.")));
  }

  /** Show a conversation and follow its running reply, if it has one. Return the conversation. */
  async open(id) {
    if (id !== this.#id) this.close();
    this.#id = id;
    const [conversation, page] = await Promise.all([call("GET", `${this.#path}?limit=1`), this.#read()]);
    if (id !== this.#id || this.isBusy) return conversation;
    this.#messages = page.items;
    this.#next = page.next;
    this.#show(conversation.running_message_id);
    const running = this.#messages.find((message) => message.id === conversation.running_message_id);
    if (running) this.#follow(`${this.#path}/messages/${running.id}/stream`, {}, this.#replyOf(running));
    return conversation;
  }

  /** Show a conversation that has just been created. */
  begin(id) {
    this.close();
    this.#id = id;
  }

  send(content) {
    const question = questionView(content);
    this.#section.querySelector(".welcome")?.remove();
    this.#section.querySelector(".problem")?.remove();
    this.#section.append(question);
    return this.#begin(`${this.#path}/messages`, { method: "POST", body: { content } }, question);
  }

  async stop() {
    try {
      await call("POST", `${this.#path}/stop`);
    } catch (problem) {
      this.#showProblem(inWords(problem));
    }
  }

  get #path() {
    return `/conversations/${this.#id}`;
  }

  #read(cursor) {
    const more = cursor ? { cursor } : {};
    return call("GET", `${this.#path}/messages?${new URLSearchParams({ versions: "all", limit: PAGE, ...more })}`);
  }

  // --- Following a reply ---

  /** Make a request that begins a reply. Its key makes it safe to repeat: by the stream's code, and by "Try again". */
  #begin(path, request, question = null) {
    const keyed = { key: crypto.randomUUID(), ...request };
    const view = new ReplyView();
    this.#section.append(view.node);
    this.#scrollToEnd();
    return this.#follow(path, keyed, view, question);
  }

  async #follow(path, request, view, question = null) {
    const id = this.#id;
    const following = new AbortController();
    let failure = null;
    this.#setFollowing(following);
    announce("A reply is being written.");
    try {
      for await (const said of stream(path, { ...request, signal: following.signal, onStart: () => this.#changed() })) {
        if (said.error) failure = said;
        else if (!said.done) this.#keepAtEnd(() => view.add(said));
        else if (said.status !== "failed") failure = null;
      }
    } catch (problem) {
      failure = problem;
    }
    if (following.signal.aborted) return;
    this.#setFollowing(null);
    view.end();
    announce(failure ? "" : `Reply: ${view.text}`);
    await this.#settle(id, failure, () => this.#retry(path, request, view, question), question);
  }

  /** Show what the service has saved. A question that it has not saved stays, with a button that sends it again. */
  async #settle(id, failure, retry, question) {
    try {
      await this.open(id);
    } catch (problem) {
      failure ??= problem;
    }
    if (id !== this.#id) return;
    if (failure) {
      const isSaved = failure.user_message_id || !question || question.isConnected || this.#hasQuestion(question);
      if (!isSaved) this.#section.append(question);
      this.#showProblem(inWords(failure), retry);
    }
    this.#changed();
  }

  #hasQuestion(question) {
    const asked = this.#messages.filter((message) => message.role === "user" && message.is_active);
    return asked.at(-1)?.content === question.firstChild.textContent;
  }

  /** Repeat a request with its key. A reply that failed with text has been shown, so another one takes its place. */
  #retry(path, request, view, question) {
    if (this.isBusy) return undefined;
    if (view.text || !request.key) return this.#regenerate();
    view.node.remove();
    const last = this.#messages.at(-1);
    if (path.endsWith("/regenerate") || (last && hasFailed(last))) this.#removeLastReply();
    this.#section.querySelector(".problem")?.remove();
    return this.#begin(path, request, question);
  }

  #regenerate() {
    if (this.isBusy) return undefined;
    this.#removeLastReply();
    this.#section.querySelector(".problem")?.remove();
    return this.#begin(`${this.#path}/regenerate`, { method: "POST", body: {} });
  }

  #removeLastReply() {
    const last = this.#section.querySelector(".message:last-of-type");
    if (last?.matches(".reply")) last.remove();
  }

  #setFollowing(following) {
    this.#following = following;
    this.#busy(following !== null);
    this.#section.classList.toggle("busy", following !== null);
  }

  // --- Showing messages ---

  #show(runningId) {
    const place = this.#section.scrollHeight - this.#section.scrollTop;
    const wasAtEnd = this.#isAtEnd();
    this.#views.clear();
    const shown = this.#messages.filter((message) => message.is_active || message.id === runningId);
    const running = shown.find((message) => message.id === runningId);
    const lastQuestion = shown.filter((message) => message.role === "user").at(-1);
    // While another reply to a question is written, it is shown in the place of the active one.
    const isReplaced = (message) => running && message !== running && message.role !== "user" && message.parent_id === running.parent_id;
    const nodes = shown
      .filter((message) => !isReplaced(message))
      .map((message) => (message.role === "user" ? this.#questionNode(message, message === lastQuestion) : this.#replyNode(message, lastQuestion)));
    if (this.#next) nodes.unshift(el("button", { type: "button", className: "quiet older", onclick: () => this.#showOlder() }, "Show older messages"));
    this.#section.replaceChildren(...nodes);
    const last = shown.at(-1);
    if (last && last !== running && hasFailed(last)) this.#showProblem(describeFailure(last), () => this.#regenerate());
    if (wasAtEnd) this.#scrollToEnd();
    else this.#section.scrollTop = this.#section.scrollHeight - place;
  }

  async #showOlder() {
    const page = await this.#read(this.#next);
    this.#messages = [...page.items, ...this.#messages];
    this.#next = page.next;
    this.#show(null);
  }

  #replyOf(message) {
    const view = this.#views.get(message.id);
    view.begin();
    return view;
  }

  #replyNode(message, lastQuestion) {
    const others = this.#messages.filter((other) => other.role === "assistant" && message.parent_id && other.parent_id === message.parent_id);
    const versions = versionSwitch("this reply", others, message, (chosen) => this.#activate(chosen));
    const rate = (name, label, rating) =>
      iconButton(name, label, () => this.#rate(message, message.feedback === rating ? null : rating), { "aria-pressed": String(message.feedback === rating) });
    const actions = [
      iconButton("copy", "Copy", () => copyText(message.content)),
      rate("good", "Good reply", 1),
      rate("bad", "Bad reply", -1),
      message.parent_id === lastQuestion?.id ? iconButton("again", "Write another reply", () => this.#regenerate()) : null,
    ].filter(Boolean);
    // The last failure has a button to try again, and so a box of its own.
    const note = message === this.#messages.at(-1) && hasFailed(message) ? null : describeEnd(message);
    const view = new ReplyView(message, { actions: message.content ? actions : [], versions, note });
    this.#views.set(message.id, view);
    return view.node;
  }

  #questionNode(message, isLast) {
    if (!isLast) return questionView(message.content, message.id);
    const first = message.parent_id ?? message.id;
    const others = this.#messages.filter((other) => other.role === "user" && (other.id === first || other.parent_id === first));
    const versions = versionSwitch("your message", others, message, (chosen) => this.#activate(chosen));
    const edit = iconButton("pencil", "Edit", () => this.#edit(node, message));
    const node = questionView(message.content, message.id, [edit], versions);
    return node;
  }

  #edit(node, message) {
    const form = editForm(message.content, (content) => this.#sendEdited(form, message, content), () => this.#leaveEdit(form, node));
    node.replaceWith(form);
    form.querySelector("textarea").focus();
  }

  #leaveEdit(form, node) {
    form.replaceWith(node);
    node.querySelector("footer button:last-child").focus();
  }

  #sendEdited(form, message, content) {
    if (this.isBusy) return undefined;
    while (form.nextElementSibling) form.nextElementSibling.remove();
    const question = questionView(content);
    form.replaceWith(question);
    return this.#begin(`${this.#path}/messages/${message.id}`, { method: "PUT", body: { content } }, question);
  }

  async #activate(messageId) {
    await this.#change("POST", `${this.#path}/messages/${messageId}/activate`);
  }

  async #rate(message, rating) {
    const label = document.activeElement?.getAttribute("aria-label");
    await this.#change("PUT", `${this.#path}/messages/${message.id}/feedback`, { rating });
    document.querySelector(`#m-${CSS.escape(message.id)} [aria-label="${label}"]`)?.focus();
  }

  async #change(method, path, body) {
    if (this.isBusy) return;
    try {
      await call(method, path, body);
      await this.open(this.#id);
    } catch (problem) {
      this.#showProblem(inWords(problem));
    }
  }

  #showProblem(text, retry = null) {
    this.#section.querySelector(".problem")?.remove();
    this.#section.append(problemView(text, retry));
    this.#scrollToEnd();
  }

  // --- Scrolling ---

  #isAtEnd() {
    return this.#section.scrollHeight - this.#section.scrollTop - this.#section.clientHeight < NEAR_THE_END_PX;
  }

  #scrollToEnd() {
    this.#section.scrollTop = this.#section.scrollHeight;
  }

  /** Let the newest words stay in sight, unless the reader has scrolled away from them. */
  #keepAtEnd(change) {
    const wasAtEnd = this.#isAtEnd();
    change();
    if (wasAtEnd) requestAnimationFrame(() => this.#scrollToEnd());
  }
}
