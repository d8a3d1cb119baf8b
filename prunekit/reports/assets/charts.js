"use strict";
// Small figures as inline SVG: drawn at the width of their place, drawn again when it changes.

// What goes wrong is said on the page, not only in a console nobody looks at.
addEventListener("error", (event) => {
  const place = document.getElementById("errors");
  place.hidden = false;
  place.append(`This page could not draw everything: ${event.message}. report.md beside it holds the tables. `);
});

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["--s1", "--s2", "--s3", "--s4", "--s5", "--s6"].map((name) => `var(${name})`);

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "rect", "circle", "text", "title"].includes(tag);
  const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else node.setAttribute(key, value === true ? "" : value);
  }
  // Strings become text nodes: nothing a user wrote is ever read as markup.
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

const tip = {
  node: document.getElementById("tooltip"),
  show(x, y, title, text) {
    this.node.replaceChildren(element("b", {}, title), text);
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
function mark(shape, title, text) {
  const show = () => {
    const box = shape.getBoundingClientRect();
    tip.show(box.left + box.width / 2, box.top, title, text);
  };
  shape.classList.add("shape");
  return element("g", {
    class: "hit", tabindex: 0, role: "img", "aria-label": `${title}: ${text.replaceAll("\n", ", ")}`,
    on: { pointerenter: show, pointerdown: show, focus: show, pointerleave: () => tip.hide(), blur: () => tip.hide() },
  }, shape);
}

function figure(label, height, draw, caption) {
  const svg = element("svg", { role: "group", "aria-label": label, height });
  const node = element("figure", {}, svg, caption ? element("figcaption", {}, caption) : null);
  let width = 0;
  node.redraw = () => {
    width = node.clientWidth;
    if (!width) return;
    tip.hide();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    draw(svg, width, height);
  };
  new ResizeObserver(() => { if (node.clientWidth !== width) node.redraw(); }).observe(node);
  return node;
}

function text(x, y, string, anchor = "middle", strong = false) {
  return element("text", { x, y, "text-anchor": anchor, class: strong ? "strong" : null }, string);
}

function line(x1, y1, x2, y2, name) {
  return element("line", { x1, y1, x2, y2, class: name });
}

function linearTicks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i++) ticks.push(i * step);
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const m of [1, 2, 5]) {
      const value = m * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
    }
  return ticks;
}

const SHAPES = {
  circle: (x, y, r) => element("circle", { cx: x, cy: y, r }),
  square: (x, y, r) => element("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, rx: 1.5 }),
  diamond: (x, y, r) => element("path", { d: `M${x} ${y - 1.3 * r}L${x + 1.3 * r} ${y}L${x} ${y + 1.3 * r}L${x - 1.3 * r} ${y}Z` }),
};

// Curves over a logarithmic x axis. series: [{colour, points: [{x, y, shape, size, title, text, label}]}]
function curves({ svg, width, height, series, guides, xLabel, yLabel, xFormat, yFormat }) {
  const points = series.flatMap((s) => s.points);
  const pad = { left: 46, right: 18, top: 22, bottom: 44 };
  const xs = [...points.map((p) => p.x), ...guides.filter((g) => g.x).map((g) => g.x)];
  const ys = [...points.map((p) => p.y), ...guides.filter((g) => g.y).map((g) => g.y)];
  const xLow = Math.min(...xs) / 1.25, xHigh = Math.max(...xs) * 1.35;
  const margin = Math.max(0.004, (Math.max(...ys) - Math.min(...ys)) * 0.1);
  const yLow = Math.min(...ys) - margin, yHigh = Math.max(...ys) + margin;
  const X = (v) => pad.left + ((Math.log(v) - Math.log(xLow)) / (Math.log(xHigh) - Math.log(xLow))) * (width - pad.left - pad.right);
  const Y = (v) => height - pad.bottom - ((v - yLow) / (yHigh - yLow)) * (height - pad.top - pad.bottom);
  for (const v of linearTicks(yLow, yHigh, 5)) {
    svg.append(line(pad.left, Y(v), width - pad.right, Y(v), "gridline"), text(pad.left - 8, Y(v) + 4, yFormat(v), "end"));
  }
  let last = -Infinity;
  for (const v of logTicks(xLow, xHigh)) {
    svg.append(line(X(v), height - pad.bottom, X(v), height - pad.bottom + 4, "axis"));
    if (X(v) - last < 46) continue;
    last = X(v);
    svg.append(text(X(v), height - pad.bottom + 18, xFormat(v)));
  }
  svg.append(line(pad.left, height - pad.bottom, width - pad.right, height - pad.bottom, "axis"));
  svg.append(text(width - pad.right, height - 6, xLabel, "end"), text(0, 10, yLabel, "start"));
  for (const guide of guides) {
    if (guide.y) svg.append(line(pad.left, Y(guide.y), width - pad.right, Y(guide.y), "guide"), text(width - pad.right, Y(guide.y) - 5, guide.label, "end"));
    if (guide.x) svg.append(line(X(guide.x), pad.top, X(guide.x), height - pad.bottom, "guide"), text(X(guide.x) + 5, height - pad.bottom - 7, guide.label, "start"));
  }
  for (const { colour, points: own, joined } of series) {
    const path = own.filter((p) => !p.apart).map((p, i) => `${i ? "L" : "M"}${X(p.x).toFixed(1)} ${Y(p.y).toFixed(1)}`).join("");
    if (joined) svg.append(element("path", { d: path, fill: "none", stroke: colour, "stroke-width": 2, "stroke-linejoin": "round" }));
  }
  const labels = [];
  for (const { colour, points: own } of series)
    for (const p of own) {
      const shape = SHAPES[p.shape || "circle"](X(p.x), Y(p.y), p.size || 4);
      shape.setAttribute("fill", p.hollow ? "var(--card)" : colour);
      shape.setAttribute("stroke", p.hollow ? colour : "var(--card)");
      shape.setAttribute("stroke-width", p.hollow ? 2.5 : 1.5);
      svg.append(mark(shape, p.title, p.text));
      if (p.label) labels.push([p, X(p.x), Y(p.y)]);
    }
  const taken = [];
  for (const [p, x, y] of labels) {
    const half = p.label.length * 3.4;
    const at = Math.min(Math.max(x, pad.left + half), width - pad.right - half);
    // Above the mark, below it where that is taken.
    const free = (v) => taken.every(([a, b, h]) => Math.abs(a - at) > h + half || Math.abs(b - v) > 14);
    const up = [y - 13, y + 22, y - 28, y + 37].find(free) || y - 13;
    taken.push([at, up, half]);
    svg.append(text(at, up, p.label, "middle", true));
  }
}

// Upright bars. bars: [{label, value, ghost, title, text, colour}], ghost: an empty bar behind, e.g. what was there before.
function bars({ svg, width, height, bars: rows, format, guide, xLabel, low = 0 }) {
  const pad = { left: 4, right: 4, top: guide ? 34 : 20, bottom: xLabel ? 40 : 24 };
  const high = Math.max(...rows.map((b) => Math.max(b.value, b.ghost || 0)), guide ? guide.value : 0, low + 1e-9);
  const Y = (v) => height - pad.bottom - ((v - low) / (high - low)) * (height - pad.top - pad.bottom);
  const step = (width - pad.left - pad.right) / rows.length;
  const wide = Math.min(46, step * 0.72);
  rows.forEach((b, i) => {
    const x = pad.left + step * (i + 0.5);
    const place = (v) => ({ x: x - wide / 2, y: Y(v), width: wide, height: Math.max(0, Y(low) - Y(v)), rx: 3 });
    if (b.ghost) svg.append(element("rect", { ...place(b.ghost), fill: "var(--wash)", stroke: "var(--line)" }));
    svg.append(mark(element("rect", { ...place(b.value), fill: b.colour || COLOURS[0] }), b.title, b.text));
    if (wide > 22) svg.append(text(x, Y(b.value) - 5, format(b.value), "middle", true));
    svg.append(text(x, height - pad.bottom + 16, b.label));
  });
  svg.append(line(pad.left, Y(low), width - pad.right, Y(low), "axis"));
  if (guide) svg.append(line(pad.left, Y(guide.value), width - pad.right, Y(guide.value), "guide"), line(width - 24 - guide.label.length * 6.4, 7, width - 8 - guide.label.length * 6.4, 7, "guide"), text(width - pad.right, 11, guide.label, "end"));
  if (xLabel) svg.append(text(width - pad.right, height - 5, xLabel, "end"));
}

// Lying bars with their names before them. rows: [{label, value, note, title, text}]
function lyingBars({ svg, width, rows, max, colour = COLOURS[0] }) {
  const longest = Math.max(...rows.map((r) => r.label.length));
  const left = Math.min(width * 0.38, longest * 7.2 + 10);
  const right = Math.max(...rows.map((r) => r.note.length)) * 7.4 + 14;
  rows.forEach((r, i) => {
    const y = i * 30 + 6;
    const room = Math.floor(left / 7.2);
    const name = r.label.length > room ? `${r.label.slice(0, room - 1)}…` : r.label;
    const long = Math.max(2, ((width - left - right) * r.value) / max);
    svg.append(text(left - 10, y + 14, name, "end"));
    svg.append(mark(element("rect", { x: left, y, width: long, height: 19, rx: 3, fill: r.colour || colour }), r.title, r.text));
    svg.append(text(left + long + 8, y + 14, r.note, "start", true));
  });
}

// A table whose columns sort. columns: [{name, value(row), show(row), left, wrap, text}]
function table(columns, rows, { caption, rowClass = () => null, sortable = true } = {}) {
  const body = element("tbody");
  const fill = (list) => body.replaceChildren(...list.map((row) => element("tr", { class: rowClass(row) },
    ...columns.map((c) => {
      const shown = c.show ? c.show(row) : String(c.value(row) ?? "–");
      return element("td", { class: [c.left && "left", c.wrap && "wrap", c.text && "text"].filter(Boolean).join(" ") || null }, shown);
    }))));
  const heads = columns.map((c) => {
    const head = element("th", { scope: "col", class: c.left ? "left" : null });
    if (!sortable) { head.append(c.name); return head; }
    head.append(element("button", { type: "button", on: { click() {
      const down = head.getAttribute("aria-sort") === "descending";
      heads.forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "ascending" : "descending");
      const key = (row) => c.value(row);
      fill([...rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || x === undefined) return 1;
        if (y === null || y === undefined) return -1;
        return (typeof x === "string" ? x.localeCompare(y) : x - y) * (down ? 1 : -1);
      }));
    } } }, c.name));
    return head;
  });
  fill(rows);
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body));
}
