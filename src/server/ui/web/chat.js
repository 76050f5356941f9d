"use strict";
const $ = (id) => document.getElementById(id);
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// What the browser keeps: conversations of {id, name, messages: [{role, content, model, note}]}, settings, and the key. A note says how an
// answer went: {tokens, rate, first, cut}, {stopped}, or {broken}, which it is until it has ended.
const isConversation = (c) => c && typeof c.name === "string" && Array.isArray(c.messages) &&
  c.messages.every((m) => m && typeof m.content === "string" && ["user", "assistant"].includes(m.role));
const readJson = (text, otherwise) => {
  try { return JSON.parse(text) ?? otherwise; } catch { return otherwise; }
};
const readConversations = (text) => {
  const read = readJson(text, []);
  return Array.isArray(read) ? read.filter(isConversation) : [];
};
const store = {
  conversations: readConversations(lasting.getItem("conversations")),
  current: ofTab.getItem("current") || lasting.getItem("current") || "",
  settings: readJson(lasting.getItem("settings"), {}),
  save() {
    try {
      ofTab.setItem("current", this.current);
      lasting.setItem("current", this.current);
      lasting.setItem("settings", JSON.stringify(this.settings));
      lasting.setItem("conversations", JSON.stringify(this.conversations));
    } catch { showError(word("efull")); }
  },
  get key() { return ofTab.getItem("key") || lasting.getItem("key") || ""; },
  setKey(key, keep) {
    ofTab.setItem("key", key);
    if (keep && key) lasting.setItem("key", key);
    else lasting.removeItem("key");
  },
};
const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
const conversation = () => store.conversations.find((c) => c.id === store.current);
const running = new Map(); // conversation → {message, abort, …} of the answer under way

function open(c) {
  store.current = c.id;
  store.save();
  showError("");
  closeMenu();
  showAll();
  toEnd();
}
function begin(name = "", messages = []) {
  const fresh = store.conversations.find((c) => !c.messages.length) || { id: newId() };
  store.conversations = [Object.assign(fresh, { name, messages }), ...store.conversations.filter((c) => c !== fresh)];
  open(fresh);
  $("input").focus();
}
// Another tab has changed the conversations; those that are being answered here are newer here.
function takeOver(text) {
  const here = [...running.keys()], others = readConversations(text).filter((c) => !here.some((mine) => mine.id === c.id));
  store.conversations = [...here, ...others];
  if (conversation()) showAll();
  else begin();
}

// --- the list of conversations
function showList() {
  $("conversations").replaceChildren(...store.conversations.map((c) => {
    const name = element("button", { className: "name", textContent: c.name || word("new"), title: c.name });
    name.addEventListener("click", () => open(c));
    const rename = element("button", { className: "tool", textContent: "✎", title: word("rename") });
    rename.addEventListener("click", () => { const given = prompt(word("rename_to"), c.name); if (given) { c.name = given; store.save(); showList(); } });
    const remove = element("button", { className: "tool", textContent: "✕", title: word("remove") });
    remove.addEventListener("click", () => removeConversation(c));
    for (const button of [rename, remove]) button.setAttribute("aria-label", button.title + ": " + name.textContent);
    const row = element("div", { className: "conversation" }, name, rename, remove);
    if (c.id === store.current) name.setAttribute("aria-current", "true");
    return row;
  }));
  $("title").textContent = conversation()?.name || "Ingot";
}
function removeConversation(c) {
  if (c.messages.length && !confirm(word("really"))) return;
  running.get(c)?.abort.abort();
  store.conversations = store.conversations.filter((other) => other !== c);
  store.save();
  if (conversation()) showList();
  else if (store.conversations.length) open(store.conversations[0]);
  else begin();
}

// --- messages
function tool(label, action) {
  const button = element("button", { type: "button", textContent: word(label) });
  button.addEventListener("click", () => action(button));
  return button;
}
function noteText(note) {
  if (note.stopped) return word("stopped");
  if (note.broken) return word("ecut");
  return word("stats", note) + (note.cut ? " · " + word("cut") : "");
}
function messageNode(message, isLast) {
  const isUser = message.role === "user", body = element("div", { className: "body" });
  if (isUser) body.textContent = message.content;
  else body.append(...Markdown.render(message.content));
  const tools = element("div", { className: "tools" }, tool("copy", (button) => copyText(message.content, button)));
  if (isUser) tools.append(tool("edit", () => edit(message)));
  if (isLast) tools.append(tool(isUser ? "retry" : "regenerate", regenerate));
  if (message.note) tools.append(element("span", { className: "note", textContent: noteText(message.note) }));
  const who = element("div", { className: "who", textContent: isUser ? word("you") : message.model || "Ingot" });
  return element("article", { className: "message " + message.role }, who, body, tools);
}
// Messages are drawn once, and again only when something about them has changed: a long conversation stays quick.
const drawn = new WeakMap(); // message → {node, as}
function drawnOnce(message, isLast) {
  const run = running.get(conversation());
  if (run?.message === message) return run.node;
  const as = [language, isLast, JSON.stringify(message.note), message.content].join();
  if (drawn.get(message)?.as !== as) drawn.set(message, { node: messageNode(message, isLast), as });
  return drawn.get(message).node;
}
function showMessages() {
  const pane = $("messages"), messages = conversation()?.messages || [];
  const nodes = messages.map((message, i) => drawnOnce(message, i === messages.length - 1));
  if (!nodes.length) nodes.push(element("p", { className: "empty", textContent: word("empty") }));
  nodes.forEach((node, i) => {
    if (pane.children[i] !== node) pane.insertBefore(node, pane.children[i] || null);
  });
  while (pane.children.length > nodes.length) pane.lastElementChild.remove();
}
const isAtEnd = () => $("messages").scrollHeight - $("messages").scrollTop - $("messages").clientHeight < 60;
function toEnd() { $("messages").scrollTop = $("messages").scrollHeight; }

function showAll() {
  for (const made of document.querySelectorAll("[data-word]")) made.textContent = word(made.dataset.word);
  for (const made of document.querySelectorAll("[data-title]")) { made.title = word(made.dataset.title); made.setAttribute("aria-label", made.title); }
  for (const made of document.querySelectorAll("[data-placeholder]")) made.placeholder = word(made.dataset.placeholder);
  for (const made of document.querySelectorAll("[data-label]")) made.setAttribute("aria-label", word(made.dataset.label));
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  showList();
  showMessages();
  showRunning();
}
function showRunning() {
  const here = running.has(conversation());
  $("send").hidden = here;
  $("stop").hidden = !here;
  $("messages").setAttribute("aria-busy", here); // read out once, when it is whole
}
function showError(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

// Asks again from a message on: here, where what follows it goes, or in a conversation of its own.
function edit(message) {
  const c = conversation(), at = c.messages.indexOf(message), node = $("messages").children[at];
  if (running.has(c)) return;
  const area = element("textarea", { value: message.content, rows: 4 });
  area.setAttribute("aria-label", word("edit"));
  const cancel = () => { drawn.delete(message); showMessages(); };
  const save = () => {
    if (!area.value.trim()) return;
    c.messages.length = at;
    send(area.value);
  };
  const fork = () => {
    if (!area.value.trim()) return;
    drawn.delete(message);
    begin(c.name, c.messages.slice(0, at).map((m) => ({ ...m })));
    send(area.value);
  };
  area.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape") cancel();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
  });
  node.replaceChildren(area, element("div", { className: "tools" }, tool("save", save), tool("fork", fork), tool("cancel", cancel)));
  area.focus();
}
function regenerate() {
  const c = conversation();
  if (running.has(c) || !c.messages.length) return;
  if (c.messages[c.messages.length - 1].role === "assistant") c.messages.pop();
  answer(c);
}

// --- asking the server
const NUMBERS = ["temperature", "top_p", "top_k", "max_tokens", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed"];
function requestBody(c) {
  const s = store.settings;
  const messages = c.messages.filter((m) => m.content).map(({ role, content }) => ({ role, content }));
  if (s.system) messages.unshift({ role: "system", content: s.system });
  const body = { messages, stream: true, stream_options: { include_usage: true } };
  if (s.model) body.model = s.model;
  for (const name of NUMBERS) {
    if (s[name] !== undefined && s[name] !== "") body[name] = Number(s[name]);
  }
  const stop = (s.stop || "").split("|").filter(Boolean);
  if (stop.length) body.stop = stop;
  return body;
}
const authorization = () => (store.key ? { Authorization: "Bearer " + store.key } : {});

async function explain(response) {
  let error = {};
  try { error = (await response.json()).error; } catch { /* no JSON: the status says it */ }
  if (response.status === 401) return word(store.key ? "ekey" : "e401");
  if (response.status === 403) return word("e403");
  if (response.status === 429) return word("e429", response.headers.get("Retry-After") || 1);
  if (response.status === 503) return word("e503");
  return (error.code === "context_length_exceeded" ? word("elong") : "") + (error.message || response.statusText);
}

async function stream(c, run) {
  const message = run.message, began = performance.now();
  const response = await fetch("v1/chat/completions", {
    method: "POST", headers: { "Content-Type": "application/json", ...authorization() }, body: JSON.stringify(requestBody(c)), signal: run.abort.signal,
  });
  if (!response.ok) throw Object.assign(new Error(await explain(response)), { status: response.status });
  let first = 0, last = 0, usage = null, finish = "", done = false, failed = "";
  const events = new EventReader((data) => {
    if (data === "[DONE]") { done = true; return; }
    const event = JSON.parse(data);
    if (event.error) { failed = event.error.message; return; }
    if (event.usage) usage = event.usage;
    const choice = event.choices[0];
    if (!choice) return;
    if (choice.finish_reason) finish = choice.finish_reason;
    if (!choice.delta.content) return;
    last = performance.now();
    first ||= last;
    message.content += choice.delta.content;
    message.model = event.model;
  });
  const reader = response.body.getReader();
  for (let piece; !(piece = await reader.read()).done; ) {
    events.push(piece.value);
    run.frame ||= requestAnimationFrame(() => grow(c, run));
  }
  if (failed || !done) throw new Error(failed || word("ecut"));
  const tokens = usage ? usage.completion_tokens : 0, seconds = (last - first) / 1000;
  const rate = seconds > 0 ? ((tokens - 1) / seconds).toFixed(1) : "–";
  message.note = { tokens, rate, first: first ? ((first - began) / 1000).toFixed(2) : "–", cut: finish === "length" };
}
// At most once a frame, however fast the words come.
function grow(c, run) {
  run.frame = 0;
  const follow = c === conversation() && isAtEnd();
  run.who.textContent = run.message.model || "Ingot";
  run.text.update(run.message.content);
  if (follow) toEnd();
}
function startRun(c) {
  const message = { role: "assistant", content: "", note: { broken: true } };
  const who = element("div", { className: "who", textContent: "Ingot" }), body = element("div", { className: "body waiting" });
  const node = element("article", { className: "message assistant" }, who, body);
  const run = { message, who, node, text: new Markdown.Growing(body), abort: new AbortController(), frame: 0 };
  c.messages.push(message);
  running.set(c, run);
  return run;
}

async function answer(c) {
  const run = startRun(c);
  let problem = null;
  showError("");
  showAll();
  toEnd();
  try {
    await stream(c, run);
  } catch (error) {
    if (run.abort.signal.aborted) run.message.note = { stopped: true };
    else problem = error;
    if (!run.message.content) c.messages.pop();
  }
  cancelAnimationFrame(run.frame);
  running.delete(c);
  store.save();
  if (c !== conversation()) return;
  const follow = isAtEnd();
  showAll();
  if (problem) tell(problem);
  if (follow) toEnd();
  // Not on a phone, where the keyboard would open, and not when the focus is elsewhere.
  if (document.activeElement === document.body && matchMedia("(pointer: fine)").matches) $("input").focus();
}
function tell(error) {
  showError(error instanceof TypeError ? word("egone") : error.message);
  if (error.status === 401) openSettings().then(() => $("s-key").focus());
}
function send(text) {
  const c = conversation();
  if (running.has(c) || !text.trim()) return;
  c.messages.push({ role: "user", content: text });
  c.name ||= text.trim().replace(/\s+/g, " ").slice(0, 60);
  store.save();
  answer(c);
}

// --- settings
const FIELDS = ["model", "system", ...NUMBERS, "stop"];
async function openSettings() {
  try {
    const response = await fetch("v1/models", { headers: authorization() });
    const models = response.ok ? (await response.json()).data : [];
    $("s-model").replaceChildren(...models.map((m) => element("option", { value: m.id, textContent: m.id })));
  } catch { /* the list stays as it was */ }
  await showDefaults();
  for (const field of FIELDS) if (store.settings[field] !== undefined) $("s-" + field).value = store.settings[field];
  $("s-key").value = store.key;
  $("s-keep-key").checked = lasting.getItem("key") !== null;
  if (!$("settings").open) $("settings").showModal();
}
// What the server takes where a field is empty, in grey.
const DEFAULTS = { temperature: "temperature", top_p: "top_p", top_k: "top_k", repetition_penalty: "repeat_penalty", presence_penalty: "presence_penalty", frequency_penalty: "frequency_penalty" };
async function showDefaults() {
  try {
    const response = await fetch("props", { headers: authorization() });
    if (!response.ok) return;
    const params = (await response.json()).default_generation_settings.params;
    for (const [field, name] of Object.entries(DEFAULTS)) $("s-" + field).placeholder = params[name];
  } catch { /* none are shown */ }
  $("s-max_tokens").placeholder = word("what_fits");
  $("s-seed").placeholder = word("random");
}
function closeSettings() {
  for (const field of FIELDS) store.settings[field] = $("s-" + field).value;
  store.setKey($("s-key").value.trim(), $("s-keep-key").checked);
  store.save();
}
function resetSettings() {
  for (const field of FIELDS) if (field !== "model") $("s-" + field).value = "";
}

// --- files
function exportAll() {
  const file = new Blob([JSON.stringify({ ingot: 1, conversations: store.conversations }, null, 1)], { type: "application/json" });
  const link = element("a", { href: URL.createObjectURL(file), download: "conversations.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
const NOTES = { tokens: Number, rate: String, first: String, cut: Boolean, stopped: Boolean, broken: Boolean };
const cleanNote = (note) => Object.fromEntries(Object.entries(NOTES).filter(([name]) => name in note).map(([name, as]) => [name, as(note[name])]));
function cleanMessage({ role, content, model, note }) {
  const message = { role, content };
  if (typeof model === "string") message.model = model;
  if (note && typeof note === "object") message.note = cleanNote(note);
  return message;
}
async function importAll(file) {
  try {
    const read = JSON.parse(await file.text());
    if (!Array.isArray(read.conversations) || !read.conversations.every(isConversation)) throw new Error();
    store.conversations.unshift(...read.conversations.map((c) => ({ id: newId(), name: c.name, messages: c.messages.map(cleanMessage) })));
    if (store.conversations.length) open(store.conversations[0]);
  } catch { showError(word("ebad")); }
}

// --- what a person does
const input = $("input");
const fit = () => { input.style.height = "auto"; input.style.height = input.scrollHeight + 2 + "px"; };
input.addEventListener("input", fit);
input.addEventListener("keydown", (event) => {
  // Enter that ends a word of an input method is the method's, not ours.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  $("composer").requestSubmit();
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running.has(conversation())) return;
  const text = input.value;
  input.value = "";
  fit();
  send(text);
});
$("stop").addEventListener("click", () => running.get(conversation())?.abort.abort());
function openMenu(isOpen) {
  document.body.classList.toggle("menu", isOpen);
  $("menu").setAttribute("aria-expanded", isOpen);
}
function closeMenu() { openMenu(false); }
$("new").addEventListener("click", () => begin());
$("menu").addEventListener("click", () => openMenu(!document.body.classList.contains("menu")));
document.querySelector("main").addEventListener("click", (event) => { if (event.target.id !== "menu") closeMenu(); });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") closeMenu(); });
$("language").addEventListener("click", () => { language = language === "zh" ? "en" : "zh"; lasting.setItem("language", language); showAll(); });
$("open-settings").addEventListener("click", openSettings);
$("settings").addEventListener("close", closeSettings);
$("reset").addEventListener("click", resetSettings);
$("export").addEventListener("click", exportAll);
$("import").addEventListener("click", () => $("import-file").click());
$("import-file").addEventListener("change", (event) => { if (event.target.files[0]) importAll(event.target.files[0]); event.target.value = ""; });
window.addEventListener("storage", (event) => { if (event.key === "conversations") takeOver(event.newValue); });
window.addEventListener("pagehide", () => { if (running.size) store.save(); });

if (conversation()) open(conversation());
else begin();
