// One model's exits and layers: who leaves where, what each exit knows, what each layer kept, who left wrongly.

function leavingSection() {
  const slider = element("input", { type: "range", min: 0, step: 1, "aria-label": "Exit policy, from the cheapest to all layers" });
  const readout = element("output", { class: "readout" });
  const update = () => {
    const { s, points: own, point } = current();
    slider.max = own.length - 1;
    slider.value = state.point;
    const words = `${policyName(point.policy)}${same(point.policy, chosenOf(s).policy) ? " (chosen)" : ""}: ${percent(point.all.scores[metric])}, ${times(gainOf(point.all))} fewer FLOPs ${lengthName()}`;
    readout.textContent = words;
    slider.setAttribute("aria-valuetext", words);
  };
  slider.addEventListener("input", () => { state.point = Number(slider.value); refresh(); });
  redraws.push(update);
  const picker = several ? element("label", {}, "Model ", element("select", { on: { change(event) { state.system = event.target.selectedIndex; state.point = null; refresh(); } } },
    ...systems.map((s) => element("option", {}, s.name)))) : null;
  card(comparison ? `Who leaves where, policy by policy` : "Who leaves where", "Move the slider through the exit policies, from the cheapest to all layers.", { id: "leaving", nav: "Exits" },
    element("div", { class: "controls" }, picker, element("label", {}, "Policy ", slider), readout),
    element("div", { class: "pair" },
      element("div", {}, element("h3", {}, "Share of examples leaving at each exit"), redrawn(figure("Share of examples that leave at each exit", 230, drawShares, "Percent of the evaluated examples."))),
      difficulties()));
}

function drawShares(svg, width, height) {
  const { s, point } = current(), e = evaluation(s);
  bars({ svg, width, height, xLabel: "exit on layer", format: (v) => `${(100 * v).toFixed(v < 0.0995 ? 1 : 0)}`,
    bars: point.exit_shares.map((v, i) => ({ label: e.exit_layers[i], value: v, title: `Exit on layer ${e.exit_layers[i]}`, text: `${percent(v)} of the examples leave here\n${flops(e.exit_macs[i])} at ${length} tokens` })) });
}

function difficulties() {
  const tagged = Object.keys(evaluation(systems[0]).all_layers.by_difficulty).length > 0;
  const groups = () => {
    const { point } = current(), tags = Object.entries(point.by_difficulty);
    return (tags.length ? tags : [["short", point.short], ["all", point.all]]).filter(([, part]) => part).map(([name, part]) => ({ name, part }));
  };
  const draw = (svg, width) => lyingBars({ svg, width, max: evaluation(current().s).exit_layers.at(-1), rows: groups().map(({ name, part }) => ({
    label: name, value: part.mean_exit_layer, note: part.mean_exit_layer.toFixed(2), title: name,
    text: `mean exit layer ${part.mean_exit_layer.toFixed(2)}\n${pretty(metric)} ${percent(part.scores[metric])}\n${plural(part.examples, "example")}, ${times(part.speedup)} fewer FLOPs` })) });
  const title = tagged ? "Mean exit layer by difficulty" : "Mean exit layer, short and all examples";
  return element("div", {}, element("h3", {}, title),
    redrawn(figure(title, () => Math.max(60, groups().length * LYING + 14), draw)),
    remade(() => table([
      { name: tagged ? "Difficulty" : "Examples", left: true, wrap: true, value: (r) => r.name },
      { name: "Number", value: (r) => r.part.examples, show: (r) => whole(r.part.examples) },
      { name: pretty(metric), value: (r) => r.part.scores[metric], show: (r) => percent(r.part.scores[metric]) },
      { name: "Fewer FLOPs", value: (r) => r.part.speedup, show: (r) => times(r.part.speedup) },
    ], groups(), { caption: `Figures ${tagged ? "by difficulty" : "of short and all examples"}` })));
}

function drawExitScores(svg, width, height) {
  const { s } = current(), e = evaluation(s), dense = denseScore(s), layers = e.exit_layers;
  const scores = e.exit_scores.map((row) => row[metric]);
  curves({ svg, width, height, guides: dense === null ? [] : [{ y: dense, label: `dense ${percent(dense)}` }],
    x: { low: layers[0] - 0.5, high: layers.at(-1) + 0.5, ticks: layers, format: String, label: "exit on layer" },
    y: { ...ends([...scores, ...(dense === null ? [] : [dense])], 0.004, 0.14), format: percentTick, label: `${pretty(metric)}, %` },
    series: [{ style: { colour: COLOURS[0] }, path: layers.map((l, i) => [l, scores[i]]), marks: layers.map((l, i) => ({
      x: l, y: scores[i], size: 5, label: layers.length <= 12 && width > layers.length * 42 ? percentTick(Math.round(scores[i] * 1000) / 1000) : null, title: `Exit on layer ${l}`,
      text: `${Object.entries(e.exit_scores[i]).map(([m, x]) => `${pretty(m)} ${percent(x)}`).join("\n")}\n${flops(e.exit_macs[i])} at ${length} tokens` })) }] });
}

function layerSections() {
  if (!comparison) card("Score of every exit", "Each exit used alone, for all examples.", { half: true, id: "layers" },
    redrawn(figure("Score of every exit used alone", 300, drawExitScores)));
  if (!systems.some((s) => s.figures.layers.length)) return;
  const kept = (what, before, unit) => redrawn(figure(`${unit} kept in every layer`, 140, (svg, width, height) => {
    const { s } = current();
    bars({ svg, width, height, format: (v) => v, bars: s.figures.layers.map((l) => ({ label: l.layer, value: l[what], ghost: l[before], title: `Layer ${l.layer}`, text: `${whole(l[what])} of ${whole(l[before])} ${unit}` })) });
    svg.append(text(0, 11, unit, "start"));
  }));
  const rank = systems[0].figures.embedding_rank;
  card("What every layer kept", `Of what it had before (the grey bars).${rank ? ` The word embedding has rank ${rank}.` : ""}`, { half: !comparison, id: "kept", nav: "Layers kept" },
    element("div", { class: comparison ? "pair" : null }, kept("heads", "heads_before", "attention heads"), kept("neurons", "neurons_before", "FFN neurons")));
}

function errorSection() {
  const s = systems[0], e = evaluation(s), errors = e.early_errors;
  if (!errors.length) return;
  const label = (i) => report.label_names[i] ?? String(i);
  const shown = e.early_error_count > errors.length ? `; the ${errors.length} surest are here` : "";
  const saved = errors.filter((r) => r.last_exit_says === r.label).length;
  const onlySaved = element("input", { type: "checkbox", on: { change: () => refresh() } });
  const rows = () => (onlySaved.checked ? errors.filter((r) => r.last_exit_says === r.label) : errors);
  card("Left early, and wrongly", `${whole(e.early_error_count)} of ${plural(e.examples, "example")} left before the last exit with a wrong answer under the chosen policy${shown}. The last exit would have answered ${saved} of ${errors.length === e.early_error_count ? "them" : "these"} rightly (✓).`, { id: "errors-early", nav: "Early errors" },
    saved && saved < errors.length ? element("div", { class: "controls" }, element("label", {}, onlySaved, "Only those that the last exit answers rightly")) : null,
    remade(() => table([
      { name: "Text", left: true, text: true, value: (r) => r.text },
      { name: "Label", left: true, value: (r) => label(r.label) },
      { name: "Answer", left: true, value: (r) => label(r.predicted) },
      { name: "Confidence", value: (r) => r.confidence, show: (r) => percent(r.confidence) },
      { name: "Left at layer", value: (r) => r.exit_layer },
      { name: "Last exit", left: true, value: (r) => label(r.last_exit_says), show: (r) => `${label(r.last_exit_says)}${r.last_exit_says === r.label ? " ✓" : ""}` },
      { name: "Tokens", value: (r) => r.length },
      ...(errors.some((r) => r.difficulty !== null) ? [{ name: "Difficulty", left: true, value: (r) => r.difficulty }] : []),
    ], rows(), { caption: "Examples that left early with a wrong answer", tall: true })));
}
