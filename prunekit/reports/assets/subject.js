// One model: what it saves and keeps, its policies, its exits, its layers, its parts.

// A figure with a bar under it: how much is left of what the dense model has.
function tile(what, value, unit, more, left) {
  return element("div", { class: "tile" }, element("div", { class: "what" }, what),
    element("div", { class: "value" }, value, " ", element("small", {}, unit)),
    left === null ? null : element("div", { class: "left-of", "aria-hidden": "true" }, element("div", { style: `width: ${Math.min(100, Math.max(0.5, 100 * left)).toFixed(2)}%` })),
    element("div", { class: "more" }, more));
}

function tiles() {
  const place = document.getElementById("tiles");
  redraws.push(() => place.replaceChildren(...((comparison && comparedTiles()) || ownTiles())));
}

function ownTiles() {
  const s = systems[0], point = chosenOf(s), chosen = point.all, dense = report.dense, figures = s.figures, e = evaluation(s);
  const body = (f) => f.parameters - f.embedding_parameters;
  const outside = body(figures) ? `; outside the embeddings ${times(body(dense) / body(figures))}` : "";
  return [
    tile("Parameters", times(dense.parameters / figures.parameters), "fewer", `${count(dense.parameters)} → ${count(figures.parameters)}${outside}`, figures.parameters / dense.parameters),
    tile(`FLOPs at ${length} tokens`, times(chosen.speedup), "fewer", `${flops(e.dense.macs)} → ${flops(chosen.macs)} an example`, 1 / chosen.speedup),
    tile("FLOPs at real lengths", times(chosen.speedup_real), "fewer", `${flops(e.dense.macs_real)} → ${flops(chosen.macs_real)} an example`, 1 / chosen.speedup_real),
    tile(`Score (${pretty(metric)})`, percent(point.kept ?? chosen.scores[metric]), point.kept === null ? "" : "kept",
      `${denseScore(s) === null ? "" : `${percent(denseScore(s))} → `}${percent(chosen.scores[metric])} on ${whole(e.examples)} examples`, point.kept),
    tile("Mean exit layer", chosen.mean_exit_layer.toFixed(2), `of ${e.exit_layers.at(-1)}`, policyName(point.policy), chosen.mean_exit_layer / e.exit_layers.at(-1)),
  ];
}

function describe(point) {
  const kept = point.kept === null ? "" : `, ${percent(point.kept)} of dense`;
  return `${pretty(metric)} ${percent(point.all.scores[metric])}${kept}\n${flops(costOf(point.all))}, ${times(gainOf(point.all))} fewer\nmean exit layer ${point.all.mean_exit_layer.toFixed(2)}`;
}

function drawCurve(svg, width, height) {
  const dense = evaluation(systems[0]).dense, denseMacs = state.cost === "fixed" ? dense.macs : dense.macs_real;
  const series = systems.map((s, i) => {
    const own = pointsOf(s).sort((a, b) => costOf(a.all) - costOf(b.all));
    return { style: several ? styleOf(i) : { colour: COLOURS[0] }, path: own.map((p) => [2 * costOf(p.all), p.all.scores[metric]]), marks: own.map((p) => {
      const chosen = same(p.policy, chosenOf(s).policy), all = p.policy === null;
      return {
        x: 2 * costOf(p.all), y: p.all.scores[metric], shape: several ? null : all ? "square" : "circle", size: chosen ? 7 : all ? 5 : 4, hollow: chosen, first: chosen,
        label: several ? (chosen ? s.name : null) : chosen ? "chosen" : all ? "all layers" : null,
        title: several ? `${s.name}: ${policyName(p.policy)}` : policyName(p.policy), text: describe(p),
      };
    }) };
  });
  const guides = [{ x: 2 * denseMacs * 0.05, label: guideWords("5 %", "FLOPs", width) }];
  if (dense.scores) {
    const score = dense.scores[metric];
    series.push({ style: { colour: "var(--mark)", shape: "diamond" }, marks: [{ x: 2 * denseMacs, y: score, size: 6, label: "dense", title: report.dense.name, text: `${pretty(metric)} ${percent(score)}\n${flops(denseMacs)}, single exit` }] });
    if (score > 0) guides.push({ y: 0.95 * score, label: guideWords("95 %", "score", width) });
  }
  const marks = series.flatMap((s) => s.marks), xs = [...marks.map((p) => p.x), guides[0].x];
  curves({ svg, width, height, series, guides,
    x: { low: Math.min(...xs) / 1.25, high: Math.max(...xs, 2 * denseMacs) * 1.35, log: true, format: flopsTick, label: `mean FLOPs an example ${lengthName()} (logarithmic)` },
    y: { ...ends([...marks.map((p) => p.y), ...guides.filter((g) => g.y).map((g) => g.y)]), format: percentTick, label: `${pretty(metric)}, %` } });
}

function curveSection() {
  const names = several ? element("ul", { class: "legend" }, ...systems.map((s, i) => element("li", {}, swatch(styleOf(i)), s.name))) : null;
  card(comparison ? `The policies of ${systems[0].name}` : "Score against FLOPs",
    `Every mark is one exit policy over all evaluated examples. Up and to the left is better. FLOPs are two for every multiply-add, up to and including the exit an example took, exit classifiers included.${comparison ? ` This run: seed ${report.seed}.` : ""}`,
    { id: "curve", nav: comparison ? "Policies" : "Score and FLOPs" },
    element("div", { class: "controls" }, choice("FLOPs counted", "cost", [["fixed", `at ${length} tokens`], ["real", "at real lengths"]], state.cost, (cost) => { state.cost = cost; refresh(); })),
    names, redrawn(figure("Score against FLOPs for every exit policy", (width) => (width < 500 ? 320 : 380), drawCurve)));
}

function resultSection() {
  const denseFigures = report.dense, dense = evaluation(systems[0]).dense;
  const pinned = [{ kind: "dense", name: denseFigures.name, parameters: denseFigures.parameters, macs: dense.macs, scores: dense.scores, kept: dense.scores?.[metric] > 0 ? 1 : null, fewer: 1, fewerReal: 1, layer: null }];
  const rows = [];
  for (const s of systems) {
    const add = (kind, name, part, kept) => rows.push({ kind, name, parameters: s.figures.parameters, macs: part.macs, scores: part.scores, kept, fewer: part.speedup, fewerReal: part.speedup_real, layer: part.mean_exit_layer });
    const chosen = chosenOf(s);
    if (chosen.policy !== null) add("all", `${s.name}, all layers`, evaluation(s).all_layers.all, evaluation(s).all_layers.kept);
    add("chosen", `${s.name}, ${policyName(chosen.policy)}`, chosen.all, chosen.kept);
    if (chosen.short) add("short", `${s.name}, only short examples`, chosen.short, shareKept(chosen.short.scores[metric], dense.short_scores?.[metric] ?? null));
  }
  const note = systems.filter((s) => s.note).map((s) => `${s.name}: ${s.note}`).join(" ");
  card("The result", `Short examples have fewer than ${evaluation(systems[0]).median_length} tokens, the median; they are set against the dense model on the same examples. ${note}`, { id: "result", nav: "Result" },
    table([
      { name: "Model", left: true, wrap: true, value: (r) => r.name },
      ...evaluation(systems[0]).metrics.map((m) => ({ name: pretty(m), value: (r) => r.scores?.[m], show: (r) => percent(r.scores?.[m]) })),
      { name: "Kept", value: (r) => r.kept, show: (r) => percent(r.kept) },
      { name: "Parameters", value: (r) => r.parameters, show: (r) => count(r.parameters) },
      { name: "Fewer", value: (r) => denseFigures.parameters / r.parameters, show: (r) => times(denseFigures.parameters / r.parameters) },
      { name: `FLOPs at ${length}`, value: (r) => r.macs, show: (r) => flops(r.macs) },
      { name: "Fewer", value: (r) => r.fewer, show: (r) => times(r.fewer) },
      { name: "Fewer at real lengths", value: (r) => r.fewerReal, show: (r) => times(r.fewerReal) },
      { name: "Mean exit layer", value: (r) => r.layer, show: (r) => (r.layer === null ? NONE : r.layer.toFixed(2)) },
    ], rows, { caption: "The result against the dense model", pinned, rowClass: (r) => (r.kind === "chosen" ? "chosen" : r.kind === "dense" ? "dense" : null) }));
}

function policySection() {
  const rows = systems.flatMap((s) => pointsOf(s).map((p) => ({ s, p })));
  card("Every exit policy", "Policies that send every example the same way are shown once.", { id: "policies" },
    element("details", { open: rows.length <= 12 }, element("summary", {}, `Show all ${rows.length}`), table([
      ...(several ? [{ name: "Model", left: true, value: (r) => r.s.name }] : []),
      { name: "Policy", left: true, value: (r) => policyName(r.p.policy) },
      ...evaluation(systems[0]).metrics.map((m) => ({ name: pretty(m), value: (r) => r.p.all.scores[m], show: (r) => percent(r.p.all.scores[m]) })),
      { name: "Kept", value: (r) => r.p.kept, show: (r) => percent(r.p.kept) },
      { name: `FLOPs at ${length}`, value: (r) => r.p.all.macs, show: (r) => flops(r.p.all.macs) },
      { name: "Fewer", value: (r) => r.p.all.speedup, show: (r) => times(r.p.all.speedup) },
      { name: "Fewer at real lengths", value: (r) => r.p.all.speedup_real, show: (r) => times(r.p.all.speedup_real) },
      { name: `Short: ${pretty(metric)}`, value: (r) => r.p.short?.scores[metric], show: (r) => percent(r.p.short?.scores[metric]) },
      { name: "Mean exit layer", value: (r) => r.p.all.mean_exit_layer, show: (r) => r.p.all.mean_exit_layer.toFixed(2) },
    ], rows, { caption: "Every exit policy", rowClass: (r) => (same(r.p.policy, chosenOf(r.s).policy) ? "chosen" : null) })));
}

function costSection() {
  const s = systems[0].figures;
  const [dense, here] = [report.dense, s].map((f) => Object.fromEntries(f.parts.map((p) => [p.part, p])));
  const rows = [...new Set([...Object.keys(dense), ...Object.keys(here)])].map((name) => ({ name, dense: dense[name], here: here[name] }));
  const column = (name, side, what, words) => ({ name, value: (r) => r[side]?.[what], show: (r) => (r[side] ? words(r[side][what]) : NONE) });
  card("Where parameters and FLOPs are", `At ${s.sequence_length} tokens, through all layers. FLOPs are two for every multiply-add of matrix products; norms, activations and look-ups are left out.`, { id: "costs", nav: "Costs" },
    table([
      { name: "Part", left: true, value: (r) => r.name },
      column("Dense parameters", "dense", "parameters", count), column("Slender parameters", "here", "parameters", count),
      column("Dense FLOPs", "dense", "macs", flops), column("Slender FLOPs", "here", "macs", flops),
    ], rows, { caption: "Parameters and FLOPs by part" }),
    s.by_exit.length ? element("details", {}, element("summary", {}, "Up to each exit"), table([
      { name: "Exit", left: true, value: (r) => s.by_exit.indexOf(r), show: (r) => r.part },
      { name: "Its own parameters", value: (r) => r.parameters, show: (r) => count(r.parameters) },
      { name: "FLOPs up to it", value: (r) => r.macs, show: (r) => flops(r.macs) },
      { name: "Fewer than dense", value: (r) => report.dense.macs / r.macs, show: (r) => times(report.dense.macs / r.macs) },
    ], s.by_exit, { caption: "FLOPs up to each exit" })) : null);
}
