// Scales, ticks, marks and lines: how a value becomes a place, and a system a colour, a shape and a dash.

// Eight colours that stay apart for readers with protanopia, deuteranopia and tritanopia, in both themes
// (report.css); shape and dash say the same once more.
const COLOURS = [1, 2, 3, 4, 5, 6, 7, 8].map((n) => `var(--s${n})`);
const DASHES = [null, "7 4", "2 3", "11 4 2 4", "5 2", "1 4", "14 5", "8 3 2 3 2 3"];
const polygon = (corners) => (x, y, r) => element("path", { d: `M${corners.map(([a, b]) => `${x + a * r} ${y + b * r}`).join("L")}Z` });
const star = [...Array(10).keys()].map((i) => { const a = (i * Math.PI) / 5, k = i % 2 ? 0.62 : 1.4; return [k * Math.sin(a), -k * Math.cos(a)]; });
const SHAPES = {
  circle: (x, y, r) => element("circle", { cx: x, cy: y, r }),
  square: (x, y, r) => element("rect", { x: x - 0.9 * r, y: y - 0.9 * r, width: 1.8 * r, height: 1.8 * r, rx: 1 }),
  up: polygon([[0, -1.25], [1.2, 0.9], [-1.2, 0.9]]),
  down: polygon([[0, 1.25], [1.2, -0.9], [-1.2, -0.9]]),
  cross: polygon([[-1.2, -0.6], [-0.6, -1.2], [0, -0.6], [0.6, -1.2], [1.2, -0.6], [0.6, 0], [1.2, 0.6], [0.6, 1.2], [0, 0.6], [-0.6, 1.2], [-1.2, 0.6], [-0.6, 0]]),
  hexagon: polygon([[0, -1.15], [1, -0.57], [1, 0.57], [0, 1.15], [-1, 0.57], [-1, -0.57]]),
  star: polygon(star),
  wide: polygon([[-1.5, -0.7], [1.5, -0.7], [1.5, 0.7], [-1.5, 0.7]]),
  diamond: polygon([[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]]), // the dense model's
};
const OWN_SHAPES = Object.keys(SHAPES).slice(0, 8);
// After eight the shapes move on by one, so that no two systems look the same.
const styleOf = (i) => ({
  colour: COLOURS[i % 8], shape: OWN_SHAPES[(i + Math.floor(i / 8)) % 8], dash: DASHES[(i + Math.floor(i / 8)) % 8],
});

// What a system looks like in a figure, beside its name.
function swatch({ colour, shape, dash }, wide = true) {
  const width = wide ? 30 : 14;
  const node = element("svg", { class: "swatch", width, height: 14, viewBox: `0 0 ${width} 14`, "aria-hidden": "true" });
  if (wide) node.append(element("line", { x1: 0, y1: 7, x2: width, y2: 7, stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }));
  const middle = SHAPES[shape](width / 2, 7, 4.5);
  middle.setAttribute("fill", colour);
  if (wide) middle.setAttribute("stroke", "var(--card)");
  node.append(middle);
  return node;
}

function linearTicks(low, high, number) {
  const raw = (high - low) / number, power = 10 ** Math.floor(Math.log10(raw));
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

// A plot's frame: grid, axes and their words. x: {low, high, log, ticks, format, label}, y: the same.
// Gives X(value), Y(value) and the frame's sides in pixels.
function frame({ svg, width, height, x, y }) {
  const side = { left: 44, right: width - 14, top: 24, bottom: height - 44 };
  const along = x.log ? Math.log : (v) => v;
  const X = (v) => side.left + ((along(v) - along(x.low)) / (along(x.high) - along(x.low))) * (side.right - side.left);
  const Y = (v) => side.bottom - ((v - y.low) / (y.high - y.low)) * (side.bottom - side.top);
  for (const v of linearTicks(y.low, y.high, height > 280 ? 6 : 4))
    svg.append(line(side.left, Y(v), side.right, Y(v), "gridline"), text(side.left - 8, Y(v) + 4, y.format(v), "end"));
  let last = -Infinity;
  for (const v of x.ticks || logTicks(x.low, x.high)) {
    svg.append(line(X(v), side.bottom, X(v), side.bottom + 4, "axis"));
    const words = x.format(v), half = words.length * 3.4 + 5;
    if (X(v) - half < last) continue;
    last = X(v) + half;
    svg.append(text(X(v), side.bottom + 19, words));
  }
  svg.append(line(side.left, side.bottom, side.right, side.bottom, "axis"));
  svg.append(text(side.right, height - 5, x.label, "end"), text(0, 11, y.label, "start"));
  return { X, Y, ...side };
}

// Ends of an axis for these values, with a little air.
function ends(values, least = 0.004, air = 0.08) {
  const low = Math.min(...values), high = Math.max(...values), margin = Math.max(least, (high - low) * air);
  return { low: low - margin, high: high + margin };
}

const shorten = (words, room) => (words.length > room ? `${words.slice(0, Math.max(1, room - 1))}…` : words);

// A guide line's words, as many as there is room for.
const guideWords = (share, what, width) => (width > 500 ? `${share} of the dense ${what}` : `${share} of ${what}`);

// Words beside marks, moved up and down until no two lie on each other; those left without room are left to the
// legend. labels: [[words, x, y]], what matters most first
function placeLabels(svg, labels, { left, right, top, bottom }) {
  const taken = [];
  for (const [whole, x, y] of labels) {
    const words = shorten(whole, 28), half = words.length * 3.6;
    const at = Math.min(Math.max(x, left + half), right - half);
    const free = (v) => v > top - 6 && v < bottom - 2 && taken.every(([a, b, h]) => Math.abs(a - at) > h + half || Math.abs(b - v) > 14);
    const up = [y - 13, y + 22, y - 28, y + 37, y - 43, y + 52].find(free);
    if (up === undefined) continue;
    taken.push([at, up, half]);
    svg.append(element("text", { x: at, y: up, "text-anchor": "middle", class: "strong halo" }, words));
  }
}

// The mark nearest to the pointer is shown, so that nobody must hit a small one exactly.
function nearestMark(svg, nodes, reach = 36) {
  if (svg.follow) for (const event of ["pointermove", "pointerdown"]) svg.removeEventListener(event, svg.follow);
  let near = null;
  svg.follow = (event) => {
    const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width || 1;
    const [x, y] = [(event.clientX - box.left) / scale, (event.clientY - box.top) / scale];
    let best = null, distance = reach;
    for (const [node, a, b] of nodes) {
      const d = Math.hypot(a - x, b - y);
      if (d < distance) [best, distance] = [node, d];
    }
    near?.classList.remove("near");
    near = best;
    if (best) { best.classList.add("near"); best.show(); } else tip.hide();
  };
  for (const event of ["pointermove", "pointerdown"]) svg.addEventListener(event, svg.follow);
  svg.onpointerleave = (event) => { near?.classList.remove("near"); if (event.pointerType !== "touch") tip.hide(); };
}
