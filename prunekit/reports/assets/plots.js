// The kinds of figures: curves, upright bars, lying bars, stacked shares, intervals.

const pathOf = (points, { X, Y }, steps) => points.map(([a, b], i) => {
  const [x, y] = [X(a).toFixed(1), Y(b).toFixed(1)];
  return i === 0 ? `M${x} ${y}` : steps ? `H${x}V${y}` : `L${x} ${y}`;
}).join("");

// What is drawn inside ends at the frame's sides, but for half a line's width.
function insideOf({ left, right, top, bottom }) {
  const x = left - 6, y = top - 6, width = right - left + 12, height = bottom - top + 6;
  return element("svg", { x, y, width, height, viewBox: `${x} ${y} ${width} ${height}`, class: "inside" });
}

// Lines with marks. series: [{style: {colour, dash, shape}, width, path: [[x, y]], steps, tail: where it only holds on,
// band: [[x, low, high]],
// marks: [{x, y, low, high, shape, size, hollow, faint, title, text, label, first}]}]
// guides: [{x|y, label}]; under(place): draws between the grid and the series.
function curves({ svg, width, height, x, y, series, guides = [], under }) {
  const place = frame({ svg, width, height, x, y }), { X, Y, left, right, top, bottom } = place;
  const inside = (place.inside = insideOf(place));
  for (const guide of guides) {
    if (guide.y !== undefined) svg.append(line(left, Y(guide.y), right, Y(guide.y), "guide"), element("text", { x: right, y: Y(guide.y) - 5, "text-anchor": "end", class: "halo" }, guide.label));
    else svg.append(line(X(guide.x), top, X(guide.x), bottom, "guide"), element("text", { x: X(guide.x) + 5, y: bottom - 8, "text-anchor": "start", class: "halo" }, guide.label));
  }
  svg.append(inside);
  for (const { style, band } of series)
    if (band?.length > 1) {
      const up = band.map(([a, , high]) => [a, high]), back = band.map(([a, low]) => [a, low]).reverse();
      inside.append(element("path", { d: `${pathOf(up, place)}${pathOf(back, place).replace("M", "L")}Z`, fill: style.colour, class: "band" }));
    }
  under?.(place);
  for (const { style, path, steps, width: thick = 2 } of series)
    if (path?.length > 1)
      inside.append(element("path", { d: pathOf(path, place, steps), class: "curve", stroke: style.colour, "stroke-width": thick, "stroke-dasharray": style.dash }));
  for (const { style, tail } of series)
    if (tail?.length > 1) inside.append(element("path", { d: pathOf(tail, place, true), class: "curve tail", stroke: style.colour, "stroke-width": 1.5, "stroke-dasharray": style.dash }));
  if (!inside.childElementCount) inside.remove();
  const nodes = [], labels = [];
  const draw = (p, style, row) => {
    const [a, b] = [X(p.x), Y(p.y)];
    if (p.low !== undefined && p.high > p.low) svg.append(element("line", { x1: a, x2: a, y1: Y(p.low), y2: Y(p.high), stroke: style.colour, "stroke-width": 1.5 }));
    const shape = SHAPES[p.shape || style.shape || "circle"](a, b, p.size || 4);
    shape.setAttribute("fill", p.hollow ? "var(--card)" : style.colour);
    shape.setAttribute("stroke", p.hollow ? style.colour : "var(--card)");
    shape.setAttribute("stroke-width", p.hollow ? 2.5 : p.faint ? 0.5 : 1.5);
    const node = mark(shape, p.title, p.text, { row, at: a.toFixed(1), first: p.first });
    if (p.faint) node.classList.add("faint");
    svg.append(node);
    nodes.push([node, a, b]);
    if (p.label) labels[p.first ? "unshift" : "push"]([p.label, a, b]);
  };
  // Small marks lie under large ones, and the first system over the others.
  const rows = series.map(({ style, marks = [] }, row) => ({ style, marks, row })).reverse();
  for (const faint of [true, false])
    for (const { style, marks, row } of rows) for (const p of marks) if (Boolean(p.faint) === faint) draw(p, style, row);
  placeLabels(svg, labels, place);
  nearestMark(svg, nodes);
  return place;
}

// Upright bars. bars: [{label, value, ghost, title, text, colour}], ghost: an empty bar behind, what was there before.
function bars({ svg, width, height, bars: rows, format, xLabel }) {
  const pad = { left: 4, right: 4, top: 20, bottom: xLabel ? 40 : 24 };
  const high = Math.max(...rows.map((b) => Math.max(b.value, b.ghost || 0)), 1e-9);
  const Y = (v) => height - pad.bottom - (v / high) * (height - pad.top - pad.bottom);
  const step = (width - pad.left - pad.right) / rows.length, wide = Math.min(46, step * 0.72);
  rows.forEach((b, i) => {
    const x = pad.left + step * (i + 0.5);
    const place = (v) => ({ x: x - wide / 2, y: Y(v), width: wide, height: Math.max(0, Y(0) - Y(v)), rx: 3 });
    if (b.ghost) svg.append(element("rect", { ...place(b.ghost), fill: "var(--wash)", stroke: "var(--line)" }));
    svg.append(mark(element("rect", { ...place(b.value), fill: b.colour || COLOURS[0] }), b.title, b.text));
    if (wide > 20) svg.append(text(x, Y(b.value) - 5, format(b.value), "middle", true));
    svg.append(text(x, height - pad.bottom + 16, b.label));
  });
  svg.append(line(pad.left, Y(0), width - pad.right, Y(0), "axis"));
  if (xLabel) svg.append(text(width - pad.right, height - 5, xLabel, "end"));
}

const LYING = 30;
const namesWidth = (rows, width) => Math.min(width * 0.38, Math.max(...rows.map((r) => r.label.length)) * 7.2 + 10);

// Lying bars with their names before them. rows: [{label, value, note, title, text}]
function lyingBars({ svg, width, rows, max, colour = COLOURS[0] }) {
  const left = namesWidth(rows, width), right = Math.max(...rows.map((r) => r.note.length)) * 7.4 + 14;
  rows.forEach((r, i) => {
    const y = i * LYING + 6, long = Math.max(2, ((width - left - right) * r.value) / max);
    svg.append(text(left - 10, y + 14, shorten(r.label, Math.floor(left / 7.2)), "end"));
    svg.append(mark(element("rect", { x: left, y, width: long, height: 19, rx: 3, fill: r.colour || colour }), r.title, r.text));
    svg.append(text(left + long + 8, y + 14, r.note, "start", true));
  });
}

// Shares of a whole, a row for each system; the deeper the layer, the stronger the colour.
// rows: [{label, strong, parts: [{share, depth (0..1), label, title, text}]}]
function stackedShares({ svg, width, rows }) {
  const left = namesWidth(rows, width);
  rows.forEach((r, row) => {
    const y = row * LYING + 4, drawn = r.parts.filter((part) => part.share > 0);
    const places = reaches(drawn.map((part) => (width - left - 2) * part.share), left);
    svg.append(text(left - 10, y + 15, shorten(r.label, Math.floor(left / 7.2)), "end", r.strong));
    const made = drawn.map((part, i) => {
      const { x, wide, from, to } = places[i];
      const fill = `color-mix(in oklab, var(--deep) ${Math.round(12 + 88 * part.depth)}%, var(--shallow))`;
      const node = mark(element("rect", { x, y, width: Math.max(wide - 1, 0.5), height: 22, rx: 2, style: `fill: ${fill}` }), part.title, part.text, { row, at: x.toFixed(1) });
      node.append(element("rect", { x: from, y, width: to - from, height: 22, fill: "transparent", class: "reach" }));
      return [wide, node];
    });
    svg.append(...made.sort(([a], [b]) => b - a).map(([, node]) => node)); // narrow ones reach over their neighbours
    drawn.forEach((part, i) => {
      const { x, wide } = places[i];
      if (wide > 24) svg.append(element("text", { x: x + wide / 2, y: y + 15, "text-anchor": "middle", class: `${part.depth > 0.45 ? "on-deep" : "on-shallow"} passive` }, part.label));
    });
  });
}

// Parts side by side, and from where to where a pointer finds each: a run of narrow ones spreads evenly round its
// middle, but never over the middle of a wide one.
function reaches(widths, start, least = 8) {
  const found = [];
  let x = start;
  for (let i = 0; i < widths.length;) {
    let end = i + 1;
    if (widths[i] < least) while (widths[end] < least) end++;
    const own = widths.slice(i, end), wide = own.reduce((a, b) => a + b), lack = Math.max(0, own.length * least - wide);
    const room = [widths[i - 1], widths[end]].map((next) => (next === undefined ? 0 : next / 2 - 1));
    const before = Math.min(room[0], room[1] ? lack / 2 : lack), after = Math.min(room[1], lack - before);
    const from = x - before, step = (wide + before + after) / own.length;
    own.forEach((w, k) => {
      found.push({ x, wide: w, from: from + k * step, to: from + (k + 1) * step });
      x += w;
    });
    i = end;
  }
  return found;
}

// A cell for each layer of each system, filled from below by its share of the most there is.
// rows: [{label, strong, cells: [{share, label, title, text}]}]
function sizeGrid({ svg, width, rows, columns }) {
  const left = namesWidth(rows, width), step = (width - left) / columns;
  for (let i = 1; i <= columns; i++) svg.append(text(left + step * (i - 0.5), 12, String(i)));
  rows.forEach((r, row) => {
    const y = 20 + row * LYING, high = LYING - 4;
    svg.append(text(left - 10, y + 17, shorten(r.label, Math.floor(left / 7.2)), "end", r.strong));
    r.cells.forEach((cell, i) => {
      const place = { x: left + step * i + 1, width: step - 2, rx: 2 };
      svg.append(element("rect", { ...place, y: y + high * (1 - cell.share), height: high * cell.share, fill: "var(--shallow)" }));
      svg.append(mark(element("rect", { ...place, y, height: high, fill: "transparent", stroke: "var(--line)" }), cell.title, cell.text, { row }));
      if (step > cell.label.length * 7 + 2) svg.append(element("text", { x: left + step * (i + 0.5), y: y + 17, "text-anchor": "middle", class: "on-shallow passive" }, cell.label));
    });
  });
}

// One interval beside a line at zero, for a table's cell; all of a column have the same ends.
function interval({ low, mean, high, colour, real }, [from, to]) {
  const width = 96, X = (v) => 7 + ((v - from) / (to - from)) * (width - 14);
  return element("svg", { class: "interval", width, height: 20, viewBox: `0 0 ${width} 20`, "aria-hidden": "true" },
    element("line", { x1: X(0), x2: X(0), y1: 0, y2: 20, class: "axis strong" }),
    element("line", { x1: X(low), x2: X(high), y1: 10, y2: 10, stroke: colour, "stroke-width": 2 }),
    element("circle", { cx: X(mean), cy: 10, r: 5, fill: real ? colour : "var(--card)", stroke: colour, "stroke-width": 2 }));
}
