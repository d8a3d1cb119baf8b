// What a comparison says, in a few sentences.

const differenceOf = (name, at) => task().differences.find((d) => d.second === name && d.at === at);
const orderOf = (name) => task().orders.find((o) => o.second === name);

// What an interval holds: one seed says nothing of how another training would come out.
const chanceOf = (row) => (row.seeds.length > 1 ? "chance" : "the chance of these examples");

// Budgets in words, no more than two of the ranges: "3.10 to 4.25 MFLOPs".
function rangesWords(ranges) {
  const words = ([from, to]) => {
    const [first, last] = [flops(from), flops(to)], unit = last.split(" ")[1];
    return first === last ? last : `${first.split(" ")[1] === unit ? first.split(" ")[0] : first} to ${last}`;
  };
  const more = ranges.length - 2;
  return list([...ranges.slice(0, 2).map(words), ...(more > 0 ? [plural(more, "more range")] : [])]);
}

// Names stand out, since they may be any words; about(system) may add something to each.
function namesOf(systems, about) {
  return systems.flatMap((system, i) => [i === 0 ? null : i === systems.length - 1 ? " and " : ", ",
    element("b", {}, labelOf(system)), about ? ` (${about(system)})` : null]);
}

function verdict() {
  const t = task(), own = t.rows.find(isSubject);
  if (!own) return [...namesOf([comparison.subject]), ` has no run on ${t.task}.`];
  const others = t.rows.filter((row) => !isSubject(row)).map((row) => row.system);
  const by = (at, test) => others.filter((system) => { const d = differenceOf(system, at); return d && test(d); });
  const sentence = (found, before, about) => (found.length ? [` ${before} `, ...namesOf(found, about), "."] : []);
  const [ahead, behind] = [(d) => d.real && d.mean > 0, (d) => d.real && d.mean < 0];
  const gap = (system) => `${points(differenceOf(system, "chosen").mean)} points`;
  const under = others.filter((system) => orderOf(system)?.below.length);
  const kept = own.kept ? `keeps ${percent(own.kept.mean)} of the dense score` : `scores ${percent(own.scores[t.metric].mean)}`;
  return [
    ...namesOf([comparison.subject]), ` ${kept} at ${times(own.speedup.mean)} fewer FLOPs (${t.task}, ${pretty(t.metric)}, ${plural(t.examples, "example")}, ${plural(own.seeds.length, "seed")}).`,
    ...sentence(by("area", ahead), `Over all budgets it is ahead, beyond ${chanceOf(own)}, of`),
    ...sentence(by("area", behind), `Over all budgets it is behind, beyond ${chanceOf(own)},`),
    ...sentence(by("area", (d) => !d.real), "Over all budgets not told apart from it by these examples:"),
    ...sentence(by("chosen", ahead), `Under the chosen policies it is ahead, beyond ${chanceOf(own)}, of`, gap),
    ...sentence(by("chosen", behind), `Under the chosen policies it is behind, beyond ${chanceOf(own)},`, gap),
    ...sentence(others.filter((system) => orderOf(system)?.always), "At no budget is its curve below that of"),
    ...sentence(under, "Its curve lies below that of", (system) => `at ${rangesWords(orderOf(system).below)}`),
  ];
}
