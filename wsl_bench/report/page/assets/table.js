"use strict";
// Data, the choice of table, and the sortable leaderboard. Text reaches the page as text alone (textContent).
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const element = (tag, text, className) => {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
};
const option = (value, text) => Object.assign(element("option", text === undefined ? value : text), { value });
const fixed = (value, digits = 3) => (value === null || value === undefined ? "" : value.toFixed(digits));
const changed = []; // called when another table is chosen
let table = DATA.tables[0];
const sorting = { column: "rank", down: false };

function ranks(row) {
  if (row.rank_low === null || row.rank_low === undefined) return "";
  return row.rank_low === row.rank_high ? String(row.rank_low) : `${row.rank_low}-${row.rank_high}`;
}

const HEADS = [["name", "Method"], ["rank", "Rank"], ["status", "Status"], ...DATA.columns.map(([key, text]) => [key, text])];

function valueOf(row, column, place) {
  if (column === "rank") return place; // as in leaderboard.csv: best first, sanity rows last
  return row[column];
}

function compare(a, b) {
  const empty = (v) => v === null || v === undefined || v === "";
  if (empty(a) || empty(b)) return empty(a) - empty(b); // what is missing comes last either way
  const order = typeof a === "string" ? a.localeCompare(b) : a - b;
  return sorting.down ? -order : order;
}

function drawHead() {
  const line = element("tr");
  for (const [key, text] of HEADS) {
    const head = element("th");
    head.scope = "col";
    if (sorting.column === key) head.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
    const button = element("button", text);
    button.type = "button";
    button.addEventListener("click", () => {
      const textual = key === "name" || key === "status" || key === "rank";
      sorting.down = sorting.column === key ? !sorting.down : !textual;
      sorting.column = key;
      drawTable();
      byId("board").querySelectorAll("th button")[HEADS.findIndex(([k]) => k === key)].focus();
    });
    head.append(button);
    line.append(head);
  }
  byId("board").tHead.replaceChildren(line);
}

function metricCell(row, key, hasInterval) {
  const cell = element("td");
  const value = row[key];
  if (value === null || value === undefined) return cell;
  cell.append(hasInterval ? fixed(value) : value.toLocaleString("en"));
  const low = row[`${key}_low`], high = row[`${key}_high`];
  if (!hasInterval || low === null || low === undefined) return cell;
  cell.append(" ", element("span", `[${fixed(low)}, ${fixed(high)}]`, "ends"));
  if (key === "iou") {
    const bar = element("span", null, "interval"), range = element("i"), mark = element("b");
    range.style.left = `${100 * low}%`;
    range.style.width = `${100 * (high - low)}%`;
    mark.style.left = `${100 * value}%`;
    bar.append(range, mark);
    cell.append(bar);
  }
  return cell;
}

function drawTable() {
  drawHead();
  const wanted = byId("table-filter").value.trim().toLowerCase(), sanity = byId("table-sanity").checked;
  const rows = table.rows
    .map((row, place) => [row, place])
    .filter(([row]) => (sanity || row.status !== "sanity") && `${row.name} ${row.status}`.toLowerCase().includes(wanted))
    .sort((a, b) => compare(valueOf(a[0], sorting.column, a[1]), valueOf(b[0], sorting.column, b[1])) || a[1] - b[1]);
  const body = byId("board").tBodies[0];
  body.replaceChildren(...rows.map(([row]) => {
    const line = element("tr", null, row.rank_low ? "" : "unranked");
    line.append(element("td", row.name, "text"), element("td", ranks(row)), element("td", row.status, "text"));
    for (const [key, , hasInterval] of DATA.columns) line.append(metricCell(row, key, hasInterval));
    return line;
  }));
  byId("table-empty").hidden = rows.length > 0;
  const first = table.rows[0];
  const rule = table.rule === "val" ? "thresholds fitted on validation" : `threshold fixed at ${table.rule}`;
  byId("table-about").textContent = `${table.dataset}, ${rule}: ${first.n_images} test images, ${first.n_located} of ` +
    `them located positives. Ranked by IoU; intervals are 95 %, for the method, with seeds and patients crossed.`;
}

byId("table-filter").addEventListener("input", drawTable);
byId("table-sanity").addEventListener("change", drawTable);
if (DATA.tables.length > 1) {
  byId("table-choice").hidden = false;
  DATA.tables.forEach((one, i) => byId("table-select").append(option(String(i), `${one.dataset}, ${one.rule}`)));
  byId("table-select").addEventListener("change", (event) => {
    table = DATA.tables[Number(event.target.value)];
    changed.forEach((draw) => draw());
  });
}
changed.push(drawTable);
drawTable();
