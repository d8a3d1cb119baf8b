// Numbers and names as people read them. Scores are fractions, costs multiply-adds: FLOPs are two for each.

const NONE = "–";
const whole = (v) => v.toLocaleString("en");
const count = (v) => (v >= 1e6 ? `${(v / 1e6).toFixed(2)} M` : v >= 1e4 ? `${(v / 1e3).toFixed(1)} k` : whole(Math.round(v)));
const scaled = (v) => {
  if (v === 0) return ["0", ""];
  const [scale, unit] = v >= 1e9 ? [1e9, "G"] : v >= 1e6 ? [1e6, "M"] : [1e3, "k"];
  const n = v / scale;
  return [n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2), unit];
};
const flops = (macs) => {
  if (macs === null || macs === undefined) return NONE;
  const [n, unit] = scaled(2 * macs);
  return unit ? `${n} ${unit}FLOPs` : n;
};
// For axes: 200000000 -> "200 M".
const flopsTick = (v) => { const [n, unit] = scaled(v); return `${Number(n)} ${unit}`; };
const percent = (v, digits = 1) => (v === null || v === undefined ? NONE : `${(100 * v).toFixed(digits)} %`);
const percentTick = (v) => (100 * v).toFixed(Math.abs(v * 100 - Math.round(v * 100)) < 0.01 ? 0 : 1);
const times = (v) => (v === null || v === undefined ? NONE : `${v >= 100 ? v.toFixed(0) : v.toFixed(1)}×`);
// Own score over the dense one; none where a share means nothing: scores such as Matthews' may be 0 or negative.
const shareKept = (own, dense) => (dense > 0 && own >= 0 ? own / dense : null);
// Points of score with their sign: 0.0123 -> "+1.2".
const points = (v) => { const n = (100 * v).toFixed(1); return Number(n) === 0 ? "0.0" : v > 0 ? `+${n}` : `−${n.slice(1)}`; };
const seconds = (v) => (v === null || v === undefined ? NONE : v < 90 ? `${v.toFixed(1)} s` : v < 5400 ? `${(v / 60).toFixed(1)} min` : `${(v / 3600).toFixed(1)} h`);
const chance = (p) => (p < 0.001 ? "< 0.001" : p < 0.1 ? p.toFixed(3) : p.toFixed(2));
// Mean and sample standard deviation over seeds: "84.3 ± 0.6 %".
const spread = (s) => (!s ? NONE : s.std === null ? percent(s.mean) : `${(100 * s.mean).toFixed(1)} ± ${(100 * s.std).toFixed(1)} %`);
const METRICS = new Map([["f1", "F1"], ["mcc", "MCC"], ["matthews", "MCC"]]);
const pretty = (name) => METRICS.get(name) ?? name.replaceAll("_", " ");
const list = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);
const plural = (n, one, many = `${one}s`) => `${whole(n)} ${n === 1 ? one : many}`;

const policyName = (policy) => {
  if (policy === null) return "all layers";
  const settings = Object.entries(policy).filter(([key]) => key !== "name").map(([key, v]) => [key, Array.isArray(v) ? v.join("/") : v]);
  return settings.length === 1 ? `${policy.name} ${settings[0][1]}` : [policy.name, ...settings.map((pair) => pair.join(" "))].join(", ");
};

// A mapping as YAML; strings as JSON, which YAML reads.
const yaml = (value, indent = "") => Array.isArray(value)
  ? value.map((v) => (v !== null && typeof v === "object" ? `${indent}- ${yaml(v, `${indent}  `).trimStart()}` : `${indent}- ${JSON.stringify(v)}`)).join("\n")
  : Object.entries(value).map(([k, v]) => (v !== null && typeof v === "object" && Object.keys(v).length
    ? `${indent}${k}:\n${yaml(v, `${indent}  `)}` : `${indent}${k}: ${JSON.stringify(v)}`)).join("\n");
