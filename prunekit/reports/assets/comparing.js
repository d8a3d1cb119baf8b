// The comparison: its tables, and what the differences are worth.

const named = (row) => element("span", { class: "named" }, swatch(compared.get(row.system).style, false), labelOf(row.system));
const denseName = () => element("span", { class: "named" }, swatch({ colour: "var(--mark)", shape: "diamond" }, false), comparison.dense_name);
const sweepOrderOf = (name) => task().sweep_orders.find((o) => o.second === name);

// The subject's figures on the task, over its seeds; none where it has no run there.
function comparedTiles() {
  const t = task(), own = t.rows.find(isSubject);
  if (!own) return null;
  const size = compared.get(own.system), score = own.scores[t.metric], seeds = t.seeds.length > 1 ? `, ${own.seeds.length} seeds` : "";
  const rank = t.rows.filter((row) => row.area.mean > own.area.mean).length + 1;
  const short = own.short_scores?.[t.metric];
  return [
    tile("Parameters", times(size.parameters_fewer), "fewer", `${count(comparison.dense_parameters)} → ${count(size.parameters)}`, 1 / size.parameters_fewer),
    tile(`FLOPs at ${comparison.sequence_length} tokens`, times(own.speedup.mean), "fewer", `${flops(comparison.dense_macs)} → ${flops(own.macs.mean)} an example`, 1 / own.speedup.mean),
    tile(`Score (${t.task}, ${pretty(t.metric)})`, percent(own.kept?.mean ?? score.mean), own.kept ? "kept" : "", `${denseOf() === null ? "" : `${percent(denseOf())} → `}${spread(score)} on ${plural(t.examples, "example")}${seeds}`, own.kept?.mean ?? null),
    ...(short ? [tile("FLOPs of short examples", times(own.short_speedup.mean), "fewer", `${pretty(t.metric)} ${spread(short)}; fewer than ${t.median_length} tokens`, 1 / own.short_speedup.mean)] : []),
    tile("Area under the curve", percent(own.area.mean), "", `mean score over all budgets; no. ${rank} of ${plural(t.rows.length, "system")}`, own.area.mean),
  ];
}

const denseRow = () => ({
  dense: true, scores: task().dense, short_scores: task().dense_short, kept: denseOf() > 0 ? { mean: 1, std: null } : null,
  macs: { mean: comparison.dense_macs }, speedup: { mean: 1 }, parameters: comparison.dense_parameters, fewer: 1, all_layers: null,
});
const uniquePolicies = (row) => [...new Set(row.policies)].join("; ");

// A figure with a second one under it.
const over = (value, more) => [value, element("small", {}, more)];
const systemColumn = (value, show) => ({ name: "System", left: true, wrap: true, value, show });

function systemColumns() {
  const m = shownMetric(), main = m === task().metric;
  const size = (row) => (row.dense ? row : { parameters: compared.get(row.system).parameters, fewer: compared.get(row.system).parameters_fewer });
  const keptOf = (row) => (main || row.dense ? row.kept?.mean ?? null : shareKept(row.scores[m].mean, denseOf(m)));
  const keptWords = (row) => (keptOf(row) === null ? "" : `${percent(keptOf(row))} kept`);
  const gain = (row) => (row.dense ? 1 : row.short_speedup?.mean ?? null);
  return [
    systemColumn((r) => (r.dense ? comparison.dense_name : labelOf(r.system)), (r) => (r.dense ? denseName() : named(r))),
    { name: pretty(m), value: (r) => r.scores?.[m]?.mean ?? null, show: (r) => over(spread(r.scores?.[m]), keptWords(r)) },
    { name: "FLOPs", value: (r) => r.macs.mean, show: (r) => over(flops(r.macs.mean), `${times(r.speedup.mean)} fewer`) },
    { name: "Parameters", value: (r) => size(r).parameters, show: (r) => over(count(size(r).parameters), `${times(size(r).fewer)} fewer`) },
    ...(main ? [
      { name: "Area under the curve", value: (r) => r.area?.mean ?? null, show: (r) => spread(r.area) },
      { name: "All layers", value: (r) => r.all_layers?.mean ?? null, show: (r) => spread(r.all_layers) }] : []),
    { name: "Short examples", value: (r) => r.short_scores?.[m]?.mean ?? null, show: (r) => over(spread(r.short_scores?.[m]), gain(r) === null ? "" : `${times(gain(r))} fewer FLOPs`) },
    { name: "Exit policy", left: true, wrap: true, value: (r) => (r.dense ? null : uniquePolicies(r)) },
  ];
}

function systemsSection() {
  const t = () => task();
  const pick = () => (t().metrics.length > 1 ? element("div", { class: "controls" }, choice("Score", "metric",
    t().metrics.map((m) => [m, pretty(m)]), shownMetric(), (m) => { state.metric = m; refresh(); })) : null);
  card("Every system", null, { id: "systems", nav: "Systems" },
    remade(verdict, "p"), remade(pick),
    remade(() => table(systemColumns(), t().rows, { caption: `Every system on ${t().task}`, key: "systems", pinned: [denseRow()], rowClass: (r) => (r.dense ? "dense" : isSubject(r) ? "chosen" : null) })),
    remade(() => element("figcaption", {},
      `${t().seeds.length > 1 ? `Mean over ${plural(t().seeds.length, "seed")}, ± one standard deviation` : "One seed"}, each system under the exit policy chosen on held-out data. `,
      `FLOPs are two for every multiply-add, the mean over examples at ${comparison.sequence_length} tokens. `,
      `Short examples have fewer than ${t().median_length} tokens, the median. `,
      `The area is the mean score over all budgets up to ${flops(t().budget)}; where a system cannot run, it counts as always giving the most frequent class (${percent(t().constant)}).`)),
    remade(() => [t().note, ...comparison.notes].filter(Boolean).map((note) => element("li", {}, note)), "ul", "notes"));
}

// All tasks side by side, as the paper's Table 3.
function tasksSection() {
  if (comparison.tasks.length < 2) return;
  const rowOf = (t, name) => t.rows.find((row) => row.system === name);
  const systemsHere = [...compared.values()];
  const columns = [
    systemColumn((s) => s.label, (s) => (s.dense ? denseName() : named({ system: s.name }))),
    { name: "Parameters", value: (s) => s.parameters, show: (s) => over(count(s.parameters), `${times(s.parameters_fewer)} fewer`) },
    ...comparison.tasks.map((t) => {
      const scoreOf = (s) => (s.dense ? t.dense?.[t.metric] : rowOf(t, s.name)?.scores[t.metric]) ?? null;
      const gain = (s) => (s.dense ? 1 : rowOf(t, s.name)?.speedup.mean ?? null);
      return { name: `${t.task}: ${pretty(t.metric)}`, value: (s) => scoreOf(s)?.mean ?? null, show: (s) => (gain(s) === null ? NONE : over(spread(scoreOf(s)), `${times(gain(s))} fewer FLOPs`)) };
    }),
  ];
  card("All tasks", "Under each task's chosen exit policies.", { id: "tasks", nav: "Tasks" }, table(columns, systemsHere, {
    caption: "Every system on every task", pinned: [{ dense: true, parameters: comparison.dense_parameters, parameters_fewer: 1 }],
    rowClass: (s) => (s.dense ? "dense" : s.name === comparison.subject ? "chosen" : null) }));
}

function differencesSection() {
  if (!comparison.tasks.some((t) => t.differences.length)) return;
  const subject = labelOf(comparison.subject);
  const columns = () => {
    const found = task().differences, sides = [Math.min(0, ...found.map((d) => d.low)), Math.max(1e-6, ...found.map((d) => d.high))];
    const group = (at, title) => {
      const of = (r) => differenceOf(r.system, at);
      return [
        { name: title, value: (r) => of(r)?.mean ?? null, show: (r) => { const d = of(r); return d ? [interval({ ...d, colour: compared.get(r.system).style.colour }, sides), element("span", { class: d.real ? "real" : "open" }, points(d.mean))] : NONE; } },
        { name: "95 % interval", value: (r) => of(r)?.low ?? null, show: (r) => (of(r) ? `${points(of(r).low)} to ${points(of(r).high)}` : NONE) },
        { name: "Real (p)", left: true, value: (r) => of(r)?.p ?? null, show: (r) => (of(r) ? `${!of(r).real ? "unclear" : of(r).seeds.length > 1 ? "yes" : "here"} (${chance(of(r).p)})` : NONE) },
      ];
    };
    const above = (name, of) => ({ name, value: (r) => of(r.system)?.above_share ?? null,
      show: (r) => { const o = of(r.system); return !o ? NONE : o.always ? "always" : percent(o.above_share, 0); } });
    return [
      { name: `${subject} against`, left: true, wrap: true, value: (r) => labelOf(r.system), show: named },
      ...group("area", "Area, points"), ...group("chosen", "Chosen policies, points"),
      above("Curve above", orderOf), above("Sweep above", sweepOrderOf),
    ];
  };
  const one = () => task().seeds.length < 2;
  card("Which differences are real", () => `Points of score that ${subject} is ahead of (or behind) each other system. A filled dot: the 95 % interval does not hold zero; else it is unclear whether there is a difference. Paired bootstrap over examples${one() ? "" : " and seeds"}, ${whole(comparison.resamples)} resamples${one() ? "; real “here”: on these examples, with one seed, which says nothing of how another training would come out" : ""}. Above: at which share of the budgets. The curve picks its policies on validation examples; the sweep is the line through all dots, as in the paper's Figure 3.`,
    { id: "differences", nav: "Differences" },
    remade(() => table(columns(), task().rows.filter((row) => !isSubject(row)), { caption: `Differences on ${task().task}`, key: "differences" })));
}
