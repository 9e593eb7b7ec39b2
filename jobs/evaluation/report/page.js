"use strict";
// The list, its filters, the page beside an answer, and a reviewer's marks. Text enters the page as text alone.
const items = JSON.parse(document.getElementById("data").textContent);
const RIGHT = 0.5, ROWS = 200;
const at = (id) => document.getElementById(id);
const marks = new Map();
let shown = [], current = -1, drawn = 0, unsaved = false;

const lower = items.map((one) => `${one.q}\n${one.a ?? ""}\n${one.oa ?? ""}\n${one.d}\n${one.r ?? ""}`.toLowerCase());
const isRight = (one) => one.s !== undefined && one.s >= RIGHT;
const isWrong = (one) => one.s !== undefined && one.s < RIGHT;
const tests = {
  all: () => true,
  wrong: isWrong,
  right: isRight,
  sure: (one) => isWrong(one) && (one.c ?? 0) >= 0.8,
  failed: (one) => one.a === undefined,
  changed: (one) => one.os !== undefined && one.os !== one.s,
  marked: (one) => marks.has(one.id),
};
const orders = {
  worst: (one) => (one.s ?? 1) + (one.c ?? 1) * 1e-6,
  sure: (one) => (one.s ?? 1) - (one.c ?? 0),
  unsure: (one) => one.c ?? -1,
};

function element(name, text, className) {
  const found = document.createElement(name);
  if (text !== undefined) found.textContent = text;
  if (className) found.className = className;
  return found;
}

function filter() {
  const words = at("text").value.toLowerCase(), test = tests[at("show").value], chosen = at("document").value;
  const low = Number(at("low").value), high = Number(at("high").value);
  shown = [];
  items.forEach((one, place) => {
    const sure = one.c ?? 0;
    if ((!words || lower[place].includes(words)) && test(one) && (!chosen || one.d === chosen) && sure >= low && sure <= high)
      shown.push(place);
  });
  const key = orders[at("order").value];
  if (key) shown.sort((a, b) => key(items[a]) - key(items[b]) || a - b);
  at("count").textContent = `${shown.length.toLocaleString("en")} of ${items.length.toLocaleString("en")}`;
  at("list").replaceChildren();
  drawn = 0;
  more();
  choose(shown.length ? 0 : -1);
}

function more() {
  const list = at("list");
  list.querySelector(".more")?.remove();
  const part = document.createDocumentFragment();
  for (const end = Math.min(shown.length, drawn + ROWS); drawn < end; drawn++) part.append(row(drawn));
  list.append(part);
  if (drawn < shown.length) {
    const rest = element("li", `${(shown.length - drawn).toLocaleString("en")} more`, "more");
    rest.addEventListener("click", more);
    list.append(rest);
  }
}

function row(place) {
  const one = items[shown[place]], line = element("li");
  line.dataset.place = place;
  const tag = element("span", tagOf(one), "tag " + (isRight(one) ? "good" : isWrong(one) || one.a === undefined ? "bad" : ""));
  line.append(tag, element("span", one.q, "q"), element("span", one.a ?? `no answer: ${one.r}`, "a"));
  line.addEventListener("click", () => choose(place));
  return line;
}

function tagOf(one) {
  const mark = marks.get(one.id);
  const said = mark ? (mark.right ? "✓ " : "✗ ") : "";
  return said + (one.s !== undefined ? one.s.toFixed(2) : one.c !== undefined ? one.c.toFixed(2) : "");
}

function choose(place) {
  current = place;
  while (place >= drawn && drawn < shown.length) more();
  for (const line of at("list").querySelectorAll("[aria-current]")) line.removeAttribute("aria-current");
  const line = at("list").querySelector(`[data-place="${place}"]`);
  line?.setAttribute("aria-current", "true");
  line?.scrollIntoView({ block: "nearest" });
  detail();
}

function picture(key) {
  const inside = window.QUIRE_PICTURES?.[key] ?? document.querySelector(`[data-picture="${CSS.escape(key)}"]`)?.textContent;
  return inside && `data:image/webp;base64,${inside}`;
}

function detail() {
  const pane = at("detail");
  pane.replaceChildren();
  if (current < 0) return pane.append(element("p", "Nothing fits these filters.", "none"));
  const one = items[shown[current]];
  const pages = element("div", undefined, "pages");
  for (const key of one.im ?? []) pages.append(pageOf(key, one));
  if (!one.im) pages.append(element("p", "There is no picture of this page.", "none"));
  const facts = element("div");
  facts.append(element("h3", one.q));
  const list = element("dl");
  const say = (name, text, className) => list.append(element("dt", name), element("dd", text, className));
  say(one.oa === undefined ? "answer" : "answer of B", one.a ?? `none: ${one.r}. ${one.m ?? ""}`, "said " + (isRight(one) ? "good" : isWrong(one) ? "bad" : ""));
  if (one.oa !== undefined) say("answer of A", `${one.oa}\nscore ${one.os?.toFixed(2)}`);
  if (one.ok) say("accepted", one.ok.join("\n"));
  if (one.c !== undefined) say("confidence", one.c.toFixed(3));
  for (const [name, value] of Object.entries(one.all ?? {})) say(name, value.toFixed(3));
  for (const field of one.f ?? []) say(field.path, `${field.value}   (${Number(field.confidence).toFixed(2)})`);
  say("document", one.p === undefined ? one.d : `${one.d}, page ${one.p}`);
  for (const [name, value] of Object.entries(one.sl ?? {})) say(name, value);
  facts.append(list, marking(one));
  pane.append(pages, facts);
}

function pageOf(key, one) {
  const source = picture(key);
  if (!source && document.readyState === "loading") return element("p", "The picture is being loaded.", "none");
  if (!source) return element("p", `The picture of ${key} could not be drawn.`, "none");
  const page = element("div", undefined, "page"), image = element("img");
  image.src = source;
  image.alt = `a page of ${one.d}`;
  page.append(image);
  for (const field of one.f ?? []) {
    if (!field.box) continue;
    const box = element("div", undefined, "box"), { x0, y0, x1, y1 } = field.box;
    Object.assign(box.style, { left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%` });
    box.title = field.path;
    page.append(box);
  }
  return page;
}

function marking(one) {
  const group = element("div", undefined, "marks"), mark = marks.get(one.id);
  for (const [text, right] of [["right", true], ["wrong", false]]) {
    const button = element("button", text);
    button.type = "button";
    button.setAttribute("aria-pressed", String(mark?.right === right));
    button.addEventListener("click", () => set(right));
    group.append(button, " ");
  }
  if (mark && !mark.right) {
    const better = element("input");
    better.placeholder = "the right answer, if you know it";
    better.value = mark.better ?? "";
    better.addEventListener("input", () => { mark.better = better.value; changed(); });
    group.append(better);
  }
  return group;
}

function set(right) {
  if (current < 0) return;
  const one = items[shown[current]];
  right === undefined ? marks.delete(one.id) : marks.set(one.id, { right });
  const tag = at("list").querySelector(`[data-place="${current}"] .tag`);
  if (tag) tag.textContent = tagOf(one);
  changed();
  detail();
}

function changed() {
  unsaved = marks.size > 0;
  at("export").textContent = marks.size ? `Export ${marks.size.toLocaleString("en")} mark${marks.size > 1 ? "s" : ""}` : "Export marks";
  at("export").disabled = !marks.size;
}

// The form of --expected: one object a line; of a wrong answer the right ones, if they are known.
function exported() {
  return items.filter((one) => marks.has(one.id)).map((one) => {
    const mark = marks.get(one.id);
    const better = mark.better?.trim();
    const answers = mark.right ? [one.a ?? ""] : better ? [better] : one.ok ?? [];
    return JSON.stringify({ document: one.d, page: one.p ?? null, question: one.q, answers, verdict: mark.right ? "right" : "wrong", said: one.a ?? null });
  }).join("\n") + "\n";
}

function download() {
  if (!marks.size) return;
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([exported()], { type: "application/jsonl" }));
  link.download = "review.jsonl";
  link.click();
  URL.revokeObjectURL(link.href);
  unsaved = false;
}

const keys = {
  j: () => current < shown.length - 1 && choose(current + 1),
  k: () => current > 0 && choose(current - 1),
  r: () => set(true),
  w: () => set(false),
  u: () => set(undefined),
  e: download,
  "/": () => at("text").focus(),
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.activeElement.blur();
  if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
for (const name of [...new Set(items.map((one) => one.d))].sort()) {
  const option = element("option", name);
  option.value = name;
  at("document").append(option);
}
if (!items.some((one) => one.os !== undefined)) at("show").querySelector("[value=changed]").remove();
at("filters").addEventListener("input", filter);
at("filters").addEventListener("submit", (event) => event.preventDefault());
at("export").addEventListener("click", download);
// Marks live in this page alone: whoever leaves it is asked first.
window.addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
changed();
filter();
// Pictures in the file come after this script: the first one is shown once it is there.
document.addEventListener("DOMContentLoaded", detail);
