// What each system of a comparison is made of: its effort, its layers, its settings.

// What was spent on each, so that a reader can judge how fair the comparison is.
function effortSection() {
  const mean = (s, show) => (!s ? NONE : s.std > 0.01 * s.mean ? `${show(s.mean)} ± ${show(s.std)}` : show(s.mean));
  card("Effort", "Where each system's weights come from, what one run took (the teacher's training included), and how many settings were tried before the one best on held-out data was kept.", { id: "effort", nav: "Effort" }, table([
    systemColumn((s) => s.label, (s) => named({ system: s.name })),
    { name: "Backbone", left: true, text: true, value: (s) => s.backbone },
    { name: "Exits on layers", left: true, wrap: true, value: (s) => s.exits.join(", ") },
    { name: "Optimizer steps", value: (s) => s.steps?.mean ?? null, show: (s) => mean(s.steps, (v) => whole(Math.round(v))) },
    { name: "Wall time", value: (s) => s.seconds?.mean ?? null, show: (s) => mean(s.seconds, seconds) },
    { name: "Settings tried", value: (s) => s.tried },
    { name: "Runs", value: (s) => s.runs.length },
    { name: "FLOPs, all layers", value: (s) => s.macs, show: (s) => over(flops(s.macs), `${times(s.macs_fewer)} fewer`) },
  ], [...compared.values()], { caption: "What was spent on each system", rowClass: (s) => (s.name === comparison.subject ? "chosen" : null) }));
}

const UNITS = { heads: "Attention heads", neurons: "FFN neurons" };
function sizesSection() {
  const known = [...compared.values()].filter((s) => s.heads.length);
  if (!known.length) return;
  const layers = Math.max(...known.map((s) => s.heads.length)), number = (v) => (Number.isInteger(v) ? whole(v) : v.toFixed(1));
  const sized = (what) => (s) => {
    const sizes = s[what], most = Math.max(...known.flatMap((k) => k[what]));
    return sizes.map((v, i) => ({ value: v, share: v / most, title: `${s.label}, layer ${i + 1}`, text: `${UNITS[what]}: ${number(v)}`, label: number(v) }));
  };
  const drawn = (what) => redrawn(figure(`${UNITS[what]} of every layer, by system`, () => known.length * LYING + 26,
    (svg, width) => sizeGrid({ svg, width, columns: layers, rows: known.map((s) => ({ label: s.label, strong: s.name === comparison.subject, cells: sized(what)(s) })) })));
  card("Sizes of every layer", "Mean over runs; a fuller cell has more.", { id: "sizes", nav: "Sizes" },
    element("div", { class: "pair" }, ...["heads", "neurons"].map((what) => element("div", {}, element("h3", {}, UNITS[what]), drawn(what)))));
}

// A recipe as flat pairs: "slenderize.heads" -> "2".
function flatten(value, path = "", found = new Map()) {
  if (value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length)
    for (const [key, inner] of Object.entries(value)) flatten(inner, path ? `${path}.${key}` : key, found);
  else found.set(path, JSON.stringify(value));
  return found;
}

// Where two recipes differ. What is compared with what is no setting of a system; a stage that only one has is one row.
const ASIDE = ["name", "description", "output", "compare"];
function differing(theirs, mine) {
  const stages = [...new Set([theirs, mine].flatMap((s) => s.stages ?? []))].filter((stage) => (stage in theirs) !== (stage in mine));
  const flat = (settings) => flatten(Object.fromEntries(Object.entries(settings).filter(([key]) => !ASIDE.includes(key) && !stages.includes(key))));
  const whole = (stage) => (stage ? [...flatten(stage)].map(([key, value]) => `${key}: ${value}`).join("\n") : NONE);
  const [here, there] = [flat(theirs), flat(mine)];
  return [
    ...[...new Set([...there.keys(), ...here.keys()])].filter((key) => here.get(key) !== there.get(key))
      .map((key) => ({ key, here: here.get(key) ?? NONE, there: there.get(key) ?? NONE })),
    ...stages.map((stage) => ({ key: `stage ${stage}`, here: whole(theirs[stage]), there: whole(mine[stage]) })),
  ];
}

// The subject's settings whole, and of every other system what differs from them.
function settingsSection() {
  const known = [...compared.values()].filter((s) => Object.keys(s.settings).length);
  if (!known.length) return;
  const own = compared.get(comparison.subject);
  card("Settings of every system", `As they were applied in each system's first run; of the others, what differs from ${own.label}.`, { id: "settings", nav: "Settings" }, ...known.map((s) => {
    const rows = s === own ? null : differing(s.settings, own.settings);
    return element("details", {}, element("summary", {}, named({ system: s.name }), rows ? ` (${plural(rows.length, "difference")})` : ""),
      rows ? table([
        { name: "Setting", left: true, wrap: true, value: (r) => r.key },
        { name: s.label, left: true, text: true, value: (r) => r.here },
        { name: own.label, left: true, text: true, value: (r) => r.there },
      ], rows, { caption: `Settings of ${s.label}` }) : element("pre", { tabindex: 0 }, yaml(s.settings)));
  }));
}
