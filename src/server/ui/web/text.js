"use strict";
// Server-sent events from bytes: pieces may be cut anywhere, also amid a character.
class EventReader {
  constructor(onData) {
    this.decoder = new TextDecoder();
    this.rest = "";
    this.onData = onData;
  }
  push(bytes) {
    this.rest += this.decoder.decode(bytes, { stream: true });
    for (let end; (end = this.rest.indexOf("\n\n")) >= 0; this.rest = this.rest.slice(end + 2)) {
      const data = this.rest.slice(0, end).split("\n").filter((line) => line.startsWith("data:"));
      if (data.length) this.onData(data.map((line) => line.slice(5).trimStart()).join("\n"));
    }
  }
}

// Markdown as nodes. What a model writes becomes text and never markup: no string is ever parsed as HTML.
const Markdown = (() => {
  const node = (tag, ...children) => {
    const element = document.createElement(tag);
    element.append(...children);
    return element;
  };
  const INLINE = /(`+)([^`][\s\S]*?)\1|\*\*([^*\s](?:[\s\S]*?[^*\s])?)\*\*|\*([^*\s](?:[^*]*?[^*\s])?)\*|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)/g;

  const inline = (text) => {
    const parts = [];
    let last = 0;
    for (const match of text.matchAll(INLINE)) {
      if (match.index > last) parts.push(text.slice(last, match.index));
      last = match.index + match[0].length;
      if (match[2] !== undefined) parts.push(node("code", match[2]));
      else if (match[3] !== undefined) parts.push(node("strong", ...inline(match[3])));
      else if (match[4] !== undefined) parts.push(node("em", ...inline(match[4])));
      else {
        const link = node("a", match[5]);
        link.href = match[6];
        link.rel = "noopener noreferrer nofollow";
        link.target = "_blank";
        parts.push(link);
      }
    }
    if (last < text.length) parts.push(text.slice(last));
    return parts;
  };
  const lines = (text) => text.split("\n").flatMap((line, i) => (i ? [node("br"), ...inline(line)] : inline(line)));

  const code = (text) => {
    const pre = node("pre", node("code", text));
    const copy = node("button", word("copy"));
    copy.type = "button";
    copy.addEventListener("click", () => copyText(text, copy));
    pre.append(copy);
    return pre;
  };
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const table = (rows) => {
    const head = node("tr", ...cells(rows[0]).map((cell) => node("th", ...inline(cell))));
    const body = rows.slice(2).map((row) => node("tr", ...cells(row).map((cell) => node("td", ...inline(cell)))));
    return node("table", node("thead", head), node("tbody", ...body));
  };
  const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
  const list = (items) => {
    const element = node(/\d/.test(items[0].mark) ? "ol" : "ul");
    for (let i = 0; i < items.length; ) {
      let end = i + 1;
      while (end < items.length && items[end].indent > items[i].indent) ++end;
      const item = node("li", ...lines(items[i].text));
      if (end > i + 1) item.append(list(items.slice(i + 1, end)));
      element.append(item);
      i = end;
    }
    const first = parseInt(items[0].mark, 10);
    if (first > 1) element.start = first;
    return element;
  };

  // Blocks one after another; each taker gives how many lines it took, 0: none of its kind.
  const takeCode = (rows, at, out) => {
    const fence = rows[at].match(/^\s*(```+|~~~+)/);
    if (!fence) return 0;
    let end = at + 1;
    while (end < rows.length && !rows[end].trim().startsWith(fence[1])) ++end;
    out.push(code(rows.slice(at + 1, end).join("\n")));
    return end + 1 - at;
  };
  const takeHeading = (rows, at, out) => {
    const heading = rows[at].match(/^(#{1,6})\s+(.*)$/);
    if (!heading) return 0;
    out.push(node("h" + Math.min(4, heading[1].length), ...inline(heading[2])));
    return 1;
  };
  const takeTable = (rows, at, out) => {
    if (!rows[at].includes("|") || !/^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(rows[at + 1] || "")) return 0;
    let end = at + 2;
    while (end < rows.length && rows[end].includes("|")) ++end;
    out.push(table(rows.slice(at, end)));
    return end - at;
  };
  const takeList = (rows, at, out) => {
    const items = [];
    let end = at;
    for (; end < rows.length; ++end) {
      const item = rows[end].match(ITEM);
      if (item) items.push({ indent: item[1].length, mark: item[2], text: item[3] });
      else if (items.length && /^\s+\S/.test(rows[end])) items[items.length - 1].text += "\n" + rows[end].trim();
      else break;
    }
    if (items.length) out.push(list(items));
    return end - at;
  };
  const takeQuote = (rows, at, out) => {
    let end = at;
    while (end < rows.length && /^\s*>/.test(rows[end])) ++end;
    if (end > at) out.push(node("blockquote", ...lines(rows.slice(at, end).map((row) => row.replace(/^\s*>\s?/, "")).join("\n"))));
    return end - at;
  };
  const TAKERS = [takeCode, takeHeading, takeTable, takeList, takeQuote];
  const takeParagraph = (rows, at, out) => {
    let end = at + 1;
    while (end < rows.length && rows[end].trim() && !TAKERS.some((take) => take(rows, end, []))) ++end;
    out.push(node("p", ...lines(rows.slice(at, end).join("\n"))));
    return end - at;
  };
  const render = (text) => {
    const rows = text.split("\n"), out = [];
    for (let at = 0; at < rows.length; ) {
      if (!rows[at].trim()) { ++at; continue; }
      let took = 0;
      for (const take of TAKERS) if ((took = take(rows, at, out))) break;
      at += took || takeParagraph(rows, at, out);
    }
    return out;
  };
  return { render };
})();

const copyText = async (text, button) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = word("copied");
  setTimeout(() => (button.textContent = before), 1200);
};
