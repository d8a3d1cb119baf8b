// How it was made: stages and their time, command, recipe, versions, machine.

function stageSection() {
  if (!report.stages.length) return;
  const longest = Math.max(...report.stages.map((s) => s.seconds), 1e-9);
  const shares = ["score", "kept", ...evaluation(systems[0]).metrics];
  const number = (name, v) => (v === null ? NONE : shares.includes(name.split(" ")[0]) ? percent(v) : Number.isInteger(v) ? whole(v) : Number(v.toPrecision(4)));
  card("Stages", report.seconds ? `${seconds(report.seconds)} in all.` : null, { id: "stages", nav: "Stages" },
    redrawn(figure("Time of every stage", report.stages.length * LYING + 8, (svg, width) => lyingBars({ svg, width, max: longest,
      rows: report.stages.map((s) => ({ label: s.name, value: s.seconds, note: seconds(s.seconds), title: s.name, text: `${seconds(s.seconds)}${s.steps === null ? "" : `\n${plural(s.steps, "optimizer step")}`}` })) }))),
    table([
      { name: "Stage", left: true, value: (r) => r.name },
      { name: "Time", value: (r) => r.seconds, show: (r) => seconds(r.seconds) },
      { name: "Optimizer steps", value: (r) => r.steps, show: (r) => (r.steps === null ? NONE : whole(r.steps)) },
      { name: "Metrics at its end", left: true, wrap: true, value: (r) => Object.keys(r.metrics).length, show: (r) => Object.entries(r.metrics).map(([k, v]) => `${pretty(k)} ${number(k, v)}`).join(", ") || NONE },
    ], report.stages, { caption: "Stages, their time and metrics", sortable: false }));
}

// A command, and a button that copies it.
function typed(command) {
  const copy = element("button", { type: "button", on: { async click() {
    try { await navigator.clipboard.writeText(command); copy.textContent = "Copied"; } catch { copy.textContent = "Select it by hand"; }
    setTimeout(() => { copy.textContent = "Copy"; }, 1600);
  } } }, "Copy");
  return element("div", { class: "copy" }, element("pre", { tabindex: 0 }, command), copy);
}

function reproduceSection() {
  const rows = (object) => Object.entries(object).map(([name, value]) => ({ name, value }));
  const plainTable = (object, caption) => table([{ name: "", left: true, value: (r) => r.name }, { name: "", left: true, wrap: true, value: (r) => String(r.value) }], rows(object), { caption, sortable: false });
  card("How to reproduce", null, { id: "reproduce", nav: "Reproduce" },
    ...report.commands.flatMap(({ words, command }) => [words ? element("p", {}, words) : null, typed(command)]),
    ...report.notes.map((n) => element("p", {}, n)),
    Object.keys(report.recipe).length ? element("details", {}, element("summary", {}, "The recipe as it was applied"), element("pre", { tabindex: 0 }, yaml(report.recipe))) : null,
    element("details", {}, element("summary", {}, "Versions and machine"), plainTable({ seed: report.seed, ...report.machine }, "Machine"), plainTable(report.versions, "Versions")));
}
