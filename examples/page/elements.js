// Making elements. Nothing on this page writes HTML: text from users and models only ever becomes text nodes.

const ICONS = {
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  menu: "M4 7h16M4 12h16M4 17h16",
  star: "M12 4l2.5 5.1 5.6.8-4 4 .9 5.6-5-2.7-5 2.7.9-5.6-4-4 5.6-.8z",
  pencil: "M5 19l1-4L16.5 4.5l3 3L9 18z",
  bin: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h10v11H9zM5 15V4h10",
  good: "M7 11v8H4v-8zM7 11l4-7c1.6 0 2 1.2 2 2.300l-.6 3.700H18l1.500 1.500-1.500 7L16 19H7",
  bad: "M7 13V5H4v8zM7 13l4 7c1.600 0 2-1.200 2-2.300l-.600-3.700H18l1.500-1.500-1.500-7L16 5H7",
  again: "M19 12a7 7 0 1 1-2-5l2 2M19 4v5h-5",
  tag: "M4 4h8l8 8-8 8-8-8zM8 8h.01",
  box: "M4 5h16v4H4zM6 9v10h12V9M10 13h4",
  down: "M12 4v11M7 10l5 5 5-5M5 19h14",
  fork: "M7 4v16M7 14c0-4 10-2 10-8M14 7l3-3 3 3",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
};

/** Return a new element. `on…` are listeners, other properties are set where the element has them, else as attributes. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node) node[name] = value;
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Return a button that shows an icon and is called `label`. */
export function iconButton(name, label, onclick, more = {}) {
  return el("button", { type: "button", className: "icon", title: label, "aria-label": label, onclick, ...more }, icon(name));
}

/** Put the icons into the buttons of the HTML file, which name them in `data-icon`. */
export function drawIcons() {
  for (const button of document.querySelectorAll("[data-icon]")) button.prepend(icon(button.dataset.icon));
}

/** Copy a text. Browsers allow it on https and on localhost only. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    tell("Copied.");
  } catch {
    tell("This browser does not allow copying here.");
  }
}

/** Say something to screen readers. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Say something to everybody, for a moment. */
function tell(text) {
  announce(text);
  document.querySelector(".toast")?.remove();
  const toast = el("div", { className: "toast", "aria-hidden": "true" }, text);
  document.body.append(toast);
  setTimeout(() => toast.remove(), 2000);
}

/** Tell whether an input method is writing a character. Safari says so only with the key code 229. */
export const isComposing = (event) => event.isComposing || event.keyCode === 229;
