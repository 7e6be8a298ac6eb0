// A small part of Markdown as elements: code blocks, lists, headings, inline code and bold. Everything else is plain text.
import { copyText, el } from "./elements.js";

const FENCE = /^ {0,3}```(.*)$/;
const ITEM = /^\s*(?:[-*•]|\d{1,3}[.)])\s+/;
const HEADING = /^#{1,6}\s+/;

/** Return the blocks of a text. A code block that is not closed yet reaches to the end. */
export function renderText(text) {
  const blocks = [];
  const lines = text.split("\n");
  while (lines.length) {
    if (FENCE.test(lines[0])) blocks.push(takeCode(lines));
    else if (HEADING.test(lines[0])) blocks.push(el("h3", {}, ...inline(lines.shift().replace(HEADING, ""))));
    else if (ITEM.test(lines[0])) blocks.push(takeList(lines));
    else if (!lines[0].trim()) lines.shift();
    else blocks.push(takeParagraph(lines));
  }
  return blocks;
}

function takeCode(lines) {
  const language = lines.shift().match(FENCE)[1].trim();
  const end = lines.findIndex((line) => FENCE.test(line));
  const code = lines.splice(0, end < 0 ? lines.length : end).join("\n");
  if (end >= 0) lines.shift();
  const copy = el("button", { type: "button", className: "quiet copy", onclick: () => copyText(code) }, "Copy");
  // A long line scrolls sideways, so keyboards must be able to reach it.
  const pre = el("pre", { tabIndex: 0, role: "region", "aria-label": `Code${language && `, ${language}`}` }, el("code", {}, code));
  return el("div", { className: "code" }, el("div", { className: "code-head" }, el("span", {}, language || "code"), copy), pre);
}

function takeList(lines) {
  const list = el(/^\s*\d/.test(lines[0]) ? "ol" : "ul");
  if (list.tagName === "OL") list.start = parseInt(lines[0], 10);
  while (lines.length && (ITEM.test(lines[0]) || /^\s+\S/.test(lines[0]))) {
    const line = lines.shift();
    if (ITEM.test(line)) list.append(el("li", {}, ...inline(line.replace(ITEM, ""))));
    else list.lastChild.append(" ", ...inline(line.trim()));
  }
  return list;
}

function takeParagraph(lines) {
  const taken = [];
  while (lines.length && lines[0].trim() && ![FENCE, HEADING, ITEM].some((form) => form.test(lines[0]))) taken.push(lines.shift());
  return el("p", {}, ...inline(taken.join("\n")));
}

function inline(text) {
  return text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/).map((part) => {
    if (/^`.+`$/.test(part)) return el("code", {}, part.slice(1, -1));
    if (/^\*\*.+\*\*$/.test(part)) return el("strong", {}, part.slice(2, -2));
    return part;
  });
}
