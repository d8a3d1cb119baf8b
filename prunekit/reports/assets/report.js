// The page: every section is built from the report's data, embedded above as JSON.

const report = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("main");
const systems = report.systems;
const several = systems.length > 1;
const state = { system: 0, point: null, cost: "fixed" };
const redraws = [];

const count = (v) => (v >= 1e6 ? `${(v / 1e6).toFixed(2)} M` : v >= 1e4 ? `${(v / 1e3).toFixed(1)} k` : v.toLocaleString("en"));
const flops = (macs) => {
  const v = 2 * macs;
  if (v === 0) return "0";
  const [scale, unit] = v >= 1e9 ? [1e9, "G"] : v >= 1e6 ? [1e6, "M"] : [1e3, "k"];
  const n = v / scale;
  return `${n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2)} ${unit}FLOPs`;
};
const percent = (v, digits = 1) => (v === null || v === undefined ? "–" : `${(100 * v).toFixed(digits)} %`);
const times = (v) => (v === null || v === undefined ? "–" : `${v >= 100 ? v.toFixed(0) : v.toFixed(1)}×`);
const seconds = (v) => (v === null || v === undefined ? "–" : v < 90 ? `${v.toFixed(1)} s` : v < 5400 ? `${(v / 60).toFixed(1)} min` : `${(v / 3600).toFixed(1)} h`);
const pretty = (name) => ({ f1: "F1", mcc: "MCC" })[name] || name.replaceAll("_", " ");
const policyName = (policy) => {
  if (policy === null) return "all layers";
  const settings = Object.entries(policy).filter(([key]) => key !== "name").map(([key, v]) => [key, Array.isArray(v) ? v.join("/") : v]);
  return settings.length === 1 ? `${policy.name} ${settings[0][1]}` : [policy.name, ...settings.map((pair) => pair.join(" "))].join(", ");
};
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const evaluation = (s) => s.evaluation;
const metric = evaluation(systems[0]).metrics[0];
const chosenOf = (s) => evaluation(s).chosen || evaluation(s).all_layers;
// From the cheapest. Policies that send every example the same way are shown once: the chosen one, or all layers.
const pointsOf = (s) => {
  const chosen = chosenOf(s), { all_layers: whole, points } = evaluation(s);
  const distinct = new Map();
  for (const p of [chosen, whole, ...points]) {
    const way = JSON.stringify([p.exit_shares, p.all]);
    if (!distinct.has(way)) distinct.set(way, p);
  }
  return [...distinct.values()].sort((a, b) => a.all.macs - b.all.macs);
};
const denseScore = (s) => (evaluation(s).dense.scores ? evaluation(s).dense.scores[metric] : null);
const costOf = (part) => (state.cost === "fixed" ? part.macs : part.macs_real);
const gainOf = (part) => (state.cost === "fixed" ? part.speedup : part.speedup_real);
const length = evaluation(systems[0]).sequence_length;
const lengthName = () => (state.cost === "fixed" ? `at ${length} tokens` : "at real lengths");

function card(title, intro, { half = false, id } = {}, ...children) {
  const node = element("section", { class: half ? "card half" : "card", id }, element("h2", {}, title), intro ? element("p", {}, intro) : null, ...children);
  main.append(node);
  return node;
}
function redrawn(node) { redraws.push(() => node.redraw()); return node; }
function refresh() { redraws.forEach((redraw) => redraw()); }

function tiles() {
  const s = systems[0], chosen = chosenOf(s).all, dense = report.dense, figures = s.figures;
  const body = (f) => f.parameters - f.embedding_parameters;
  const rows = [
    ["Parameters", [times(dense.parameters / figures.parameters), "fewer"], `${count(dense.parameters)} → ${count(figures.parameters)}; outside the embeddings ${times(body(dense) / body(figures))}`],
    [`FLOPs at ${length} tokens`, [times(chosen.speedup), "fewer"], `${flops(evaluation(s).dense.macs)} → ${flops(chosen.macs)} an example`],
    ["FLOPs at real lengths", [times(chosen.speedup_real), "fewer"], `${flops(evaluation(s).dense.macs_real)} → ${flops(chosen.macs_real)} an example`],
    [`Score (${pretty(metric)})`, chosenOf(s).kept === null ? [percent(chosen.scores[metric]), ""] : [percent(chosenOf(s).kept), "kept"], `${percent(denseScore(s))} → ${percent(chosen.scores[metric])} on ${evaluation(s).examples.toLocaleString("en")} examples`],
    ["Mean exit layer", [chosen.mean_exit_layer.toFixed(2), `of ${evaluation(s).exit_layers.at(-1)}`], policyName(chosenOf(s).policy)],
  ];
  document.getElementById("tiles").append(...rows.map(([what, value, more]) => element("div", { class: "tile" },
    element("div", { class: "what" }, what), element("div", { class: "value" }, value[0], " ", element("small", {}, value[1])), element("div", { class: "more" }, more))));
}

function describe(point, s) {
  const kept = point.kept === null ? "" : ` (${percent(point.kept)} of dense)`;
  return `${pretty(metric)} ${percent(point.all.scores[metric])}${kept}\n${flops(costOf(point.all))}, ${times(gainOf(point.all))} fewer\nmean exit layer ${point.all.mean_exit_layer.toFixed(2)}`;
}

function curveSection() {
  const draw = (svg, width, height) => {
    const dense = evaluation(systems[0]).dense;
    const denseMacs = state.cost === "fixed" ? dense.macs : dense.macs_real;
    const series = systems.map((s, i) => ({
      colour: COLOURS[i % COLOURS.length], joined: true,
      points: pointsOf(s).sort((a, b) => costOf(a.all) - costOf(b.all)).map((p) => {
        const chosen = same(p.policy, chosenOf(s).policy), all = p.policy === null;
        return {
          x: 2 * costOf(p.all), y: p.all.scores[metric], shape: all ? "square" : "circle", size: chosen ? 7 : all ? 5 : 4, hollow: chosen,
          label: several ? (chosen ? s.name : null) : chosen ? "chosen" : all ? "all layers" : null,
          title: several ? `${s.name}: ${policyName(p.policy)}` : policyName(p.policy), text: describe(p, s),
        };
      }),
    }));
    const guides = [];
    if (dense.scores) {
      const score = dense.scores[metric];
      series.push({ colour: "var(--mark)", points: [{ x: 2 * denseMacs, y: score, shape: "diamond", size: 6, label: "dense", title: report.dense.name, text: `${pretty(metric)} ${percent(score)}\n${flops(denseMacs)}, single exit` }] });
      guides.push({ y: 0.95 * score, label: "95 % of the dense score" });
    }
    guides.push({ x: 2 * denseMacs * 0.05, label: "5 % of its FLOPs" });
    curves({ svg, width, height, series, guides, yLabel: `${pretty(metric)}, %`, xLabel: `mean FLOPs an example ${lengthName()} (logarithmic)`,
      xFormat: (v) => flops(v / 2).replace("FLOPs", "").replace(/\.0+ /, " "), yFormat: (v) => (100 * v).toFixed(Math.abs(v * 100 - Math.round(v * 100)) < 0.01 ? 0 : 1) });
  };
  const radio = (value, label) => element("label", {}, element("input", { type: "radio", name: "cost", value, checked: state.cost === value,
    on: { change() { state.cost = value; refresh(); } } }), label);
  const legend = several ? element("ul", { class: "legend" }, ...systems.map((s, i) => element("li", {},
    element("svg", { width: 12, height: 12, "aria-hidden": "true" }, element("circle", { cx: 6, cy: 6, r: 5, fill: COLOURS[i % COLOURS.length] })), s.name))) : null;
  card("Score against FLOPs", "Every mark is one exit policy over all evaluated examples. Up and to the left is better. FLOPs are two for every multiply-add, up to and including the exit an example took, exit classifiers included.",
    { id: "curve" }, element("div", { class: "controls", role: "radiogroup", "aria-label": "Length that FLOPs are counted at" }, radio("fixed", `at ${length} tokens`), radio("real", "at the examples' real lengths")),
    legend, redrawn(figure("Score against FLOPs for every exit policy", 360, draw)));
}

function resultSection() {
  const denseFigures = report.dense, dense = evaluation(systems[0]).dense;
  const rows = [{ kind: "dense", name: denseFigures.name, parameters: denseFigures.parameters, macs: dense.macs, scores: dense.scores, kept: dense.scores ? 1 : null, fewer: 1, fewerReal: 1, layer: null }];
  for (const s of systems) {
    const add = (kind, name, part, kept) => rows.push({ kind, name, parameters: s.figures.parameters, macs: part.macs, scores: part.scores, kept, fewer: part.speedup, fewerReal: part.speedup_real, layer: part.mean_exit_layer });
    const chosen = chosenOf(s);
    if (chosen.policy !== null) add("all", `${s.name}, all layers`, evaluation(s).all_layers.all, evaluation(s).all_layers.kept);
    add("chosen", `${s.name}, ${policyName(chosen.policy)}`, chosen.all, chosen.kept);
    if (chosen.short) add("short", `${s.name}, only short examples`, chosen.short, dense.short_scores && dense.short_scores[metric] ? chosen.short.scores[metric] / dense.short_scores[metric] : null);
  }
  const note = systems.filter((s) => s.note).map((s) => `${s.name}: ${s.note}`).join(" ");
  card("The result", `Short examples have fewer than ${evaluation(systems[0]).median_length} tokens, the median; they are set against the dense model on the same examples. ${note}`, { id: "result" },
    table([
      { name: "Model", left: true, wrap: true, value: (r) => r.name },
      ...evaluation(systems[0]).metrics.map((m) => ({ name: pretty(m), value: (r) => r.scores && r.scores[m], show: (r) => percent(r.scores && r.scores[m]) })),
      { name: "Kept", value: (r) => r.kept, show: (r) => percent(r.kept) },
      { name: "Parameters", value: (r) => r.parameters, show: (r) => count(r.parameters) },
      { name: "Fewer", value: (r) => denseFigures.parameters / r.parameters, show: (r) => times(denseFigures.parameters / r.parameters) },
      { name: `FLOPs at ${length}`, value: (r) => r.macs, show: (r) => flops(r.macs) },
      { name: "Fewer", value: (r) => r.fewer, show: (r) => times(r.fewer) },
      { name: "Fewer at real lengths", value: (r) => r.fewerReal, show: (r) => times(r.fewerReal) },
      { name: "Mean exit layer", value: (r) => r.layer, show: (r) => (r.layer === null ? "–" : r.layer.toFixed(2)) },
    ], rows, { caption: "The result against the dense model", rowClass: (r) => (r.kind === "chosen" ? "chosen" : r.kind === "dense" ? "dense" : null) }));
}

// What belongs to one system at one point of its curve.
function current() {
  const s = systems[state.system], points = pointsOf(s);
  if (state.point === null) state.point = points.findIndex((p) => same(p.policy, chosenOf(s).policy));
  return { s, points, point: points[state.point] };
}

function leavingSection() {
  const slider = element("input", { type: "range", min: 0, step: 1, "aria-label": "Exit policy, from the cheapest to all layers" });
  const readout = element("span", { class: "readout", role: "status" });
  const update = () => {
    const { s, points, point } = current();
    slider.max = points.length - 1;
    slider.value = state.point;
    const words = `${policyName(point.policy)}${same(point.policy, chosenOf(s).policy) ? " (chosen)" : ""}: ${percent(point.all.scores[metric])}, ${times(gainOf(point.all))} fewer FLOPs ${lengthName()}`;
    readout.textContent = words;
    slider.setAttribute("aria-valuetext", words);
  };
  slider.addEventListener("input", () => { state.point = Number(slider.value); refresh(); });
  redraws.push(update);
  const picker = several ? element("label", {}, "Model ", element("select", { on: { change(event) { state.system = event.target.selectedIndex; state.point = null; refresh(); } } },
    ...systems.map((s) => element("option", {}, s.name)))) : null;
  card("Who leaves where", "Move the slider through the exit policies, from the cheapest to all layers.", { id: "leaving" },
    element("div", { class: "controls" }, picker, element("label", {}, "Policy ", slider), readout));
  card("Share of examples leaving at each exit", null, { half: true }, redrawn(figure("Share of examples that leave at each exit", 230, (svg, width, height) => {
    const { s, point } = current();
    bars({ svg, width, height, xLabel: "exit on layer", format: (v) => `${(100 * v).toFixed(v < 0.0995 ? 1 : 0)}`,
      bars: point.exit_shares.map((v, i) => ({ label: evaluation(s).exit_layers[i], value: v, title: `Exit on layer ${evaluation(s).exit_layers[i]}`, text: `${percent(v)} of the examples leave here\n${flops(evaluation(s).exit_macs[i])} at ${length} tokens` })) });
  }, "Percent of the evaluated examples.")));
  const groups = () => {
    const { point } = current();
    const tags = Object.entries(point.by_difficulty);
    const rows = tags.length ? tags : [["short", point.short], ["all", point.all]].filter(([, part]) => part);
    return rows.map(([name, part]) => ({ name, part }));
  };
  const tagged = Object.keys(evaluation(systems[0]).all_layers.by_difficulty).length > 0;
  const tableHere = element("div");
  const node = redrawn(figure("Mean exit layer by difficulty", Math.max(90, groups().length * 30 + 14), (svg, width) => {
    const { s } = current();
    lyingBars({ svg, width, max: evaluation(s).exit_layers.at(-1), rows: groups().map(({ name, part }) => ({
      label: name, value: part.mean_exit_layer, note: part.mean_exit_layer.toFixed(2), title: name,
      text: `mean exit layer ${part.mean_exit_layer.toFixed(2)}\n${pretty(metric)} ${percent(part.scores[metric])}\n${part.examples.toLocaleString("en")} examples, ${times(part.speedup)} fewer FLOPs` })) });
    tableHere.replaceChildren(table([
      { name: tagged ? "Difficulty" : "Examples", left: true, wrap: true, value: (r) => r.name },
      { name: "Number", value: (r) => r.part.examples, show: (r) => r.part.examples.toLocaleString("en") },
      { name: pretty(metric), value: (r) => r.part.scores[metric], show: (r) => percent(r.part.scores[metric]) },
      { name: "Mean exit layer", value: (r) => r.part.mean_exit_layer, show: (r) => r.part.mean_exit_layer.toFixed(2) },
      { name: "Fewer FLOPs", value: (r) => r.part.speedup, show: (r) => times(r.part.speedup) },
    ], groups(), { caption: "Figures by difficulty" }));
  }));
  card(tagged ? "Mean exit layer by difficulty" : "Mean exit layer, short and all examples", null, { half: true }, node, tableHere);
}

function layerSections() {
  card("Score of every exit", "Each exit used alone, for all examples.", { half: true }, redrawn(figure("Score of every exit used alone", 250, (svg, width, height) => {
    const { s } = current();
    const scores = evaluation(s).exit_scores.map((row) => row[metric]);
    const dense = denseScore(s);
    const least = Math.min(...scores, dense ?? 1);
    const low = least < 0 ? least * 1.1 : Math.max(0, Math.floor((least - 0.1) * 10) / 10);
    bars({ svg, width, height, low, xLabel: "exit on layer", format: (v) => (100 * v).toFixed(1), guide: dense === null ? null : { value: dense, label: `dense ${percent(dense)}` },
      bars: scores.map((v, i) => ({ label: evaluation(s).exit_layers[i], value: v, title: `Exit on layer ${evaluation(s).exit_layers[i]}`,
        text: `${Object.entries(evaluation(s).exit_scores[i]).map(([m, x]) => `${pretty(m)} ${percent(x)}`).join("\n")}\n${flops(evaluation(s).exit_macs[i])} at ${length} tokens` })) });
    svg.append(text(0, 11, low > 0 ? `%, from ${(100 * low).toFixed(0)}` : "%", "start"));
  })));
  const kept = (what, before, unit) => redrawn(figure(`${unit} kept in every layer`, 150, (svg, width, height) => {
    const { s } = current();
    bars({ svg, width, height, format: (v) => v, bars: s.figures.layers.map((l) => ({ label: l.layer, value: l[what], ghost: l[before], title: `Layer ${l.layer}`, text: `${l[what].toLocaleString("en")} of ${l[before].toLocaleString("en")} ${unit}` })) });
    svg.append(text(0, 11, unit, "start"));
  }));
  if (systems.some((s) => s.figures.layers.length))
    card("What every layer kept", `Of what it had before.${systems[0].figures.embedding_rank ? ` The word embedding has rank ${systems[0].figures.embedding_rank}.` : ""}`, { half: true }, kept("heads", "heads_before", "attention heads"), kept("neurons", "neurons_before", "FFN neurons"));
}

function policySection() {
  const rows = systems.flatMap((s) => pointsOf(s).map((p) => ({ s, p })));
  card("Every exit policy", "Policies that send every example the same way are shown once.", { id: "policies" },
    element("details", { open: rows.length <= 24 }, element("summary", {}, `Show all ${rows.length}`), table([
    ...(several ? [{ name: "Model", left: true, value: (r) => r.s.name }] : []),
    { name: "Policy", left: true, value: (r) => policyName(r.p.policy) },
    ...evaluation(systems[0]).metrics.map((m) => ({ name: pretty(m), value: (r) => r.p.all.scores[m], show: (r) => percent(r.p.all.scores[m]) })),
    { name: "Kept", value: (r) => r.p.kept, show: (r) => percent(r.p.kept) },
    { name: `FLOPs at ${length}`, value: (r) => r.p.all.macs, show: (r) => flops(r.p.all.macs) },
    { name: "Fewer", value: (r) => r.p.all.speedup, show: (r) => times(r.p.all.speedup) },
    { name: "Fewer at real lengths", value: (r) => r.p.all.speedup_real, show: (r) => times(r.p.all.speedup_real) },
    { name: `Short: ${pretty(metric)}`, value: (r) => r.p.short && r.p.short.scores[metric], show: (r) => percent(r.p.short && r.p.short.scores[metric]) },
    { name: "Mean exit layer", value: (r) => r.p.all.mean_exit_layer, show: (r) => r.p.all.mean_exit_layer.toFixed(2) },
  ], rows, { caption: "Every exit policy", rowClass: (r) => (same(r.p.policy, chosenOf(r.s).policy) ? "chosen" : null) })));
}

function costSection() {
  const s = systems[0].figures, dense = Object.fromEntries(report.dense.parts.map((p) => [p.part, p]));
  const names = [...new Set([...report.dense.parts, ...s.parts].map((p) => p.part))];
  const here = Object.fromEntries(s.parts.map((p) => [p.part, p]));
  const rows = names.map((name) => ({ name, dense: dense[name], here: here[name] }));
  const columns = [
    { name: "Part", left: true, value: (r) => r.name },
    { name: "Dense parameters", value: (r) => r.dense?.parameters, show: (r) => (r.dense ? count(r.dense.parameters) : "–") },
    { name: "Slender parameters", value: (r) => r.here?.parameters, show: (r) => (r.here ? count(r.here.parameters) : "–") },
    { name: "Dense FLOPs", value: (r) => r.dense?.macs, show: (r) => (r.dense ? flops(r.dense.macs) : "–") },
    { name: "Slender FLOPs", value: (r) => r.here?.macs, show: (r) => (r.here ? flops(r.here.macs) : "–") },
  ];
  const exits = s.by_exit.map((e) => ({ ...e }));
  card("Where parameters and FLOPs are", `At ${s.sequence_length} tokens, through all layers. FLOPs are two for every multiply-add of matrix products; norms, activations and look-ups are left out.`, { id: "costs" },
    table(columns, rows, { caption: "Parameters and FLOPs by part" }),
    exits.length ? element("details", {}, element("summary", {}, "Up to each exit"), table([
      { name: "Exit", left: true, value: (r) => exits.indexOf(r), show: (r) => r.part },
      { name: "Its own parameters", value: (r) => r.parameters, show: (r) => count(r.parameters) },
      { name: "FLOPs up to it", value: (r) => r.macs, show: (r) => flops(r.macs) },
      { name: "Fewer than dense", value: (r) => report.dense.macs / r.macs, show: (r) => times(report.dense.macs / r.macs) },
    ], exits, { caption: "FLOPs up to each exit" })) : null);
}

function errorSection() {
  const s = systems[0], list = evaluation(s).early_errors;
  if (!list.length) return;
  const label = (i) => report.label_names[i] ?? String(i);
  card("Left early, and wrongly", `${evaluation(s).early_error_count.toLocaleString("en")} of ${evaluation(s).examples.toLocaleString("en")} examples left before the last exit with a wrong answer under the chosen policy${evaluation(s).early_error_count > list.length ? `; the ${list.length} surest are shown` : ""}. "Last exit" says what the whole model would have answered.`, { id: "errors-early" },
    element("details", { open: list.length <= 10 }, element("summary", {}, "Show them"), table([
      { name: "Text", left: true, text: true, value: (r) => r.text },
      { name: "Label", left: true, value: (r) => label(r.label) },
      { name: "Answer", left: true, value: (r) => label(r.predicted) },
      { name: "Confidence", value: (r) => r.confidence, show: (r) => percent(r.confidence) },
      { name: "Left at layer", value: (r) => r.exit_layer },
      { name: "Last exit", left: true, value: (r) => label(r.last_exit_says), show: (r) => `${label(r.last_exit_says)}${r.last_exit_says === r.label ? " ✓" : ""}` },
      { name: "Tokens", value: (r) => r.length },
      ...(list.some((r) => r.difficulty !== null) ? [{ name: "Difficulty", left: true, value: (r) => r.difficulty }] : []),
    ], list, { caption: "Examples that left early with a wrong answer" })));
}

function stageSection() {
  if (!report.stages.length) return;
  const longest = Math.max(...report.stages.map((s) => s.seconds), 1e-9);
  card("Stages", report.seconds ? `${seconds(report.seconds)} in all.` : null, { id: "stages" },
    redrawn(figure("Time of every stage", report.stages.length * 30 + 8, (svg, width) => lyingBars({ svg, width, max: longest,
      rows: report.stages.map((s) => ({ label: s.name, value: s.seconds, note: seconds(s.seconds), title: s.name, text: `${seconds(s.seconds)}${s.steps === null ? "" : `\n${s.steps.toLocaleString("en")} optimizer steps`}` })) }))),
    table([
      { name: "Stage", left: true, value: (r) => r.name },
      { name: "Time", value: (r) => r.seconds, show: (r) => seconds(r.seconds) },
      { name: "Optimizer steps", value: (r) => r.steps, show: (r) => (r.steps === null ? "–" : r.steps.toLocaleString("en")) },
      { name: "Metrics at its end", left: true, wrap: true, value: (r) => Object.keys(r.metrics).length, show: (r) => Object.entries(r.metrics).map(([k, v]) => `${pretty(k)} ${v === null ? "–" : Number.isInteger(v) ? v.toLocaleString("en") : Number(v.toPrecision(4))}`).join(", ") || "–" },
    ], report.stages, { caption: "Stages, their time and metrics", sortable: false }));
}

function settingsSection() {
  const rows = (object) => Object.entries(object).map(([name, value]) => ({ name, value }));
  const plainTable = (object, caption) => table([{ name: "", left: true, value: (r) => r.name }, { name: "", left: true, wrap: true, value: (r) => String(r.value) }], rows(object), { caption, sortable: false });
  const yaml = (value, indent = "") => Array.isArray(value)
    ? value.map((v) => (v !== null && typeof v === "object" ? `${indent}- ${yaml(v, `${indent}  `).trimStart()}` : `${indent}- ${JSON.stringify(v)}`)).join("\n")
    : Object.entries(value).map(([k, v]) => v !== null && typeof v === "object" && Object.keys(v).length
      ? `${indent}${k}:\n${yaml(v, `${indent}  `)}` : `${indent}${k}: ${JSON.stringify(v)}`).join("\n");
  const copy = element("button", { type: "button", on: { async click() {
    try { await navigator.clipboard.writeText(report.command); copy.textContent = "Copied"; } catch { copy.textContent = "Select it by hand"; }
    setTimeout(() => { copy.textContent = "Copy"; }, 1600);
  } } }, "Copy");
  card("How to reproduce", null, { id: "reproduce" },
    report.command ? element("div", { class: "copy" }, element("pre", {}, report.command), copy) : null,
    ...report.notes.map((n) => element("p", {}, n)),
    element("details", {}, element("summary", {}, "The recipe as it was applied"), element("pre", {}, yaml(report.recipe))),
    element("details", {}, element("summary", {}, "Versions and machine"), plainTable({ seed: report.seed, ...report.machine }, "Machine"), plainTable(report.versions, "Versions")));
}

function themeButton() {
  const root = document.documentElement;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
}

themeButton();
tiles();
curveSection();
resultSection();
leavingSection();
layerSections();
policySection();
costSection();
errorSection();
stageSection();
settingsSection();
refresh();
document.documentElement.dataset.ready = "true";
