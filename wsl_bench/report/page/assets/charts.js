// Charts. A method has the colour that it has in every figure.
const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function colourOf(name) {
  const colour = DATA.colours[name];
  if (colour === undefined) return shade("--soft"); // a sanity row
  return colour === "#000000" ? shade("--fore") : colour;
}
const escapeText = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

function layout(more) {
  const axis = { gridcolor: shade("--line"), zerolinecolor: shade("--line"), automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: shade("--fore"), size: 12 },
    margin: { l: 10, r: 10, t: 10, b: 40 }, legend: { orientation: "h", y: -0.25, yanchor: "top" }, hovermode: "closest", ...more,
    xaxis: { ...axis, ...more.xaxis }, yaxis: { ...axis, ...more.yaxis },
  };
}
const draw = (id, traces, more) =>
  Plotly.react(id, traces, layout(more), { responsive: true, displaylogo: false, displayModeBar: false });

function drawIntervals() {
  const key = byId("interval-metric").value, rows = table.rows.filter((row) => row[key] !== null).slice().reverse();
  const names = rows.map((row) => escapeText(row.name));
  draw("chart-intervals", [{
    type: "scatter", mode: "markers", x: rows.map((row) => row[key]), y: names, marker: { size: 9, color: rows.map((row) => colourOf(row.name)) },
    error_x: { type: "data", symmetric: false, thickness: 1.5, color: shade("--soft"),
      array: rows.map((row) => (row[`${key}_high`] ?? row[key]) - row[key]), arrayminus: rows.map((row) => row[key] - (row[`${key}_low`] ?? row[key])) },
    hovertext: rows.map((row) => `${escapeText(row.name)}: ${fixed(row[key])} [${fixed(row[`${key}_low`])}, ${fixed(row[`${key}_high`])}]`), hoverinfo: "text",
  }], { xaxis: { rangemode: "tozero" }, yaxis: { type: "category" }, showlegend: false });
}

function drawDensities() {
  const curves = table.densities[byId("density-metric").value];
  draw("chart-densities", curves.map((one) => ({
    type: "scatter", mode: "lines", x: DATA.at, y: one.density, line: { color: colourOf(one.row), width: 2 },
    name: `${escapeText(one.row)} (${one.mean.toFixed(2)}, n ${one.n})`,
  })), { xaxis: { range: [0, 1] }, yaxis: { range: [0, 1.1 * highest(curves)], title: { text: "density" } } });
}

function highest(curves) { // spikes (all maps blank) are cut, as in the run's own figures
  const peaks = curves.map((one) => Math.max(...one.density)).sort((a, b) => a - b);
  const limit = 3 * peaks[Math.floor((peaks.length - 1) / 2)];
  return Math.max(...peaks.filter((peak) => peak <= limit), 0.1);
}

function drawThresholds() {
  const traces = [];
  const at = Array.from({ length: 200 }, (_, i) => (i + 1) / 200);
  for (const one of table.against_threshold) {
    const shared = { type: "scatter", mode: "lines", x: at, legendgroup: one.row, name: escapeText(one.row) };
    traces.push({ ...shared, y: one.test, line: { color: colourOf(one.row), width: 2 } });
    traces.push({ ...shared, y: one.val, line: { color: colourOf(one.row), width: 1.2, dash: "dot" }, showlegend: false });
    traces.push({
      type: "scatter", mode: "markers", x: one.chosen, y: one.chosen.map((t) => one.test[Math.max(0, Math.round(t * 200) - 1)]),
      marker: { color: colourOf(one.row), size: 9, symbol: "diamond-open", line: { width: 2 } }, legendgroup: one.row, showlegend: false,
      name: `${escapeText(one.row)}, frozen`,
    });
  }
  draw("chart-thresholds", traces, { xaxis: { range: [0, 1] }, yaxis: { rangemode: "tozero" } });
}

function drawCharts() { drawIntervals(); drawDensities(); drawThresholds(); }
for (const [key, text, hasInterval] of DATA.columns) if (hasInterval) byId("interval-metric").append(option(key, text));
for (const key of Object.keys(table.densities)) byId("density-metric").append(option(key, DATA.columns.find((c) => c[0] === key)[1]));
byId("interval-metric").addEventListener("change", drawIntervals);
byId("density-metric").addEventListener("change", drawDensities);
dark.addEventListener("change", () => { drawCharts(); });
changed.push(drawCharts);
drawCharts();
