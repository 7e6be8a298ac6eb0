// The focus, while the messages are drawn anew.

/** Note which button of `section` has the focus. Return a function that gives it to the same button of the new elements. */
export function keepFocus(section) {
  const active = document.activeElement;
  if (!section.contains(active) || active === section) return () => {};
  const label = active.getAttribute("aria-label");
  const id = active.closest(".message")?.id;
  const kind = active.closest(".question") ? ".question" : ".reply";
  return () => {
    if (section.contains(document.activeElement)) return;
    const buttons = [...section.querySelectorAll("button:not(:disabled)")];
    const alike = buttons.filter((button) => button.getAttribute("aria-label") === label);
    const same = alike.find((button) => button.closest(".message")?.id === id) ?? alike.at(-1);
    // At the first and at the last version, one of the two buttons can't be pressed.
    const beside = [...section.querySelectorAll(`${kind} .versions button:not(:disabled)`)].at(-1);
    (same ?? beside ?? document.getElementById("question")).focus({ preventScroll: true });
  };
}
