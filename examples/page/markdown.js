// Markdown as elements: code, lists, headings, tables, quotes, links, emphasis. HTML and everything else is plain text.
import { copyText, el } from "./elements.js";

const FENCE = /^ {0,3}```(.*)$/;
const ITEM = /^(\s*)(?:[-*+•]|(\d{1,9})[.)])\s+/;
const HEADING = /^#{1,6}\s+/;
const QUOTE = /^ {0,3}>\s?/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const ROW_END = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
// The parts that need no other Markdown inside come first.
const INLINE =
  /`[^`\n]+`|\[[^[\]\n]{1,500}\]\([^()\s]{1,2000}\)|\bhttps?:\/\/[^\s<>"']{1,2000}|\*\*[^*\n]+\*\*|(?<![*\w])\*[^*\s](?:[^*\n]*[^*\s])?\*(?![*\w])|(?<!\w)_[^_\s](?:[^_\n]*[^_\s])?_(?!\w)|~~[^~\n]+~~/;
const LONGEST_PARAGRAPH = 20_000;
const DEEPEST = 8;

/** Return the blocks of a text. A code block that is not closed yet reaches to the end. */
export function renderText(text, depth = 0) {
  const blocks = [];
  const lines = new Lines(text);
  while (lines.more) {
    const line = lines.next;
    if (FENCE.test(line)) blocks.push(takeCode(lines));
    else if (HEADING.test(line)) blocks.push(el("h2", { dir: "auto" }, ...inline(lines.take().replace(HEADING, ""))));
    else if (RULE.test(line)) (lines.take(), blocks.push(el("hr")));
    else if (QUOTE.test(line) && depth < DEEPEST) blocks.push(takeQuote(lines, depth));
    else if (ITEM.test(line)) blocks.push(takeList(lines));
    else if (isTable(lines)) blocks.push(takeTable(lines));
    else if (!line.trim()) lines.take();
    else blocks.push(...takeParagraph(lines));
  }
  return blocks;
}

/** Return how much of a growing text is settled: more text can't change its blocks. */
export function settledLength(text) {
  let settled = 0, place = 0, isCode = false, wasBlank = false;
  for (const line of text.split("\n")) {
    if (wasBlank && !isCode && /^\S/.test(line) && !ITEM.test(line)) settled = place;
    if (FENCE.test(line)) isCode = !isCode;
    wasBlank = !line.trim();
    place += line.length + 1;
  }
  return settled;
}

class Lines {
  #lines;
  #place = 0;

  constructor(text) {
    this.#lines = text.split("\n");
  }

  get more() {
    return this.#place < this.#lines.length;
  }

  get next() {
    return this.#lines[this.#place];
  }

  get afterNext() {
    return this.#lines[this.#place + 1];
  }

  take() {
    return this.#lines[this.#place++];
  }

  takeWhile(wanted) {
    const taken = [];
    while (this.more && wanted(this.next)) taken.push(this.take());
    return taken;
  }
}

function takeCode(lines) {
  const language = lines.take().match(FENCE)[1].trim();
  const code = lines.takeWhile((line) => !FENCE.test(line)).join("\n");
  lines.take();
  const copy = el("button", { type: "button", className: "quiet copy", onclick: () => copyText(code) }, "Copy");
  // A long line scrolls sideways, so keyboards must be able to reach it.
  const pre = el("pre", { tabIndex: 0, role: "group", "aria-label": `Code${language && `, ${language}`}` }, el("code", {}, code));
  return el("div", { className: "code", dir: "ltr" }, el("div", { className: "code-head" }, el("span", {}, language || "code"), copy), pre);
}

function takeQuote(lines, depth) {
  const quoted = lines.takeWhile((line) => QUOTE.test(line)).map((line) => line.replace(QUOTE, ""));
  return el("blockquote", { dir: "auto" }, ...renderText(quoted.join("\n"), depth + 1));
}

/** Items that are indented further than the ones before them are a list inside the last item. */
function takeList(lines) {
  const open = []; // the lists around the next item, outermost first
  let top = null;
  while (lines.more) {
    const item = lines.next.match(ITEM);
    if (item) {
      const indent = item[1].replaceAll("\t", "    ").length;
      while (open.length > 1 && indent < open.at(-1).indent) open.pop();
      if (!open.length || (indent > open.at(-1).indent + 1 && open.length < DEEPEST)) {
        const list = el(item[2] ? "ol" : "ul", { dir: "auto", ...(item[2] && { start: parseInt(item[2], 10) }) });
        if (open.length) open.at(-1).list.lastChild.append(list);
        else top = list;
        open.push({ list, indent });
      } else if (open.length === 1 && (top.tagName === "OL") !== Boolean(item[2])) break;
      open.at(-1).list.append(el("li", {}, ...inline(lines.take().replace(ITEM, ""))));
    } else if (/^\s+\S/.test(lines.next)) open.at(-1).list.lastChild.append(" ", ...inline(lines.take().trim()));
    else if (!lines.next.trim() && ITEM.test(lines.afterNext ?? "")) lines.take();
    else break;
  }
  return top;
}

const isTable = (lines) => lines.next.includes("|") && (lines.afterNext ?? "").includes("-") && lines.afterNext.length < 1000 && ROW_END.test(lines.afterNext);
const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function takeTable(lines) {
  const row = (tag, line) => el("tr", {}, ...cells(line).map((cell) => el(tag, { dir: "auto" }, ...inline(cell))));
  const head = el("thead", {}, row("th", lines.take()));
  lines.take();
  const body = el("tbody", {}, ...lines.takeWhile((line) => line.includes("|")).map((line) => row("td", line)));
  return el("div", { className: "table", tabIndex: 0, role: "group", "aria-label": "Table" }, el("table", {}, head, body));
}

function takeParagraph(lines) {
  const first = lines.take();
  const rest = lines.takeWhile((line) => line.trim() && ![FENCE, HEADING, ITEM, QUOTE].some((form) => form.test(line)));
  const text = [first, ...rest].join("\n");
  const paragraphs = [];
  // Browsers lay out very long paragraphs slowly.
  for (let place = 0; place < text.length; place += LONGEST_PARAGRAPH) {
    paragraphs.push(el("p", { dir: "auto" }, ...inline(text.slice(place, place + LONGEST_PARAGRAPH))));
  }
  return paragraphs;
}

function inline(text, depth = 0) {
  const nodes = [];
  for (let found; depth < DEEPEST && (found = text.match(INLINE)); text = text.slice(found.index + found[0].length)) {
    const [part] = found;
    nodes.push(text.slice(0, found.index));
    const inner = (marks) => inline(part.slice(marks, -marks), depth + 1);
    if (part.startsWith("`")) nodes.push(el("code", {}, part.slice(1, -1)));
    else if (part.startsWith("[")) nodes.push(namedLink(part));
    else if (part.startsWith("http")) nodes.push(...bareLink(part));
    else if (part.startsWith("**")) nodes.push(el("strong", {}, ...inner(2)));
    else if (part.startsWith("~~")) nodes.push(el("s", {}, ...inner(2)));
    else nodes.push(el("em", {}, ...inner(1)));
  }
  return [...nodes, text];
}

function namedLink(part) {
  const [, name, address] = part.match(/^\[(.*)\]\((.*)\)$/);
  return isSafe(address) ? link(address, name.replace(/[*_`]/g, "")) : part;
}

/** A full stop or a bracket after an address belongs to the sentence. */
function bareLink(part) {
  const [address] = part.match(/^.*?(?=[.,;:!?)\]}*_]*$)/);
  return isSafe(address) ? [link(address, address), part.slice(address.length)] : [part];
}

const isSafe = (address) => /^(?:https?:\/\/|mailto:)/i.test(address) && URL.canParse(address);
const link = (href, ...children) => el("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...children);
