// A small chat page on the public API: logging in, choosing a conversation, writing. Replies are streamed by ../stream.js.
import { call, getToken, inWords, readFile, setToken, whenLoggedOut } from "./api.js";
import { Changes } from "./changes.js";
import { drawIcons, el, isComposing } from "./elements.js";
import { Sidebar } from "./sidebar.js";
import { Thread } from "./thread.js";

const APPEARANCE = "appearance";
const DRAFT = "draft"; // of this tab, so that a reload loses nothing
const $ = (id) => document.getElementById(id);

takeTokenFromAddress();
drawIcons();

const sidebar = new Sidebar();
const thread = new Thread({ changed: () => (sidebar.load(), refreshHead()), busy: showBusy, giveBack: putBack });
const changes = new Changes(showChanges);
let conversation = null;

// --- Logging in ---

/** `make run` prints a link that ends in #token=…. The token must not stay in the address bar or the history. */
function takeTokenFromAddress(before = "") {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return false;
  const isAnotherUser = getToken() && getToken() !== token;
  history.replaceState(null, "", location.pathname + (isAnotherUser ? before : ""));
  // Anyone can send a link. What is written after it would land in the account of its token.
  if (isAnotherUser) askToSwitch(token);
  else setToken(token);
  return true;
}

function askToSwitch(token) {
  const dialog = $("switch-dialog");
  dialog.returnValue = "";
  dialog.onclose = () => {
    if (dialog.returnValue !== "switch") return;
    thread.close();
    clearQuestion();
    changes.stop();
    setToken(token);
    history.replaceState(null, "", location.pathname);
    start();
  };
  if (!dialog.open) dialog.showModal();
}

function showLogin(problem = "") {
  thread.close({ isLoggedOut: true });
  changes.stop();
  setToken(null);
  $("chat").hidden = true;
  $("login").hidden = false;
  $("login-problem").textContent = problem;
  $("token").value = "";
  $("token").focus();
}

async function start() {
  $("login").hidden = Boolean(getToken());
  $("chat").hidden = !getToken();
  if (!getToken()) return showLogin();
  sidebar.load();
  sidebar.loadTags();
  changes.listen();
  return route();
}

whenLoggedOut(() => showLogin("This token is not valid, or it has expired."));
$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken($("token").value.trim());
  start();
});
$("log-out").addEventListener("click", () => {
  history.replaceState(null, "", location.pathname);
  showLogin();
  clearQuestion();
});

// --- Which conversation ---

/** #/c/… is a conversation, #/t/… a temporary one, everything else a new chat. */
async function route() {
  const [, kind, id] = location.hash.match(/^#\/([ct])\/([0-9a-f-]{36})$/) ?? [];
  openSidebar(false);
  sidebar.mark(kind === "c" ? id : null);
  $("temporary-choice").hidden = Boolean(id);
  if (!id) {
    thread.showWelcome();
    showConversation(null);
    $("question").focus();
    return;
  }
  if (id === thread.id) return;
  try {
    showConversation(await thread.open(id));
    if (!matchMedia("(pointer: coarse)").matches) $("question").focus();
  } catch (problem) {
    if (!getToken()) return;
    thread.showWelcome();
    showConversation(null);
    showHeadProblem(problem);
  }
}

function showConversation(shown) {
  conversation = shown;
  const isTemporary = location.hash.startsWith("#/t/");
  $("title").textContent = shown?.title ?? "New chat";
  document.title = shown ? `${shown.title} – Chat` : "Chat";
  $("temporary-badge").hidden = !isTemporary;
  $("conversation-actions").hidden = !shown;
  $("conversation-tags").replaceChildren(...(shown?.tags ?? []).map((tag) => el("span", { className: "badge" }, tag)));
  for (const button of ["favourite", "archive", "tag"]) $(button).hidden = isTemporary;
  $("favourite").setAttribute("aria-pressed", String(Boolean(shown?.is_favorited)));
  $("archive").setAttribute("aria-pressed", String(Boolean(shown?.is_archived)));
}

function showHeadProblem(problem) {
  $("title").textContent = inWords(problem);
}

/** The first message names a conversation, and other tabs change it too. */
async function refreshHead() {
  const { id } = thread;
  if (!id) return;
  const read = await call("GET", `/conversations/${id}?limit=1`).catch(() => null);
  if (read && id === thread.id) showConversation(read);
}

window.addEventListener("hashchange", (event) => (takeTokenFromAddress(new URL(event.oldURL).hash) ? start() : getToken() && route()));
/** Show what changed elsewhere. Null: that may be anything. */
function showChanges(told) {
  if (!getToken() || (told && !told.conversations.length && !told.deleted.length)) return;
  sidebar.load();
  sidebar.loadTags();
  if (told?.deleted.includes(thread.id)) return void newChat();
  const changed = told?.conversations.find(({ id }) => id === thread.id);
  if (changed) showConversation(changed);
  if (changed || !told) reopen();
}

function reopen() {
  if (!thread.id || thread.isBusy || $("thread").querySelector(".edit")) return;
  thread.open(thread.id, { onlyIfChanged: true }).catch(() => {});
}
// Changes of temporary chats are not told.
document.addEventListener("visibilitychange", () => document.hidden || !getToken() || reopen());
window.addEventListener("online", () => getToken() && changes.listen());

// --- Writing ---

/** While a reply is written, a message can be sent, too: it waits. */
function showSend() {
  const waits = thread.isBusy;
  $("send").hidden = waits && !$("question").value.trim();
  $("send").title = waits ? "Send when the reply has ended" : "Send";
  $("send").setAttribute("aria-label", $("send").title);
}

function showBusy(isBusy) {
  const hadFocus = [$("send"), $("stop")].includes(document.activeElement);
  showSend();
  $("stop").hidden = !isBusy;
  $("stop").disabled = false;
  if (hadFocus) $(isBusy ? "stop" : "question").focus();
}

$("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const content = $("question").value;
  if (!content.trim() || $("send").disabled) return;
  $("send").disabled = true;
  try {
    if (!thread.id) await createConversation();
    clearQuestion();
    thread.say(content);
  } catch (problem) {
    showHeadProblem(problem);
  } finally {
    $("send").disabled = false;
  }
});

function clearQuestion() {
  $("question").value = "";
  fitQuestion();
}

/** Put a message that was not saved back into the box, before what has been written since. */
function putBack(content) {
  $("question").value = [content, $("question").value].filter(Boolean).join("\n");
  fitQuestion();
}

async function createConversation() {
  const temporary = $("temporary").checked;
  const created = await call("POST", "/conversations", temporary ? { temporary } : {});
  thread.begin(created.id);
  history.pushState(null, "", `#/${temporary ? "t" : "c"}/${created.id}`);
  $("temporary-choice").hidden = true;
  showConversation(created);
  sidebar.mark(temporary ? null : created.id);
}

$("stop").addEventListener("click", () => {
  $("stop").disabled = true;
  thread.stop();
});
$("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
  event.preventDefault();
  $("composer").requestSubmit();
});
$("question").addEventListener("input", fitQuestion);

/** The box grows with its text. */
function fitQuestion() {
  showSend();
  const { value } = $("question");
  try {
    sessionStorage.setItem(DRAFT, value);
  } catch {
    // The browser keeps no text as long as this.
  }
  $("question").rows = Math.min(8, value.split("\n").reduce((rows, line) => rows + 1 + Math.floor(line.length / 80), 0));
}

// --- The conversation's own buttons ---

async function change(body) {
  try {
    showConversation(await call("PATCH", `/conversations/${conversation.id}`, body));
    sidebar.load();
  } catch (problem) {
    showHeadProblem(problem);
  }
}

$("favourite").addEventListener("click", () => change({ is_favorited: !conversation.is_favorited }));
$("archive").addEventListener("click", () => change({ is_archived: !conversation.is_archived }));

/** Let a button open a dialog with one field. `save` gets what was written. */
function askFor(button, dialog, field, read, save) {
  $(button).addEventListener("click", () => {
    $(field).value = read();
    $(dialog).returnValue = "";
    $(dialog).showModal();
    $(field).select();
  });
  // Enter in the field submits with the first button, which is Cancel, unless the form is told otherwise.
  $(field).addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || isComposing(event)) return;
    event.preventDefault();
    $(dialog).querySelector(".primary").click();
  });
  $(dialog).addEventListener("close", () => $(dialog).returnValue && save($(field).value));
}

askFor("rename", "rename-dialog", "new-title", () => conversation.title, (title) => title.trim() && change({ title: title.trim() }));
askFor("tag", "tag-dialog", "new-tags", () => conversation.tags.join(", "), async (tags) => {
  await change({ tags: tags.split(",").filter((tag) => tag.trim()) });
  sidebar.loadTags();
});
/** Give the user a file of the service. */
async function download(path) {
  try {
    const { name, content } = await readFile(path);
    const address = URL.createObjectURL(content);
    el("a", { href: address, download: name }).click();
    URL.revokeObjectURL(address);
  } catch (problem) {
    showHeadProblem(problem);
  }
}

$("download").addEventListener("click", () => download(`/conversations/${conversation.id}/export?format=markdown`));
$("download-all").addEventListener("click", () => download("/export"));
$("delete").addEventListener("click", () => {
  $("delete-dialog").returnValue = "";
  $("delete-dialog").showModal();
});
$("delete-dialog").addEventListener("close", async () => {
  if ($("delete-dialog").returnValue !== "delete") return;
  try {
    await call("DELETE", `/conversations/${conversation.id}`);
    newChat();
    sidebar.load();
  } catch (problem) {
    showHeadProblem(problem);
  }
});

// --- The page ---

function newChat() {
  history.pushState(null, "", location.pathname);
  return route();
}

/** On a phone, the list lies over the conversation. */
function openSidebar(isOpen) {
  document.body.classList.toggle("sidebar-open", isOpen);
  $("shade").hidden = !isOpen;
  $("open-sidebar").setAttribute("aria-expanded", String(isOpen));
  $("main").inert = isOpen;
}

$("new-chat").addEventListener("click", newChat);
$("skip").addEventListener("click", () => $("question").focus());
$("open-sidebar").addEventListener("click", () => (openSidebar(true), $("close-sidebar").focus()));
for (const id of ["close-sidebar", "shade"]) $(id).addEventListener("click", () => (openSidebar(false), $("open-sidebar").focus()));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("sidebar-open")) (openSidebar(false), $("open-sidebar").focus());
  if (event.key === "k" && (event.ctrlKey || event.metaKey)) (event.preventDefault(), openSidebar(matchMedia("(max-width: 760px)").matches), $("search").focus());
});

$("appearance").value = localStorage.getItem(APPEARANCE) ?? "";
$("appearance").addEventListener("change", () => {
  localStorage.setItem(APPEARANCE, $("appearance").value);
  showAppearance();
});
function showAppearance() {
  document.documentElement.dataset.appearance = $("appearance").value;
}

showAppearance();
$("question").value = sessionStorage.getItem(DRAFT) ?? "";
fitQuestion();
start();
