// Markdown as elements: code, lists, headings, tables, quotes, links, emphasis. HTML and everything else is plain text.
import { copyText, el } from "./elements.js";

const FENCE = /^( {0,3})(`{3,}(?=[^`]*$)|~{3,})(.*)$/;
const ITEM = /^(\s*)(?:[-*+•]|(\d{1,9})[.)])\s+/;
const TASK = /^\[([ xX])\]\s+/;
const HEADING = /^#{1,6}\s+/;
const QUOTE = /^ {0,3}>\s?/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const ROW_END = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
// The parts that need no other Markdown inside come first.
const INLINE = new RegExp(
  [
    /``[^\n]{1,1000}?``(?!`)|`[^`\n]+`/,
    // An address may have brackets, as those of Wikipedia do.
    /!?\[[^[\]\n]{1,500}\]\((?:[^()\s]|\([^()\s]*\)){1,2000}(?:\s+"[^"\n]{0,500}")?\)/,
    /<(?:https?:\/\/|mailto:)[^\s<>]{1,2000}>|\bhttps?:\/\/[^\s<>"']{1,2000}/,
    /\*\*\*(?=[^*\s])[^*\n]+\*\*\*|\*\*(?=[^*\s])[^\n]{1,1000}?\*\*(?!\*)|(?<!\w)__(?=[^_\s])[^\n]{1,1000}?__(?!\w)/,
    /(?<![*\w])\*[^*\s](?:[^*\n]*[^*\s])?\*(?![*\w])|(?<!\w)_[^_\s](?:[^_\n]*[^_\s])?_(?!\w)|~~[^~\n]+~~/,
  ]
    .map(({ source }) => source)
    .join("|"),
);
const LONGEST_PARAGRAPH = 20_000;
const DEEPEST = 8;
const HIDDEN_BAR = "\u0000";

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
    else if (ITEM.test(line) && depth < DEEPEST) blocks.push(takeList(lines, depth));
    else if (isTable(lines)) blocks.push(takeTable(lines));
    else if (!line.trim()) lines.take();
    else blocks.push(...takeParagraph(lines));
  }
  return blocks;
}

/** Return how much of a growing text is settled: more text can't change its blocks. */
export function settledLength(text) {
  let settled = 0, place = 0, code = null, wasBlank = false;
  for (const line of text.split("\n")) {
    if (wasBlank && !code && /^\S/.test(line) && !ITEM.test(line)) settled = place;
    if (!code) code = line.match(FENCE);
    else if (isEnd(line, code)) code = null;
    wasBlank = !line.trim();
    place += line.length + 1;
  }
  return settled;
}

/** Tell whether a line ends a block of code: with the signs that began it, at least as many, and nothing else. */
function isEnd(line, [, , opening]) {
  const [, , signs, more] = line.match(FENCE) ?? [];
  return signs?.[0] === opening[0] && signs.length >= opening.length && !more.trim();
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

  /** The next line that is not blank. */
  get nextFilled() {
    let place = this.#place;
    while (this.#lines[place]?.trim() === "") place += 1;
    return this.#lines[place] ?? "";
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
  const opening = lines.take().match(FENCE);
  const language = opening[3].trim();
  const indent = new RegExp(`^ {0,${opening[1].length}}`);
  const code = lines.takeWhile((line) => !isEnd(line, opening)).map((line) => line.replace(indent, "")).join("\n");
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

function takeList(lines, depth) {
  const [, , number] = lines.next.match(ITEM);
  const list = el(number ? "ol" : "ul", { dir: "auto", ...(number && { start: parseInt(number, 10) }) });
  while (lines.more) {
    const item = lines.next.match(ITEM);
    if (item && Boolean(item[2]) === Boolean(number) && !RULE.test(lines.next)) list.append(el("li", {}, ...itemNodes(takeItem(lines, item), depth)));
    else if (!lines.next.trim() && ITEM.test(lines.nextFilled)) lines.take();
    else break;
  }
  return list;
}

const indentOf = (line) => line.match(/^\s*/)[0].replaceAll("\t", "    ").length;

/** Take an item: its own line, and the lines that are indented further. They may be lists, code and paragraphs inside it. */
function takeItem(lines, [marker, space]) {
  const outer = indentOf(space);
  const taken = [lines.take().slice(marker.length)];
  let inner = 0;
  while (lines.more) {
    const line = lines.next.replace(/^\t+/, (tabs) => "    ".repeat(tabs.length));
    const indent = indentOf(line);
    const isText = indent > outer && !ITEM.test(line) && taken.at(-1).trim();
    if (!line.trim() ? indentOf(lines.nextFilled) < outer + 2 : indent < outer + 2 && !isText) break;
    if (line.trim()) inner ||= Math.min(indent, marker.length);
    taken.push(line.slice(Math.min(indent, inner)));
    lines.take();
  }
  return taken.join("\n").trimEnd();
}

/** The first paragraph of an item stands beside its number. */
function itemNodes(text, depth) {
  // Most items are one line of text.
  if (/^[^\n`~#>*+•\d[-][^\n]*$/.test(text)) return inline(text);
  const [first, ...rest] = renderText(text.replace(TASK, (_, sign) => (sign === " " ? "☐ " : "☑ ")), depth + 1);
  return first?.tagName === "P" ? [...first.childNodes, ...rest] : first ? [first, ...rest] : [];
}

const isTable = (lines) => lines.next.includes("|") && (lines.afterNext ?? "").includes("-") && lines.afterNext.length < 1000 && ROW_END.test(lines.afterNext);
/** A bar inside code, or after a backslash, ends no cell. */
function cells(line) {
  const hidden = line.trim().replace(/`[^`]*`|\\\|/g, (part) => part.replace(/\\?\|/g, HIDDEN_BAR));
  return hidden.replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim().replaceAll(HIDDEN_BAR, "|"));
}

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
    if (part.startsWith("``")) nodes.push(el("code", {}, part.slice(2, -2).trim()));
    else if (part.startsWith("`")) nodes.push(el("code", {}, part.slice(1, -1)));
    else if (/^!?\[/.test(part)) nodes.push(namedLink(part));
    else if (part.startsWith("<")) nodes.push(isSafe(part.slice(1, -1)) ? link(part.slice(1, -1), part.slice(1, -1)) : part);
    else if (part.startsWith("http")) nodes.push(...bareLink(part));
    else if (part.startsWith("***")) nodes.push(el("strong", {}, el("em", {}, ...inner(3))));
    else if (/^(?:\*\*|__)/.test(part)) nodes.push(el("strong", {}, ...inner(2)));
    else if (part.startsWith("~~")) nodes.push(el("s", {}, ...inner(2)));
    else nodes.push(el("em", {}, ...inner(1)));
  }
  return [...nodes, text];
}

function namedLink(part) {
  // Images are links, because the page loads nothing from elsewhere.
  const [, name, address] = part.match(/^!?\[(.*)\]\((\S*)(?:\s+".*")?\)$/);
  return isSafe(address) ? link(address, name.replace(/[*_`]/g, "")) : part;
}

/** A full stop or a bracket after an address belongs to the sentence. */
function bareLink(part) {
  const [address] = part.match(/^.*?(?=[.,;:!?)\]}*_]*$)/);
  const ends = part[address.length] === ")" && address.split("(").length > address.split(")").length ? `${address})` : address;
  return isSafe(ends) ? [link(ends, ends), part.slice(ends.length)] : [part];
}

const isSafe = (address) => /^(?:https?:\/\/|mailto:)/i.test(address) && URL.canParse(address);
const link = (href, ...children) => el("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...children);
