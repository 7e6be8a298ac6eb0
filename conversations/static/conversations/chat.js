// Load older messages above the others without leaving the page. Without this script, the link opens them.
"use strict";
// Open at the newest message, unless the address names a message or a page of older ones.
if (!location.hash && !location.search) document.querySelector(".chat > .chat-message:last-of-type")?.scrollIntoView({ block: "end" });
// Copy an id. Without HTTPS there is no clipboard: then select it, so that a key can copy it.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
  }
});
document.addEventListener("click", async (event) => {
  const link = event.target.closest(".chat-older a");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  link.setAttribute("aria-busy", "true");
  link.textContent = "Loading …";
  try {
    const answer = await fetch(link.href, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) throw new Error("unexpected response");
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const older = page.querySelector(".chat");
    older.querySelector(".chat-newer")?.remove();
    const chat = document.querySelector(".chat");
    const heightBefore = document.documentElement.scrollHeight;
    const nodes = [...older.children];
    link.closest(".chat-older").remove();
    // If both pages show messages of the same day, show its heading only once.
    const days = older.querySelectorAll(".chat-day");
    const firstDay = chat.querySelector(".chat-day");
    if (days.length && firstDay && days[days.length - 1].textContent === firstDay.textContent) firstDay.remove();
    chat.prepend(...nodes);
    // Keep the scroll position.
    window.scrollBy(0, document.documentElement.scrollHeight - heightBefore);
  } catch {
    window.location.assign(link.href);
  }
});
