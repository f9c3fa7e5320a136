"use strict";
/* Tables that sort, the choice of a convention, and the long table of all cases, of which only what is seen is built. */
(function () {
  const $ = (query, root) => Array.from((root || document).querySelectorAll(query));
  const data = JSON.parse(document.getElementById("data").textContent);
  const empty = v => v === null || v === undefined || v !== v;
  const compare = (a, b) => typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;

  function order(a, b, sign) { /* what is missing stays at the end */
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    return sign * compare(a, b);
  }

  function sortButton(th, act) {
    const button = document.createElement("button");
    button.className = "sort";
    button.type = "button";
    button.append(...th.childNodes);
    th.append(button);
    button.addEventListener("click", () => {
      const sign = th.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      $("th", th.parentNode).forEach(other => other.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      act(sign);
    });
  }

  function cellValue(row, index) {
    const cell = row.cells[index];
    if (!cell) return null;
    if (cell.dataset.v !== undefined) return cell.dataset.v === "" ? null : Number(cell.dataset.v);
    return cell.textContent;
  }

  function makeSortable(table) {
    $("thead tr:last-child th", table).forEach((th, index) => sortButton(th, sign => {
      const body = table.tBodies[0];
      const rows = $("tr:not(.all)", body), last = $("tr.all", body);
      rows.sort((a, b) => order(cellValue(a, index), cellValue(b, index), sign));
      body.append(...rows, ...last);
    }));
  }

  function press(group, name) {
    $(".choice [data-" + group + "]").forEach(button => button.setAttribute("aria-pressed", String(button.dataset[group] === name)));
  }

  function chooseBeside(name) { /* what stands beside a mean: on screen and on paper */
    document.body.classList.toggle("show-ci", name === "ci");
    press("beside", name);
  }

  function chooseConvention(name) {
    $("section[data-convention]").forEach(section => { section.hidden = section.dataset.convention !== name; });
    press("choose", name);
    showCases(name);
  }

  const states = { p: "", e: "both empty", m: "missed", f: "false positive" };
  const classes = { e: "empty", m: "missed", f: "false" };
  const PAGE = 50;
  let rows = [], shown = [], first = 0, columns = [];

  function buildRows(name) {
    columns = data.columns.map((c, i) => ({ ...c, i })).filter(c => c.c === name || c.c === "none");
    rows = [];
    data.values.forEach((values, at) => {
      for (let o = 0; o < data.organs.length; o++) rows.push({ at, o, base: o * data.columns.length, values, s: data.states[at][o] });
    });
  }

  function value(row, column) { return row.values[row.base + column.i]; }

  function showCases(name) {
    const table = document.getElementById("cases");
    buildRows(name);
    const head = table.tHead.rows[0];
    head.replaceChildren();
    const keys = [["Case", r => data.cases[r.at][0]], ["Organ", r => r.o], ["", r => states[r.s]]];
    columns.forEach(c => keys.push([c.n, r => value(r, c)]));
    keys.forEach(([title, key], index) => {
      const th = document.createElement("th");
      th.scope = "col";
      if (index < 3) th.className = "text";
      th.textContent = title || "State";
      head.append(th);
      sortButton(th, sign => { rows.sort((a, b) => order(key(a), key(b), sign)); filter(); });
    });
    const worst = columns[0];
    const lost = r => empty(value(r, worst)) && (r.s === "m" || r.s === "f"); /* worse than any number */
    rows.sort((a, b) => lost(b) - lost(a) || order(value(a, worst), value(b, worst), worst.up ? 1 : -1));
    head.cells[3].setAttribute("aria-sort", worst.up ? "ascending" : "descending");
    document.getElementById("cases-of").textContent = name;
    filter();
  }

  function filter() {
    const word = document.getElementById("filter").value.trim().toLowerCase();
    const organ = document.getElementById("organ").value, state = document.getElementById("state").value;
    shown = rows.filter(r => (organ === "" || r.o === Number(organ)) && (state === "" || r.s === state) &&
                             (word === "" || data.cases[r.at][0].toLowerCase().includes(word)));
    first = 0;
    draw();
  }

  function number(v, c) {
    if (empty(v)) return "–";
    return v.toFixed(c.d);
  }

  function cell(row, text, name) {
    const td = row.insertCell();
    td.textContent = text;
    if (name) td.className = name;
  }

  function draw() {
    const body = document.getElementById("cases").tBodies[0], page = document.createDocumentFragment();
    shown.slice(first, first + PAGE).forEach(r => {
      const row = document.createElement("tr");
      cell(row, data.cases[r.at][0], "text");
      cell(row, data.organs[r.o], "text");
      cell(row, states[r.s], "text " + (classes[r.s] || ""));
      columns.forEach(c => cell(row, number(value(r, c), c)));
      page.append(row);
    });
    body.replaceChildren(page);
    const last = Math.min(first + PAGE, shown.length);
    document.getElementById("place").textContent = shown.length ? (first + 1) + "–" + last + " of " + shown.length : "no row";
    document.getElementById("cases-cut").textContent =
      shown.length > PAGE ? "Rows " + (first + 1) + "–" + last + " of " + shown.length + "; all values are in metrics.csv." : "";
    document.getElementById("back").disabled = first === 0;
    document.getElementById("on").disabled = last === shown.length;
  }

  function turn(step) {
    first = Math.max(0, first + step * PAGE);
    draw();
  }

  function showFiles(details) {
    const body = details.querySelector("tbody");
    if (!details.open || body.rows.length) return;
    const page = document.createDocumentFragment();
    data.cases.forEach(c => {
      const row = document.createElement("tr");
      c.forEach((text, index) => cell(row, text, index === 0 ? "text" : "wrap" + (index > 2 ? " mono" : "")));
      page.append(row);
    });
    body.append(page);
  }

  $("table.sortable").forEach(makeSortable);
  $("[data-choose]").forEach(button => button.addEventListener("click", () => chooseConvention(button.dataset.choose)));
  $("[data-beside]").forEach(button => button.addEventListener("click", () => chooseBeside(button.dataset.beside)));
  ["filter", "organ", "state"].forEach(id => document.getElementById(id).addEventListener("input", filter));
  document.getElementById("back").addEventListener("click", () => turn(-1));
  document.getElementById("on").addEventListener("click", () => turn(1));
  $("details.files").forEach(details => details.addEventListener("toggle", () => showFiles(details)));
  chooseConvention(data.main);
})();
