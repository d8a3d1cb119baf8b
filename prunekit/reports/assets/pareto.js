// The comparison's figures: score against FLOPs with its frontier, scores layer by layer, who leaves where.

// Which systems are drawn; a click on a name switches it, in every figure of the comparison.
function legend() {
  const toggle = (row) => element("button", {
    type: "button", "aria-pressed": String(!state.hidden.has(row.system)), "data-system": row.system,
    on: { click() { if (!state.hidden.delete(row.system)) state.hidden.add(row.system); refresh(); focusAgain(row.system); } },
  }, swatch(compared.get(row.system).style), labelOf(row.system));
  return element("div", { class: "legend", role: "group", "aria-label": "Systems drawn" }, ...task().rows.map(toggle),
    state.hidden.size ? element("button", { type: "button", class: "plain", on: { click() { state.hidden.clear(); refresh(); } } }, "Show all") : null);
}
// A switched button is made anew: the keyboard stays where it was.
const focusAgain = (name) => [...document.querySelectorAll("#pareto .legend button")].find((b) => b.dataset.system === name)?.focus();

// Corners of the lines drawn that none of these is as high before, from the cheapest; the constant answer costs nothing.
function frontier(rows) {
  const all = rows.flatMap(({ curve }) => curve.macs.map((m, i) => [m, curve.mean[i]])).filter(([, v]) => v !== null).sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  let best = Number(task().constant.toFixed(6)); // as the curves are rounded
  return all.filter(([, score]) => score > best && ((best = score), true));
}

const keptWords = (score) => { const kept = shareKept(score, denseOf()); return kept === null ? "" : `, ${percent(kept)} of dense`; };
const pointWords = (score, macs, more) => [`${pretty(task().metric)} ${percent(score)}${keptWords(score)}`,
  `${flops(macs)}, ${times(comparison.dense_macs / macs)} fewer`, ...more].join("\n");
const valuesOf = (s) => (s.values.length > 1 ? { low: Math.min(...s.values), high: Math.max(...s.values) } : {});
const seedsWords = (s) => (s.values.length > 1 ? [`${percent(Math.min(...s.values))} to ${percent(Math.max(...s.values))} over ${s.values.length} seeds`] : []);

function seriesOf(row, width = Infinity) {
  const { curve } = row, style = compared.get(row.system).style, score = row.scores[task().metric];
  const known = curve.macs.map((x, i) => [2 * x, curve.mean[i], i]).filter(([, y]) => y !== null);
  const end = 2 * Math.max(...row.points.map((p) => p.macs), row.macs.mean);
  const single = row.exit_layers.length === 1;
  // Where there is no room for all names, the legend has them.
  const named = width > 560 || isSubject(row) ? labelOf(row.system) : null;
  return {
    style, width: isSubject(row) ? 3 : 2, steps: true,
    path: known.filter(([x]) => x <= end * 1.001), tail: known.filter(([x]) => x >= end * 0.999),
    band: known.map(([x, , i]) => [x, curve.low[i], curve.high[i]]),
    marks: [
      ...row.points.map((p) => ({ x: 2 * p.macs, y: p.score, size: 2.6, faint: true, title: `${labelOf(row.system)}: ${p.label}`,
        text: pointWords(p.score, p.macs, []) })),
      { x: 2 * row.macs.mean, y: score.mean, ...valuesOf(score), size: isSubject(row) ? 7.5 : 6, first: isSubject(row), label: named,
        title: `${labelOf(row.system)}: ${uniquePolicies(row)}`, text: pointWords(score.mean, row.macs.mean, [...seedsWords(score), single ? "single exit" : "the chosen policy"]) },
    ],
  };
}

function drawPareto(svg, width, height) {
  const rows = shownRows(), series = rows.map((row) => seriesOf(row, width)), guides = [{ x: 2 * comparison.dense_macs * 0.05, label: guideWords("5 %", "FLOPs", width) }];
  const all = task().rows.map((row) => seriesOf(row)); // the axes stay as they are when a system is switched off
  const xs = all.flatMap((s) => s.marks.map((p) => p.x)), ys = all.flatMap((s) => s.marks.flatMap((p) => [p.y, p.low ?? p.y, p.high ?? p.y]));
  if (denseOf() !== null) {
    if (denseOf() > 0) guides.push({ y: 0.95 * denseOf(), label: guideWords("95 %", "score", width) });
    series.push({ style: { colour: "var(--mark)", shape: "diamond" }, marks: [{ x: 2 * comparison.dense_macs, y: denseOf(), size: 6, label: width > 500 ? "dense" : null,
      title: comparison.dense_name, text: pointWords(denseOf(), comparison.dense_macs, ["single exit"]) }] });
  }
  const low = Math.min(...xs, guides[0].x) / 1.15, high = 2 * comparison.dense_macs * 1.3;
  const y = ends([...ys, ...series.at(-1).marks.map((p) => p.y), ...guides.filter((g) => g.y).map((g) => g.y)]);
  curves({ svg, width, height, series, guides,
    x: { low, high, log: true, format: flopsTick, label: `mean FLOPs an example at ${comparison.sequence_length} tokens (logarithmic)` },
    y: { ...y, format: percentTick, label: `${pretty(task().metric)}, %` },
    under(place) {
      const edge = frontier(rows).map(([macs, score]) => [2 * macs, score]);
      if (edge.length) edge.unshift([edge[0][0], Math.max(y.low, task().constant)]);
      if (edge.length) place.inside.append(element("path", { d: pathOf([...edge, [high, edge.at(-1)[1]]], place, true), class: "frontier" }));
      const budget = budgets()[budgetAt()];
      place.inside.append(element("line", { x1: place.X(2 * budget), x2: place.X(2 * budget), y1: place.top, y2: place.bottom, class: "cursor" }));
    } });
}

// The budgets that the slider goes through: where at least one system can answer.
const budgets = () => task().rows[0].curve.macs;
function budgetAt() {
  const own = (task().rows.find(isSubject) ?? task().rows[0]).macs.mean, grid = budgets();
  // It starts where the chosen policies can be paid.
  state.budget ??= grid.findIndex((m) => m >= own);
  return state.budget < 0 ? grid.length - 1 : Math.min(state.budget, grid.length - 1);
}

function budgetReadout() {
  const at = budgetAt(), macs = budgets()[at];
  const slider = element("input", { type: "range", min: 0, max: budgets().length - 1, step: 1, value: at, "aria-label": "FLOPs budget", "aria-valuetext": flops(macs),
    on: { input() { state.budget = Number(slider.value); slider.setAttribute("aria-valuetext", flops(budgets()[state.budget])); paretoFigure.redraw(); fill(); } } });
  const words = element("output", { class: "readout" }), ranking = element("ol", { class: "ranking" });
  const fill = () => {
    const i = budgetAt(), m = budgets()[i];
    const order = shownRows().map((row) => ({ row, score: row.curve.mean[i] })).sort((a, b) => (b.score ?? -2) - (a.score ?? -2));
    words.textContent = `at most ${flops(m)} (${times(comparison.dense_macs / m)} fewer)`;
    ranking.replaceChildren(...order.map(({ row, score }) => element("li", { class: isSubject(row) ? "chosen" : null }, named(row),
      element("span", { class: "score" }, score === null ? "too dear" : percent(score)))));
  };
  fill();
  return [element("div", { class: "controls" }, element("label", {}, "Budget ", slider), words), ranking];
}

// The same curves as figures, at shares of the dense model's FLOPs.
function budgetTable() {
  const grid = budgets(), dense = comparison.dense_macs;
  const shares = [0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75].filter((s) => s * dense >= grid[0] && s * dense <= grid.at(-1) * 1.001);
  const at = (row, share) => row.curve.mean[grid.findLastIndex((m) => m <= share * dense)];
  return folded("The curves as a table", {}, table([
    systemColumn((r) => labelOf(r.system), named),
    ...shares.map((share) => ({ name: `${percent(share, share < 0.1 && share * 100 % 1 ? 1 : 0)} (${flops(share * dense)})`, value: (r) => at(r, share), show: (r) => percent(at(r, share)) })),
  ], task().rows, { caption: `${pretty(task().metric)} for at most this share of the dense model's FLOPs`, key: "budgets", rowClass: (r) => (isSubject(r) ? "chosen" : null) }));
}

let paretoFigure;
function paretoSection() {
  paretoFigure = figure("Score against FLOPs of every system", (width) => (width < 500 ? 400 : 470), drawPareto);
  const bands = () => (task().seeds.length > 1 ? "Bands span the seeds." : "Bands are 95 % intervals over examples.");
  card("Score against FLOPs", null, { id: "pareto", nav: "Score and FLOPs" },
    remade(() => [`Up and to the left is better. A line says what a system scores when it may spend at most so much, its policy picked on ${task().picked_on === "test" ? "the reported examples, for lack of others" : "held-out examples"}. Dots are its policies, the large mark is the chosen one. The wide grey line is the Pareto frontier of the lines drawn. ${bands()}`], "p"),
    remade(legend), redrawn(paretoFigure), remade(budgetReadout), remade(budgetTable));
}

function layersSection() {
  const draw = (svg, width, height) => {
    const rows = shownRows(), layers = task().rows.flatMap((row) => row.exit_layers), last = Math.max(...layers);
    const values = task().rows.flatMap((row) => row.exit_scores.flatMap((s) => s.values));
    const y = ends([...values, ...(denseOf() === null ? [] : [denseOf()])]);
    const many = rows.length > 1 ? 0.06 : 0;
    curves({ svg, width, height, guides: denseOf() === null ? [] : [{ y: denseOf(), label: `dense ${percent(denseOf())}` }],
      x: { low: Math.min(...layers) - 0.4, high: last + 0.4, ticks: [...Array(last).keys()].map((i) => i + 1), format: String, label: "exit on layer" },
      y: { ...y, format: percentTick, label: `${pretty(task().metric)}, %` },
      series: rows.map((row, i) => {
        const x = (layer) => layer + (i - (rows.length - 1) / 2) * many; // beside each other where they would hide each other
        return { style: compared.get(row.system).style, width: isSubject(row) ? 3 : 2, path: row.exit_layers.map((l, j) => [x(l), row.exit_scores[j].mean]),
          marks: row.exit_layers.map((l, j) => ({ x: x(l), y: row.exit_scores[j].mean, ...valuesOf(row.exit_scores[j]), size: 4.5,
            title: `${labelOf(row.system)}, layer ${l}`, text: pointWords(row.exit_scores[j].mean, row.exit_macs[j], seedsWords(row.exit_scores[j])) })) };
      }) });
  };
  card("Score of every exit", () => `Each exit used alone, for all examples.${task().seeds.length > 1 ? " Upright lines span the seeds." : ""}`, { half: true, id: "layers", nav: "Layers" },
    redrawn(figure("Score of every exit used alone, by system", 330, draw)));
  const draws = (svg, width) => stackedShares({ svg, width, rows: shownRows().map((row) => ({
    label: labelOf(row.system), strong: isSubject(row),
    parts: row.exit_shares.map((share, i) => ({ share, depth: row.exit_layers[i] / Math.max(...task().rows.flatMap((r) => r.exit_layers)), label: String(row.exit_layers[i]),
      title: `${labelOf(row.system)}, layer ${row.exit_layers[i]}`, text: `${percent(share)} of the examples leave here\n${flops(row.exit_macs[i])}, ${times(comparison.dense_macs / row.exit_macs[i])} fewer` })) })) });
  card("Who leaves where", () => `Share of the examples that leave at each layer under the chosen policies${task().seeds.length > 1 ? ", mean over seeds" : ""}. The deeper the layer, the more it stands out from the card; the number is the layer.`, { half: true, id: "shares", nav: "Leaving" },
    redrawn(figure("Share of examples leaving at each layer, by system", () => Math.max(60, shownRows().length * LYING + 10), draws)));
}
