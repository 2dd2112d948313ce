// Keeps the page fresh: fetches the same address every few seconds and swaps the parts marked data-live. What the reader has
// open, has focused or is selecting stays. Without this file the page works and reloads itself.
"use strict";

const EVERY = 5000;
const PATIENCE = 10000;

const lost = document.getElementById("lost");
let timer = 0;
let fresh = new Date();
const sources = new Map();

function openOnes() {
  return new Set([...document.querySelectorAll("details[open][id]")].map((element) => element.id));
}

function focused() {
  const element = document.activeElement;
  const part = element && element.closest("[data-live]");
  if (!part) return () => null;
  if (element.tagName === "SUMMARY") {
    const id = element.parentElement.id;
    return () => document.getElementById(id)?.querySelector("summary");
  }
  const href = element.getAttribute("href");
  return () => part.querySelector(`a[href="${CSS.escape(href ?? "")}"]`);
}

function selecting() {
  const selection = window.getSelection();
  return selection && !selection.isCollapsed;
}

function show(page) {
  const open = openOnes();
  const find = focused();
  const { scrollX, scrollY } = window;
  for (const old of document.querySelectorAll("[data-live]")) {
    const part = page.getElementById(old.id);
    if (!part || part.innerHTML === sources.get(old.id)) continue;
    const source = part.innerHTML;
    for (const details of part.querySelectorAll("details[id]")) details.open = open.has(details.id);
    old.className = part.className;
    old.replaceChildren(...part.childNodes);
    sources.set(old.id, source);
  }
  document.title = page.title;
  find()?.focus({ preventScroll: true });
  window.scrollTo(scrollX, scrollY);
}

function setLost(words) {
  lost.hidden = !words;
  lost.textContent = words;
  document.body.classList.toggle("is-lost", Boolean(words));
}

async function refresh() {
  try {
    const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(`the agent answers ${response.status}`);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!selecting()) show(page);
    fresh = new Date();
    setLost("");
  } catch {
    setLost(`Connection lost: this is the state of ${fresh.toLocaleTimeString()}. Trying again…`);
  }
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, EVERY);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});

const linked = document.getElementById(location.hash.slice(1));
if (linked instanceof HTMLDetailsElement) linked.open = true;
schedule();
