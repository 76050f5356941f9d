"use strict";
// What the page says, in the languages that it speaks.
const WORDS = {
  en: {
    new: "New conversation", export: "Export", import: "Import", api: "API", conversations: "Conversations", language: "中文 (Chinese)",
    settings: "Settings", placeholder: "Write a message", send: "Send", stop: "Stop", model: "Model", system: "System message",
    hint: "Enter sends, Shift+Enter begins a new line", temperature: "Temperature", what_fits: "what the context leaves", random: "random", max_tokens: "Max tokens",
    repetition: "Repetition penalty", seed: "Seed", presence: "Presence penalty", frequency: "Frequency penalty", stop_strings: "Stop strings, separated by |", key: "API key",
    keep_key: "Keep the key in this browser after the tab is closed", reset: "Defaults", done: "Done", you: "You",
    empty: "What would you like to know?", copy: "Copy", copied: "Copied", edit: "Edit", regenerate: "Regenerate", rename: "Rename",
    remove: "Delete", save: "Send again", cancel: "Cancel", rename_to: "New name:", really: "Delete this conversation?",
    language_name: "文", retry: "Try again", fork: "Send in a new conversation", stats: (s) => `${s.tokens} tokens, ${s.rate} tok/s, first after ${s.first} s`, stopped: "stopped", cut: "cut off at its longest",
    e401: "The server asks for an API key. Enter it in the settings.", ekey: "The server does not know this API key. Change it in the settings.", e403: "This key may not do that.",
    e429: (s) => `The server is busy. Try again in ${s} s.`, efull: "The browser's storage is full. Export the conversations, and delete some.",
    e503: "The server is starting or about to stop. Try again soon.",
    elong: "The conversation has grown too long for the model. Begin a new one, or shorten an earlier message with Edit.\n",
    egone: "The server does not answer. Is it running?", ecut: "The answer broke off.", ebad: "This is no file that was exported here.",
  },
  zh: {
    new: "新对话", export: "导出", import: "导入", api: "接口", conversations: "对话列表", language: "English (英文)", settings: "设置",
    placeholder: "输入消息", send: "发送", stop: "停止", model: "模型", system: "系统消息", hint: "Enter 发送，Shift+Enter 换行",
    temperature: "温度", what_fits: "上下文剩余", random: "随机", max_tokens: "最大 token 数", repetition: "重复惩罚", seed: "随机种子", presence: "存在惩罚", frequency: "频率惩罚", stop_strings: "停止字符串，用 | 分隔",
    key: "API 密钥", keep_key: "关闭标签页后仍在此浏览器中保留密钥", reset: "恢复默认", done: "完成", you: "你", empty: "想聊点什么？", language_name: "EN",
    retry: "重试", fork: "在新对话中发送", efull: "浏览器存储已满，请导出并删除一些对话。",
    copy: "复制", copied: "已复制", edit: "编辑", regenerate: "重新生成", rename: "重命名", remove: "删除", save: "重新发送", cancel: "取消",
    rename_to: "新名称：", really: "删除这个对话？", stats: (s) => `${s.tokens} 个 token，每秒 ${s.rate} 个，首个用时 ${s.first} 秒`,
    stopped: "已停止", cut: "已达最大长度", e401: "服务器需要 API 密钥，请在设置中填写。", ekey: "服务器不认识此 API 密钥，请在设置中更改。", e403: "此密钥没有权限。",
    e429: (s) => `服务器繁忙，请在 ${s} 秒后重试。`, e503: "服务器正在启动或即将停止，请稍后重试。",
    elong: "对话已超出模型的长度。请开始新对话，或编辑缩短较早的消息。\n", egone: "服务器没有响应，它在运行吗？", ecut: "回答中断了。",
    ebad: "这不是从这里导出的文件。",
  },
};

// What the browser keeps; where a person has turned that off, what the page remembers.
const storage = (name) => {
  try {
    return window[name];
  } catch {
    const kept = new Map();
    return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value), removeItem: (key) => kept.delete(key) };
  }
};
const lasting = storage("localStorage"), ofTab = storage("sessionStorage");

let language = lasting.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
const word = (key, argument) => {
  const text = WORDS[language][key];
  return typeof text === "function" ? text(argument) : text;
};
