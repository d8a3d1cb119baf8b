// A table whose columns sort, by click and by keyboard.
// columns: [{name, value(row), show(row), left, wrap, text, head}]; show gives a string or elements.
// pinned: rows that stay on top, whatever is sorted; tall: a long table scrolls in a box of its own; key: by which
// the reader's order is kept when the table is made anew, where the caption changes.

function table(columns, rows, { caption, key = caption, rowClass = () => null, sortable = true, pinned = [], tall = false } = {}) {
  const body = element("tbody"), said = element("span", { class: "unseen", role: "status" });
  const rowOf = (row) => element("tr", { class: rowClass(row) }, ...columns.map((c, i) => {
    const shown = c.show ? c.show(row) : String(c.value(row) ?? NONE);
    const kind = [c.left && "left", c.wrap && "wrap", c.text && "text"].filter(Boolean).join(" ") || null;
    return element(i === 0 && c.left && !c.text ? "th" : "td", { class: kind, scope: i === 0 && c.left && !c.text ? "row" : null }, shown);
  }));
  const mine = keptOf(`table ${key}`);
  const fill = (ordered) => body.replaceChildren(...ordered.map(rowOf));
  const sorted = (column, down) => [...rows].sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (x === null || x === undefined) return 1;
    if (y === null || y === undefined) return -1;
    return (typeof x === "string" ? x.localeCompare(y) : x - y) * (down ? -1 : 1);
  });
  const sort = (at, down) => {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[at].setAttribute("aria-sort", down ? "descending" : "ascending");
    fill(sorted(columns[at], down));
  };
  const heads = columns.map((c, at) => {
    const head = element("th", { scope: "col", class: c.left ? "left" : null });
    if (!sortable) { head.append(c.name); return head; }
    head.append(element("button", { type: "button", on: { click() {
      // Names from A, figures from the largest; the second click turns it round.
      const before = head.getAttribute("aria-sort");
      const text = rows.some((row) => typeof c.value(row) === "string");
      const down = before ? before === "ascending" : !text;
      said.textContent = `Sorted by ${c.name}, ${down ? "descending" : "ascending"}`;
      mine.sort = { at, name: c.name, down };
      sort(at, down);
    } } }, c.name));
    return head;
  });
  // Another score or task may have other columns.
  if (mine.sort && columns[mine.sort.at]?.name === mine.sort.name) sort(mine.sort.at, mine.sort.down);
  else fill(rows);
  return scrolling(caption, mine, tall, element("table", {}, element("caption", { class: "unseen" }, caption),
    element("thead", {}, element("tr", {}, ...heads)),
    pinned.length ? element("tbody", { class: "pinned" }, ...pinned.map(rowOf)) : null, body), said);
}

// A place that scrolls sideways where its table is too wide, and shows that there is more.
// mine: where it was scrolled to before it was made anew.
function scrolling(label, mine, tall, ...children) {
  const box = element("div", { class: tall ? "scroll tall" : "scroll", role: "region", "aria-label": label }, ...children);
  const look = () => {
    const wide = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("moved", wide && box.scrollLeft > 1);
    box.classList.toggle("more", wide && box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
    // Only what scrolls is a stop of the Tab key.
    if (wide || tall) box.tabIndex = 0; else box.removeAttribute("tabindex");
  };
  let seen = false;
  box.addEventListener("scroll", () => { [mine.left, mine.top] = [box.scrollLeft, box.scrollTop]; look(); }, { passive: true });
  new ResizeObserver(() => {
    if (!seen && mine.left !== undefined) [box.scrollLeft, box.scrollTop] = [mine.left, mine.top];
    seen = true;
    look();
  }).observe(box);
  return box;
}
