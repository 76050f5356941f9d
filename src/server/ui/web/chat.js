"use strict";
const $ = (id) => document.getElementById(id);
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

// What the browser keeps: conversations of {id, name, messages: [{role, content, note}]}, settings, and the key.
const store = {
  conversations: JSON.parse(localStorage.getItem("conversations") || "[]"),
  current: localStorage.getItem("current") || "",
  settings: JSON.parse(localStorage.getItem("settings") || "{}"),
  save() {
    localStorage.setItem("conversations", JSON.stringify(this.conversations));
    localStorage.setItem("current", this.current);
    localStorage.setItem("settings", JSON.stringify(this.settings));
  },
  get key() { return sessionStorage.getItem("key") || localStorage.getItem("key") || ""; },
  setKey(key, keep) {
    sessionStorage.setItem("key", key);
    if (keep && key) localStorage.setItem("key", key);
    else localStorage.removeItem("key");
  },
};
const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
const conversation = () => store.conversations.find((c) => c.id === store.current);
let running = null; // {conversation, abort} of the answer under way

function begin() {
  const fresh = store.conversations.find((c) => !c.messages.length) || { id: newId(), name: "", messages: [] };
  if (!store.conversations.includes(fresh)) store.conversations.unshift(fresh);
  store.current = fresh.id;
  store.save();
  showAll();
  $("input").focus();
}

// --- the list of conversations
function showList() {
  $("conversations").replaceChildren(...store.conversations.map((c) => {
    const name = element("button", { className: "name", textContent: c.name || word("new") });
    name.addEventListener("click", () => { store.current = c.id; store.save(); document.body.classList.remove("menu"); showAll(); });
    const rename = element("button", { className: "tool", textContent: "✎", title: word("rename") });
    rename.addEventListener("click", () => { const given = prompt(word("rename_to"), c.name); if (given) { c.name = given; store.save(); showAll(); } });
    const remove = element("button", { className: "tool", textContent: "✕", title: word("remove") });
    remove.addEventListener("click", () => removeConversation(c));
    for (const tool of [rename, remove]) tool.setAttribute("aria-label", tool.title);
    const row = element("div", { className: "conversation" }, name, rename, remove);
    if (c.id === store.current) row.setAttribute("aria-current", "true");
    return row;
  }));
  $("title").textContent = conversation()?.name || "Ingot";
}
function removeConversation(c) {
  if (c.messages.length && !confirm(word("really"))) return;
  if (running?.conversation === c) running.abort.abort();
  store.conversations = store.conversations.filter((other) => other !== c);
  if (store.current === c.id) store.current = store.conversations[0]?.id || "";
  store.save();
  store.current ? showAll() : begin();
}

// --- messages
function tool(label, action) {
  const button = element("button", { type: "button", textContent: word(label) });
  button.addEventListener("click", () => action(button));
  return button;
}
function messageNode(message, index) {
  const body = element("div", { className: "body" });
  if (message.role === "user") body.textContent = message.content;
  else body.append(...Markdown.render(message.content));
  const tools = element("div", { className: "tools" }, tool("copy", (button) => copyText(message.content, button)));
  if (message.role === "user") tools.append(tool("edit", () => edit(index)));
  else if (index === conversation().messages.length - 1) tools.append(tool("regenerate", regenerate));
  if (message.note) tools.append(element("span", { className: "note", textContent: message.note }));
  const who = message.role === "user" ? word("you") : message.model || "Ingot";
  return element("article", { className: "message " + message.role }, element("div", { className: "who", textContent: who }), body, tools);
}
function showMessages() {
  const messages = conversation()?.messages || [];
  $("messages").replaceChildren(...(messages.length ? messages.map(messageNode) : [element("p", { className: "empty", textContent: word("empty") })]));
  $("messages").scrollTop = $("messages").scrollHeight;
}
// The last message alone: a long conversation is not drawn anew for every token.
function showLast(waiting) {
  const pane = $("messages"), messages = conversation()?.messages || [];
  const atEnd = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 60;
  const made = messageNode(messages[messages.length - 1], messages.length - 1);
  if (waiting) { made.querySelector(".body").classList.add("waiting"); made.querySelector(".tools").remove(); }
  pane.lastElementChild.replaceWith(made);
  if (atEnd) pane.scrollTop = pane.scrollHeight;
}
function showAll() {
  for (const made of document.querySelectorAll("[data-word]")) made.textContent = word(made.dataset.word);
  for (const made of document.querySelectorAll("[data-title]")) { made.title = word(made.dataset.title); made.setAttribute("aria-label", made.title); }
  for (const made of document.querySelectorAll("[data-placeholder]")) made.placeholder = word(made.dataset.placeholder);
  for (const made of document.querySelectorAll("[data-label]")) made.setAttribute("aria-label", word(made.dataset.label));
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  showList();
  showMessages();
  showRunning();
  showError("");
}
function showRunning() {
  const here = running !== null && running.conversation === conversation();
  $("send").hidden = here;
  $("stop").hidden = !here;
}
function showError(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

function edit(index) {
  if (running) return;
  const c = conversation(), area = element("textarea", { value: c.messages[index].content, rows: 4 });
  const save = tool("save", () => { c.messages.length = index; send(area.value); });
  const row = element("div", { className: "tools" }, save, tool("cancel", showMessages));
  $("messages").children[index].replaceChildren(area, row);
  area.focus();
}
function regenerate() {
  const c = conversation();
  if (running || !c.messages.length) return;
  if (c.messages[c.messages.length - 1].role === "assistant") c.messages.pop();
  answer(c);
}

// --- asking the server
function requestBody(c) {
  const s = store.settings;
  const messages = c.messages.filter((m) => m.content).map(({ role, content }) => ({ role, content }));
  if (s.system) messages.unshift({ role: "system", content: s.system });
  const body = { model: s.model || "", messages, stream: true, stream_options: { include_usage: true } };
  if (!body.model) delete body.model;
  for (const name of ["temperature", "top_p", "top_k", "max_tokens", "repetition_penalty", "seed"]) {
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
  if (response.status === 401) return word("e401");
  if (response.status === 403) return word("e403");
  if (response.status === 429) return word("e429", response.headers.get("Retry-After") || 1);
  if (response.status === 503) return word("e503");
  return (error.code === "context_length_exceeded" ? word("elong") : "") + (error.message || response.statusText);
}

async function stream(c, message, abort) {
  const response = await fetch("/v1/chat/completions", {
    method: "POST", headers: { "Content-Type": "application/json", ...authorization() }, body: JSON.stringify(requestBody(c)), signal: abort.signal,
  });
  if (!response.ok) throw new Error(await explain(response));
  const began = performance.now();
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
    if (c === conversation()) showLast(true);
  }
  if (failed || !done) throw new Error(failed || word("ecut"));
  const tokens = usage ? usage.completion_tokens : 0, seconds = (last - first) / 1000;
  message.note = word("stats", { tokens, rate: seconds > 0 ? ((tokens - 1) / seconds).toFixed(1) : "–", first: ((first - began) / 1000).toFixed(2) });
  if (finish === "length") message.note += " · " + word("cut");
}

async function answer(c) {
  const message = { role: "assistant", content: "" };
  c.messages.push(message);
  running = { conversation: c, abort: new AbortController() };
  showAll();
  showLast(true);
  try {
    await stream(c, message, running.abort);
  } catch (error) {
    if (error.name === "AbortError") message.note = word("stopped");
    else showErrorOf(c, error instanceof TypeError ? word("egone") : error.message);
    if (!message.content) c.messages.pop();
  }
  running = null;
  store.save();
  if (c !== conversation()) return;
  const said = $("error").textContent;
  showAll();
  showError(said);
  $("input").focus();
}
function showErrorOf(c, text) {
  if (c === conversation()) showError(text);
}
function send(text) {
  if (running || !text.trim()) return;
  const c = conversation();
  c.messages.push({ role: "user", content: text });
  if (!c.name) c.name = text.trim().slice(0, 40);
  store.save();
  answer(c);
}

// --- settings
const FIELDS = ["model", "system", "temperature", "top_p", "top_k", "max_tokens", "repetition_penalty", "seed", "stop"];
async function openSettings() {
  try {
    const response = await fetch("/v1/models", { headers: authorization() });
    const models = response.ok ? (await response.json()).data : [];
    $("s-model").replaceChildren(...models.map((m) => element("option", { value: m.id, textContent: m.id })));
  } catch { /* the list stays as it was */ }
  for (const field of FIELDS) if (store.settings[field] !== undefined) $("s-" + field).value = store.settings[field];
  $("s-key").value = store.key;
  $("s-keep-key").checked = localStorage.getItem("key") !== null;
  $("settings").showModal();
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
const isConversation = (c) => c && typeof c.name === "string" && Array.isArray(c.messages) &&
  c.messages.every((m) => m && typeof m.content === "string" && ["user", "assistant"].includes(m.role));
async function importAll(file) {
  try {
    const read = JSON.parse(await file.text());
    if (!Array.isArray(read.conversations) || !read.conversations.every(isConversation)) throw new Error();
    store.conversations.unshift(...read.conversations.map((c) => ({ id: newId(), name: c.name, messages: c.messages.map(({ role, content, note }) => ({ role, content, note: note ? String(note) : "" })) })));
    store.current = store.conversations[0].id;
    store.save();
    showAll();
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
  if (running) return;
  const text = input.value;
  input.value = "";
  fit();
  send(text);
});
$("stop").addEventListener("click", () => running?.abort.abort());
$("new").addEventListener("click", () => { document.body.classList.remove("menu"); begin(); });
$("menu").addEventListener("click", () => document.body.classList.toggle("menu"));
document.querySelector("main").addEventListener("click", (event) => { if (event.target.id !== "menu") document.body.classList.remove("menu"); });
$("language").addEventListener("click", () => { language = language === "zh" ? "en" : "zh"; localStorage.setItem("language", language); showAll(); });
$("open-settings").addEventListener("click", openSettings);
$("settings").addEventListener("close", closeSettings);
$("reset").addEventListener("click", resetSettings);
$("export").addEventListener("click", exportAll);
$("import").addEventListener("click", () => $("import-file").click());
$("import-file").addEventListener("change", (event) => { if (event.target.files[0]) importAll(event.target.files[0]); event.target.value = ""; });

conversation() ? showAll() : begin();
