// The open conversation: its messages, and the reply that is being written.
import { call, inWords, stream } from "./api.js";
import { announce, copyText, el, iconButton } from "./elements.js";
import { keepFocus } from "./focus.js";
import { ReplyView, canGoOn, describeEnd, describeFailure, editForm, hasFailed, problemView, questionView, versionSwitch } from "./message.js";
import { Scrolling } from "./scrolling.js";
import { Waiting } from "./waiting.js";

const PAGE = 200;
const MOST_ANNOUNCED = 2000; // characters
const REFUSALS_THAT_PASS = [408, 425, 429];

export class Thread {
  #section = document.getElementById("thread");
  #id = null;
  #messages = [];
  #next = null;
  #shown = null; // what was read of the conversation, as text
  #following = null;
  #views = new Map();
  #changed;
  #busy;
  #giveBack;
  #unsent = null; // the question that is being sent, until the service is known to have it
  #refusedEdit = null; // an edit that was refused, until its form is shown again
  #scrolling;
  #waiting;

  /** `changed` is called when a reply has begun or ended, `busy` with whether one is being written, `giveBack` with a
   * question that was not saved. */
  constructor({ changed, busy, giveBack }) {
    this.#changed = changed;
    this.#busy = busy;
    this.#giveBack = giveBack;
    this.#scrolling = new Scrolling(this.#section);
    this.#waiting = new Waiting(this.#section, {
      call: (method, path, ...more) => call(method, this.#path + path, ...more),
      read: () => this.#read(),
      isBusy: () => this.isBusy,
      reopen: () => this.open(this.#id).catch(() => {}),
      giveBack,
      showProblem: (text) => this.#showProblem(text),
    });
  }

  get id() {
    return this.#id;
  }

  get isBusy() {
    return this.#following !== null;
  }

  /** Leave the conversation. A reply that is being written goes on without this page. */
  close({ isLoggedOut = false } = {}) {
    this.#following?.abort();
    this.#setFollowing(null);
    this.#id = null;
    this.#messages = this.#waiting.take([]);
    this.#scrolling.staysAtEnd = true;
    if (isLoggedOut) this.#giveEditsBack();
    this.#section.replaceChildren();
    this.#dropUnsent(isLoggedOut);
  }

  showWelcome() {
    this.close();
    this.#section.append(el("div", { className: "welcome" }, el("h2", {}, "What would you like to know?"), el("p", {}, "Replies are saved while they are written. You can close this page and come back.")));
  }

  /** Show a conversation and follow its running reply, if it has one. Return the conversation. */
  async open(id, { onlyIfChanged = false } = {}) {
    if (id !== this.#id) this.close();
    this.#id = id;
    const [conversation, page] = await Promise.all([call("GET", `${this.#path}?limit=1`), this.#read()]);
    if (id !== this.#id || this.isBusy) return conversation;
    const read = JSON.stringify(page);
    if (onlyIfChanged && read === this.#shown) return conversation;
    this.#shown = read;
    this.#messages = this.#waiting.take(page.items);
    this.#next = page.next;
    this.#show(conversation.running_message_id);
    const running = this.#messages.find((message) => message.id === conversation.running_message_id);
    if (running) this.#follow({ path: `${this.#path}/messages/${running.id}/stream` }, this.#replyOf(running));
    return conversation;
  }

  /** Show a conversation that has just been created. */
  begin(id) {
    this.close();
    this.#id = id;
  }

  #send(content) {
    this.#section.querySelector(".welcome")?.remove();
    this.#dropUnsent();
    return this.#begin({ path: `${this.#path}/messages`, method: "POST", body: { content } }, this.#newQuestion(content));
  }

  /** Send a message, or have it wait until what runs and what waits already has ended. */
  say(content) {
    return this.isBusy || !this.#waiting.isEmpty ? this.#waiting.add(content) : this.#send(content);
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

  /** Make a request that begins a reply. Its key makes it safe to repeat: by the stream's code, and by "Try again".
   * What follows the message that it `replaces` is hidden, too. */
  #begin(request, question = null) {
    const keyed = { key: crypto.randomUUID(), ...request };
    const view = new ReplyView();
    this.#section.querySelector(".problem")?.remove();
    this.#waiting.hide();
    this.#removeFrom(document.getElementById(`m-${request.replaces}`));
    this.#section.append(...(question ? [question] : []), view.node);
    this.#scrolling.staysAtEnd = true;
    this.#scrolling.toEnd();
    const followed = this.#follow(keyed, view, question);
    // The button that began this is gone.
    if (document.activeElement === document.body) document.getElementById("stop").focus();
    return followed;
  }

  /** Write on at the end of a reply. Its stream begins behind the text that it has. */
  #goOn(message) {
    if (this.isBusy) return undefined;
    this.#section.querySelector(".problem")?.remove();
    const view = this.#views.get(message.id);
    const headers = { "Last-Event-ID": view.goOn() };
    const request = { path: `${this.#path}/messages/${message.id}/continue`, method: "POST", body: {}, key: crypto.randomUUID(), headers };
    return this.#follow(request, view, null, () => this.#goOn(message));
  }

  async #follow(request, view, question = null, retry = () => this.#retry(request, view, question)) {
    const id = this.#id;
    const following = new AbortController();
    let failure = null;
    const onStart = () => {
      if (this.#unsent) this.#unsent.hasArrived = true;
      this.#changed();
    };
    this.#setFollowing(following);
    view.ondraw = () => this.#scrolling.toEnd();
    announce("A reply is being written.");
    try {
      for await (const said of stream(request.path, { ...request, signal: following.signal, onStart })) {
        if (said.error) failure = said;
        else if (!said.done) view.add(said);
        else if (said.status !== "failed") failure = null;
      }
    } catch (problem) {
      failure = problem;
    }
    if (following.signal.aborted) return;
    this.#setFollowing(null);
    view.end();
    announce(failure ? "" : `Reply: ${view.text.slice(0, MOST_ANNOUNCED)}`);
    await this.#settle(id, failure, retry, question);
  }

  /** Show what the service has saved. A question that it has not saved stays, with a button that sends it again. */
  async #settle(id, failure, retry, question) {
    const unsent = this.#unsent;
    if (unsent && failure?.user_message_id) this.#unsent = null;
    if (unsent && failure) Object.assign(unsent, { problem: inWords(failure), retry });
    if (unsent && isRefused(failure)) this.#giveUp(unsent);
    try {
      await this.open(id);
    } catch (problem) {
      failure ??= problem;
    }
    if (id !== this.#id) return;
    if (failure && !this.isBusy) this.#showProblem(inWords(failure), isRefused(failure) && question ? null : () => this.#tryAgain(retry));
    this.#changed();
  }

  #newQuestion(content, editedId = null) {
    const node = questionView(content);
    this.#unsent = { node, content, editedId, after: this.#lastQuestionId() };
    return node;
  }

  /** A refused question can be changed, and then be sent. After a token that has expired, it may be another user who logs in. */
  #giveUp(unsent, isLoggedOut = false) {
    this.#unsent = null;
    unsent.node.remove();
    if (unsent.editedId && !isLoggedOut) this.#refusedEdit = unsent;
    else this.#giveBack(unsent.content);
  }

  #giveEditsBack() {
    const written = [...this.#section.querySelectorAll(".edit textarea")].filter((field) => field.value !== field.defaultValue);
    for (const { value } of written) this.#giveBack(value);
    if (this.#refusedEdit) this.#giveBack(this.#refusedEdit.content);
    this.#refusedEdit = null;
  }

  /** Give a question that failed back before its place is lost. */
  #dropUnsent(isLoggedOut = false) {
    if (this.#unsent?.problem || (isLoggedOut && this.#unsent && !this.#unsent.hasArrived)) this.#giveUp(this.#unsent, isLoggedOut);
    this.#unsent = null;
  }

  #lastQuestionId() {
    return this.#messages.findLast((message) => message.role === "user" && message.is_active)?.id;
  }

  /** Show the unsent question below what the service has, unless it is there by now. */
  #showUnsent() {
    if (!this.#unsent) return;
    const last = this.#messages.findLast((message) => message.role === "user" && message.is_active);
    if (last && last.id !== this.#unsent.after && last.content.trim() === this.#unsent.content.trim()) {
      this.#unsent = null;
      return;
    }
    this.#section.append(this.#unsent.node);
    const { problem, retry } = this.#unsent;
    if (problem) this.#showProblem(problem, () => this.#tryAgain(retry));
  }

  /** Ask the service first: the reply may still be written, or be there. Only if nothing is new, do it again. */
  async #tryAgain(again) {
    if (this.isBusy) return undefined;
    const id = this.#id;
    const before = this.#newest();
    try {
      await this.open(id);
    } catch (problem) {
      if (id === this.#id) this.#showProblem(inWords(problem), () => this.#tryAgain(again));
      return undefined;
    }
    if (id !== this.#id || this.isBusy) return undefined;
    return this.#newest() === before ? again() : this.#changed();
  }

  #newest() {
    const last = this.#messages.at(-1);
    return last && `${last.id} ${last.status}`;
  }

  /** Repeat a request with its key. A reply that failed with text has been shown, so another one takes its place. */
  #retry(request, view, question) {
    if (this.isBusy) return undefined;
    const last = this.#messages.at(-1);
    if (view.text || !request.key) return !last || last.role === "user" || hasFailed(last) ? this.#regenerate(request.replaces) : undefined;
    view.node.remove();
    if (!request.replaces && last && hasFailed(last)) this.#removeFrom(document.getElementById(`m-${last.id}`));
    if (this.#unsent) this.#unsent.problem = null;
    return this.#begin(request, question);
  }

  /** Write another reply in the place of this one, or of the last one. */
  #regenerate(replyId = null) {
    if (this.isBusy) return undefined;
    const last = this.#messages.findLast((message) => message.is_active);
    const replaces = replyId ?? (last?.role === "assistant" ? last.id : null);
    return this.#begin({ path: `${this.#path}${replyId ? `/messages/${replyId}` : ""}/regenerate`, method: "POST", body: {}, replaces });
  }

  #removeFrom(node) {
    while (node?.nextElementSibling) node.nextElementSibling.remove();
    node?.remove();
  }

  #setFollowing(following) {
    this.#following = following;
    this.#busy(following !== null);
    this.#section.classList.toggle("busy", following !== null);
  }

  // --- Showing messages ---

  #show(runningId) {
    const place = this.#section.scrollHeight - this.#section.scrollTop;
    const focusAgain = keepFocus(this.#section);
    this.#views.clear();
    const running = this.#messages.find((message) => message.id === runningId);
    const active = this.#messages.filter((message) => message.is_active && message !== running);
    // While another reply to a question is written, it is shown in the place of the active one and of what follows that.
    const asked = running ? active.findIndex((message) => message.id === running.parent_id) : -1;
    const shown = [...active.slice(0, asked + 1 || active.length), ...(running ? [running] : [])];
    const last = shown.at(-1);
    const nodes = shown.map((message) => (message.role === "user" ? this.#questionNode(message) : this.#replyNode(message, message === last)));
    if (this.#next) nodes.unshift(el("button", { type: "button", className: "quiet older", onclick: () => this.#showOlder() }, "Show older messages"));
    this.#section.replaceChildren(...nodes);
    if (last && last !== running && hasFailed(last)) this.#showProblem(describeFailure(last), () => this.#tryAgain(() => this.#regenerate()));
    this.#waiting.show(Boolean(running));
    this.#showUnsent();
    this.#showRefusedEdit();
    focusAgain();
    if (this.#scrolling.staysAtEnd) this.#scrolling.toEnd();
    else this.#section.scrollTop = this.#section.scrollHeight - place;
  }

  async #showOlder() {
    this.#scrolling.staysAtEnd = false;
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

  #replyNode(message, isLast) {
    const others = this.#messages.filter((other) => other.role === "assistant" && message.parent_id && other.parent_id === message.parent_id);
    const versions = versionSwitch("this reply", others, message, (chosen) => this.#activate(chosen));
    const rate = (name, label, rating) =>
      iconButton(name, label, () => this.#rate(message, message.feedback === rating ? null : rating), { "aria-pressed": String(message.feedback === rating) });
    const actions = [
      iconButton("copy", "Copy", () => copyText(message.content)),
      rate("good", "Good reply", 1),
      rate("bad", "Bad reply", -1),
      iconButton("again", "Write another reply", () => this.#regenerate(message.id)),
      iconButton("fork", "Branch off into a new conversation", () => this.#fork(message)),
      isLast && canGoOn(message) ? el("button", { type: "button", className: "quiet small", onclick: () => this.#goOn(message) }, "Continue") : null,
    ].filter(Boolean);
    // The last failure has a button to try again, and so a box of its own.
    const note = message === this.#messages.at(-1) && hasFailed(message) ? null : describeEnd(message);
    const view = new ReplyView(message, { actions: message.content ? actions : [], versions, note });
    this.#views.set(message.id, view);
    return view.node;
  }

  #questionNode(message) {
    const first = message.parent_id ?? message.id;
    const others = this.#messages.filter((other) => other.role === "user" && (other.id === first || other.parent_id === first));
    const versions = versionSwitch("your message", others, message, (chosen) => this.#activate(chosen));
    const edit = iconButton("pencil", "Edit", () => this.#edit(node, message));
    const node = questionView(message.content, message.id, [edit], versions);
    return node;
  }

  #edit(node, message, written = message.content) {
    const form = editForm(written, (content) => this.#sendEdited(form, message, content), () => this.#leaveEdit(form, node));
    node.replaceWith(form);
    const field = form.querySelector("textarea");
    field.defaultValue = message.content;
    field.focus();
  }

  #showRefusedEdit() {
    const refused = this.#refusedEdit;
    const message = refused && this.#messages.find((each) => each.id === refused.editedId && each.is_active);
    if (!message) return;
    this.#refusedEdit = null;
    this.#edit(document.getElementById(`m-${message.id}`), message, refused.content);
  }

  #leaveEdit(form, node) {
    form.replaceWith(node);
    node.querySelector("footer button:last-child").focus();
  }

  #sendEdited(form, message, content) {
    if (this.isBusy) return undefined;
    this.#removeFrom(form);
    this.#dropUnsent();
    this.#refusedEdit = null;
    const request = { path: `${this.#path}/messages/${message.id}`, method: "PUT", body: { content }, replaces: message.id };
    return this.#begin(request, this.#newQuestion(content, message.id));
  }

  /** The branch up to a reply becomes a conversation of its own, which is opened. */
  async #fork(message) {
    try {
      const forked = await call("POST", `${this.#path}/fork`, { message_id: message.id });
      location.hash = location.hash.replace(this.#id, forked.id);
      this.#changed();
    } catch (problem) {
      this.#showProblem(inWords(problem));
    }
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
    this.#scrolling.toEnd();
  }
}

/** Tell whether the same request would be refused again. */
function isRefused(failure) {
  return failure?.status >= 400 && failure.status < 500 && !failure.user_message_id && !REFUSALS_THAT_PASS.includes(failure.status);
}
