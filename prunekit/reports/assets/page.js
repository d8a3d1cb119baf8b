// The page from top to bottom.

function themeButton() {
  const root = document.documentElement, button = document.getElementById("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const name = () => button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`);
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();
}

function comparisonSections() {
  main.append(element("h2", { class: "part", id: "comparison" }, "The comparison"));
  systemsSection();
  paretoSection();
  layersSection();
  differencesSection();
  tasksSection();
  effortSection();
  sizesSection();
  settingsSection();
  main.append(element("h2", { class: "part", id: "closer" }, `A closer look at ${systems[0].name}`));
  const { label, runs } = compared.get(comparison.subject);
  if (runs.length > 1) main.append(element("p", { class: "which" }, `One of the ${runs.length} runs of ${label}: ${report.task}, seed ${report.seed}. Its figures differ from the means above.`));
}

// Links to the sections, and the switch of the task where there are several.
function navigation() {
  const nav = document.getElementById("nav");
  const links = [...main.querySelectorAll("[data-nav]")].map((section) => element("a", { href: `#${section.id}` }, section.dataset.nav));
  const tasks = comparison && comparison.tasks.length > 1 ? choice("Task", "task", comparison.tasks.map((t, i) => [i, t.task]), state.task,
    (i) => { state.task = i; state.budget = null; refresh(); }) : null;
  nav.append(element("div", { class: "links" }, ...links), ...(tasks ? [tasks] : []));
}

// On paper nothing can be opened or scrolled.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));

themeButton();
tiles();
if (comparison) comparisonSections();
curveSection();
resultSection();
leavingSection();
layerSections();
policySection();
costSection();
errorSection();
stageSection();
reproduceSection();
navigation();
refresh();
document.documentElement.dataset.ready = "true";
