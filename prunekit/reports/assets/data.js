// What the page is about: the report, embedded above as JSON, and what the reader has picked.

const report = JSON.parse(document.getElementById("data").textContent);
const comparison = report.comparison ?? null;
const systems = report.systems;
const several = systems.length > 1;
const state = { system: 0, point: null, cost: "fixed", task: 0, metric: null, hidden: new Set(), budget: null };

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const evaluation = (s) => s.evaluation;
const metric = evaluation(systems[0]).metrics[0];
const length = evaluation(systems[0]).sequence_length;
const chosenOf = (s) => evaluation(s).chosen || evaluation(s).all_layers;
// From the cheapest. Policies that send every example the same way are shown once: the chosen one, or all layers.
const pointsOf = (s) => {
  const distinct = new Map();
  for (const p of [chosenOf(s), evaluation(s).all_layers, ...evaluation(s).points]) {
    const way = JSON.stringify([p.exit_shares, p.all]);
    if (!distinct.has(way)) distinct.set(way, p);
  }
  return [...distinct.values()].sort((a, b) => a.all.macs - b.all.macs);
};
const denseScore = (s) => evaluation(s).dense.scores?.[metric] ?? null;
const costOf = (part) => (state.cost === "fixed" ? part.macs : part.macs_real);
const gainOf = (part) => (state.cost === "fixed" ? part.speedup : part.speedup_real);
const lengthName = () => (state.cost === "fixed" ? `at ${length} tokens` : "at real lengths");

// What belongs to one system at one point of its curve.
function current() {
  const s = systems[state.system], own = pointsOf(s);
  if (state.point === null) state.point = own.findIndex((p) => same(p.policy, chosenOf(s).policy));
  return { s, points: own, point: own[state.point] };
}

// The comparison: the subject first, every system with its colour, shape and dash.
const compared = new Map();
if (comparison) {
  const first = (s) => (s.name === comparison.subject ? 0 : 1);
  [...comparison.systems].sort((a, b) => first(a) - first(b)).forEach((s, i) => compared.set(s.name, { ...s, style: styleOf(i) }));
}
const task = () => comparison.tasks[state.task];
const isSubject = (row) => row.system === comparison.subject;
const labelOf = (name) => compared.get(name).label;
const denseOf = (name = task().metric) => task().dense?.[name]?.mean ?? null;
const shownMetric = () => (task().metrics.includes(state.metric) ? state.metric : task().metric);
const shownRows = () => task().rows.filter((row) => !state.hidden.has(row.system));
