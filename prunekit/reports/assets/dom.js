"use strict";
// Building blocks: elements, the tooltip, marks reached by pointer and keyboard, figures, cards.

// What goes wrong is said on the page, not only in a console nobody looks at.
addEventListener("error", (event) => {
  const place = document.getElementById("errors");
  place.hidden = false;
  place.append(`This page could not draw everything: ${event.message}. report.md beside it holds the tables. `);
});

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "title"]);

function element(tag, attributes = {}, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else node.setAttribute(key, value === true ? "" : value);
  }
  // Strings become text nodes: nothing a user wrote is ever read as markup.
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const text = (x, y, string, anchor = "middle", strong = false) =>
  element("text", { x, y, "text-anchor": anchor, class: strong ? "strong" : null }, string);
const line = (x1, y1, x2, y2, name) => element("line", { x1, y1, x2, y2, class: name });

const tip = {
  node: document.getElementById("tooltip"),
  show(x, y, title, words) {
    this.node.replaceChildren(element("b", {}, title), words);
    this.node.hidden = false;
    const box = this.node.getBoundingClientRect();
    const left = Math.min(Math.max(8, x - box.width / 2), document.documentElement.clientWidth - box.width - 8);
    const above = y - box.height - 14;
    this.node.style.left = `${left}px`;
    this.node.style.top = `${above < 8 ? y + 18 : above}px`;
  },
  hide() { this.node.hidden = true; },
};
addEventListener("scroll", () => tip.hide(), { passive: true });
addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hide(); });

// A mark that tells what it is when pointed at, touched, or reached by keyboard.
function mark(shape, title, words, { row = 0, at = null, first = false } = {}) {
  const node = element("g", {
    class: "hit", tabindex: -1, role: "img", "aria-label": `${title}: ${words.replaceAll("\n", ", ")}`,
    "data-row": row, "data-at": at, "data-first": first,
  }, shape);
  const show = () => {
    const box = shape.getBoundingClientRect();
    tip.show(box.left + box.width / 2, box.top, title, words);
  };
  shape.classList.add("shape");
  for (const event of ["pointerenter", "pointerdown", "focus"]) node.addEventListener(event, show);
  // A finger leaves at once: what it touched stays until something else is touched, or the page scrolls.
  node.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") tip.hide(); });
  node.addEventListener("blur", () => tip.hide());
  node.show = show;
  return node;
}

// One stop of the Tab key for a figure; the arrow keys go from mark to mark, and up and down from row to row.
function arrowKeys(svg) {
  const marks = () => [...svg.querySelectorAll(".hit")];
  svg.addEventListener("keydown", (event) => {
    const all = marks(), at = all.indexOf(document.activeElement);
    if (at < 0) return;
    const rows = [...new Set(all.map((m) => m.dataset.row))].sort((a, b) => a - b);
    const place = (m) => Number(m.dataset.at ?? 0), here = place(all[at]);
    const own = all.filter((m) => m.dataset.row === all[at].dataset.row).sort((a, b) => place(a) - place(b));
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    let next = null;
    if (event.key === "Home") [next] = own;
    else if (event.key === "End") next = own.at(-1);
    else if (step && rows.length > 1 && event.key.match(/Up|Down/)) {
      const row = rows[(rows.indexOf(all[at].dataset.row) + step + rows.length) % rows.length];
      [next] = all.filter((m) => m.dataset.row === row).sort((a, b) => Math.abs(place(a) - here) - Math.abs(place(b) - here));
    } else if (step) next = own[(own.indexOf(all[at]) + step + own.length) % own.length];
    if (!next) return;
    event.preventDefault();
    all[at].setAttribute("tabindex", -1);
    next.setAttribute("tabindex", 0);
    next.focus();
  });
  return () => {
    const all = marks();
    (all.find((m) => m.hasAttribute("data-first")) || all[0])?.setAttribute("tabindex", 0);
  };
}

// Drawn at the width of its place, and again when that changes. height: a number, or a function of the width.
function figure(label, height, draw, caption) {
  const svg = element("svg", { role: "group", "aria-label": `${label}. The arrow keys go from mark to mark.` });
  const node = element("figure", {}, svg, caption ? element("figcaption", {}, caption) : null);
  const enter = arrowKeys(svg);
  let width = 0;
  node.redraw = () => {
    width = node.clientWidth;
    if (!width) return;
    const high = typeof height === "function" ? height(width) : height;
    tip.hide();
    svg.setAttribute("viewBox", `0 0 ${width} ${high}`);
    svg.setAttribute("height", high);
    svg.replaceChildren();
    draw(svg, width, high);
    enter();
  };
  new ResizeObserver(() => { if (node.clientWidth !== width) node.redraw(); }).observe(node);
  return node;
}

// Everything that depends on what the reader has picked is drawn again together.
const redraws = [];
const redrawn = (node) => { redraws.push(() => node.redraw()); return node; };
const refresh = () => redraws.forEach((redraw) => redraw());
// A part of the page that is made anew with every refresh.
function remade(make, tag = "div", name = null) {
  const node = element(tag, { class: name });
  redraws.push(() => node.replaceChildren(...[make()].flat().filter(Boolean)));
  return node;
}

// What a reader has sorted, opened or scrolled stays so in a part that is made anew.
const kept = new Map();
const keptOf = (key) => kept.get(key) ?? kept.set(key, {}).get(key);

// Words that open what lies under them. key: other than the words where those change.
function folded(summary, { key = summary, open = false } = {}, ...children) {
  const mine = keptOf(key);
  return element("details", { open: mine.open ?? open, on: { toggle(event) { mine.open = event.target.open; } } },
    element("summary", {}, summary), ...children);
}

const main = document.getElementById("main");

// intro: words, or what gives them where they follow the reader's choices.
function card(title, intro, { half = false, id, nav } = {}, ...children) {
  main.append(element("section", { class: half ? "card half" : "card", id, "data-nav": nav },
    element("h2", {}, title), typeof intro === "function" ? remade(intro, "p") : intro ? element("p", {}, intro) : null, ...children));
}

// Radio buttons that look like one switch. options: [[value, label]]
function choice(label, name, options, value, change) {
  return element("fieldset", { class: "choice" }, element("legend", {}, label), element("div", { class: "options" }, ...options.map(([key, words]) =>
    element("label", {}, element("input", { type: "radio", name, value: key, checked: key === value, on: { change: () => change(key) } }),
      element("span", {}, words)))));
}
