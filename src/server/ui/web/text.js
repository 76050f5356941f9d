"use strict";
// Server-sent events from bytes: pieces may be cut anywhere, also amid a character.
class EventReader {
  constructor(onData) {
    this.decoder = new TextDecoder();
    this.rest = "";
    this.onData = onData;
  }
  push(bytes) {
    this.rest = (this.rest + this.decoder.decode(bytes, { stream: true })).replaceAll("\r\n", "\n");
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
  const link = (text, href) => Object.assign(node("a", text), { href, rel: "noopener noreferrer nofollow", target: "_blank" });

  // What stands within a line. Brackets of formulas, \( and \[, are not escapes here: the formula is unreadable without them.
  const SPAN = new RegExp([
    /\\(?<escaped>[`*_#+\-.!|~>])/,
    /(?<!`)(?<ticks>`+)(?!`)(?<code>.*?[^`])\k<ticks>(?!`)/,
    /\*\*(?=\S)(?<strong>.+?)(?<=\S)\*\*(?!\*)/,
    /(?<!\w)__(?=\S)(?<strong2>.+?)(?<=\S)__(?!\w)/,
    /\*(?=[^\s*])(?<em>[^*]*?)(?<=[^\s*])\*/,
    /(?<!\w)_(?=[^\s_])(?<em2>[^_]*?)(?<=[^\s_])_(?!\w)/,
    /~~(?=\S)(?<del>.+?)(?<=\S)~~/,
    /!?\[(?<label>[^\]]+)\]\((?<href>https?:\/\/(?:[^\s()]|\([^\s()]*\))+)(?:\s+"[^"]*")?\)/,
    /(?<url>https?:\/\/[\w.~%#?&=+@:;,\/!$()\-]*[\w~%#&=+@\/\-])/,
  ].map((part) => part.source).join("|"), "g");
  const LONGEST_LINE = 20000; // characters; what is longer is shown as it is

  const span = (g) => {
    if (g.escaped) return g.escaped;
    if (g.code) return node("code", g.code.length > 2 ? g.code.replace(/^ (.*) $/, "$1") : g.code);
    if (g.strong || g.strong2) return node("strong", ...inline(g.strong || g.strong2));
    if (g.em || g.em2) return node("em", ...inline(g.em || g.em2));
    if (g.del) return node("del", ...inline(g.del));
    return g.url ? link(g.url, g.url) : link(g.label, g.href);
  };
  const inline = (text) => {
    if (text.length > LONGEST_LINE) return [text];
    const parts = [];
    let last = 0;
    for (const match of text.matchAll(SPAN)) {
      if (match.index > last) parts.push(text.slice(last, match.index));
      last = match.index + match[0].length;
      parts.push(span(match.groups));
    }
    if (last < text.length) parts.push(text.slice(last));
    return parts;
  };
  const lines = (rows) => rows.flatMap((row, i) => (i ? [node("br"), ...inline(row)] : inline(row)));

  const indentOf = (row) => row.length - row.trimStart().length;
  const outdent = (row, width) => row.slice(Math.min(width, indentOf(row)));
  const nextFull = (rows, at) => { while (at < rows.length && !rows[at].trim()) ++at; return at; };
  // The blocks within an item or a quotation: what begins as a paragraph needs no <p> there.
  const within = (rows, depth) => {
    const nodes = parse(rows, depth + 1).map((block) => block.node);
    return nodes.length && nodes[0].tagName === "P" ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes;
  };

  const code = (text) => {
    const copy = node("button", word("copy"));
    copy.type = "button";
    copy.addEventListener("click", () => copyText(text, copy));
    return Object.assign(node("div", node("pre", node("code", text)), copy), { className: "code" });
  };
  const cells = (row) => row.trim().replace(/^\||(?<!\\)\|$/g, "").split(/(?<!\\)\|/).map((cell) => inline(cell.trim()));
  const table = (rows) => {
    const head = node("tr", ...cells(rows[0]).map((cell) => node("th", ...cell)));
    const body = rows.slice(2).map((row) => node("tr", ...cells(row).map((cell) => node("td", ...cell))));
    return node("table", node("thead", head), node("tbody", ...body));
  };

  const FENCE = /^\s*(`{3,}|~{3,})[^`]*$/, HEADING = /^(#{1,6})\s+(.*)$/, RULE = /^\s*([-*_])(?:\s*\1){2,}\s*$/;
  const ITEM = /^\s*([-*+]|\d{1,9}[.)])\s+(.*)$/, QUOTE = /^\s*>\s?/, COLUMNS = /^[\s|:-]*-[\s|:-]*$/;
  const isOrdered = (row) => /^\s*\d/.test(row);

  // One of each kind of block: whether it begins in a line, and how to take it: [its node, the line after it].
  const fenced = {
    begins: (rows, at) => FENCE.test(rows[at]),
    take(rows, at) {
      const mark = rows[at].match(FENCE)[1], width = indentOf(rows[at]);
      const closes = (row) => row.trim().startsWith(mark) && !row.trim().replaceAll(mark[0], "");
      let end = at + 1;
      while (end < rows.length && !closes(rows[end])) ++end;
      return [code(rows.slice(at + 1, end).map((row) => outdent(row, width)).join("\n")), end + 1];
    },
  };
  const heading = {
    begins: (rows, at) => HEADING.test(rows[at]),
    take(rows, at) {
      const [, marks, text] = rows[at].match(HEADING);
      return [node("h" + Math.min(4, marks.length), ...inline(text)), at + 1];
    },
  };
  const rule = { begins: (rows, at) => RULE.test(rows[at]), take: (rows, at) => [node("hr"), at + 1] };
  const tabular = {
    begins: (rows, at) => rows[at].includes("|") && COLUMNS.test(rows[at + 1] || "") && rows[at + 1].includes("|"),
    take(rows, at) {
      let end = at + 2;
      while (end < rows.length && rows[end].includes("|")) ++end;
      return [table(rows.slice(at, end)), end];
    },
  };
  // The line after an item: its are those that are indented more than its mark, and empty ones between them.
  const endOfItem = (rows, at) => {
    const indent = indentOf(rows[at]);
    for (let end = at + 1; ; ++end) {
      const full = nextFull(rows, end);
      if (full === rows.length || indentOf(rows[full]) <= indent) return end;
      end = full;
    }
  };
  const list = {
    begins: (rows, at) => ITEM.test(rows[at]),
    take(rows, at, depth) {
      const ordered = isOrdered(rows[at]), made = node(ordered ? "ol" : "ul"), first = parseInt(rows[at], 10);
      if (ordered && first !== 1) made.start = first;
      let end = at;
      for (let next = at; next < rows.length && ITEM.test(rows[next]) && isOrdered(rows[next]) === ordered && !RULE.test(rows[next]); next = nextFull(rows, end)) {
        const [, mark, text] = rows[next].match(ITEM), width = indentOf(rows[next]) + mark.length + 1;
        end = endOfItem(rows, next);
        made.append(node("li", ...within([text, ...rows.slice(next + 1, end).map((row) => outdent(row, width))], depth)));
      }
      return [made, end];
    },
  };
  const quotation = {
    begins: (rows, at) => QUOTE.test(rows[at]),
    take(rows, at, depth) {
      let end = at;
      while (end < rows.length && QUOTE.test(rows[end])) ++end;
      return [node("blockquote", ...within(rows.slice(at, end).map((row) => row.replace(QUOTE, "")), depth)), end];
    },
  };
  const KINDS = [fenced, heading, rule, tabular, list, quotation];
  const paragraph = {
    take(rows, at) {
      let end = at + 1;
      while (end < rows.length && rows[end].trim() && !KINDS.some((kind) => kind.begins(rows, end))) ++end;
      return [node("p", ...lines(rows.slice(at, end))), end];
    },
  };

  const DEEPEST = 20; // blocks within blocks
  // Blocks of {node, start}, start counted in characters.
  const parse = (rows, depth = 0) => {
    const blocks = [];
    if (depth > DEEPEST) return [{ node: node("p", rows.join("\n")), start: 0 }];
    for (let at = nextFull(rows, 0), seen = 0, start = 0; at < rows.length; at = nextFull(rows, at)) {
      for (; seen < at; ++seen) start += rows[seen].length + 1;
      const kind = KINDS.find((one) => one.begins(rows, at)) || paragraph;
      const [made, end] = kind.take(rows, at, depth);
      blocks.push({ node: made, start });
      at = end;
    }
    return blocks;
  };
  const render = (text) => parse(text.split("\n")).map((block) => block.node);

  // A text that only grows: blocks that are done stay, and with them what a person has selected. What comes last may yet turn out to belong to
  // the block before it, so the last two are rebuilt.
  class Growing {
    constructor(element) {
      this.element = element;
      this.blocks = [];
    }
    update(text) {
      const again = this.blocks.splice(Math.max(0, this.blocks.length - 2));
      const start = again.length ? again[0].start : 0;
      for (const block of again) block.node.remove();
      for (const block of parse(text.slice(start).split("\n"))) {
        this.blocks.push({ node: block.node, start: start + block.start });
        this.element.append(block.node);
      }
    }
  }
  return { render, Growing };
})();

const copyText = async (text, button) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS browsers have no clipboard to offer but this one.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = word("copied");
  setTimeout(() => (button.textContent = word("copy")), 1200);
};
