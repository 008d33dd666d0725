// The explorer: numbers from the tallies' counts at the slider's step, pictures from the reduced maps.
const PAGE_SIZE = 12;
const METRICS = { iou: "IoU", iop: "IoP", fpr: "FPR", fnr: "FNR", area: "area lit" };
const unpacked = new Map(); // by table: cells and images with their arrays
let view = null, shownImages = PAGE_SIZE, atOperating = true;

async function unpack(text, Kind) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i); // Uint8Array.from takes five times as long
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Kind(await new Response(stream).arrayBuffer());
}

async function unpackTable(given) {
  const { images, cells, steps } = given.explorer, n = images.ids.length;
  const upwards = (drops) => { // from drops between steps to counts
    for (let i = 0; i < n; i++) for (let j = steps - 1; j >= 0; j--) drops[i * (steps + 1) + j] += drops[i * (steps + 1) + j + 1];
    return drops;
  };
  return {
    steps, images: { ...images, pixels: await unpack(images.pixels, Uint8Array), truth: await unpack(images.truth, Uint8Array) },
    cells: await Promise.all(cells.map(async (cell) => ({
      ...cell, levels: await unpack(cell.levels, Uint8Array), bits: await unpack(cell.lit_at, Uint8Array),
      tp: upwards(await unpack(cell.tp, Uint32Array)), fp: upwards(await unpack(cell.fp, Uint32Array)),
    }))),
  };
}

const step = () => Number(byId("threshold").value);

function figures(cell, i) { // of image i at the slider's step or the cell's frozen threshold
  const at = i * (view.steps + 1) + step();
  const tp = atOperating ? cell.tp_at[i] : cell.tp[at], fp = atOperating ? cell.fp_at[i] : cell.fp[at];
  const truth = view.images.truth_area[i], all = view.images.n_pixels[i];
  const found = { area: (tp + fp) / all, iou: null, iop: null, fpr: null, fnr: null };
  if (!view.images.located[i]) return found;
  found.iou = tp / (truth + fp);
  found.iop = tp + fp > 0 ? tp / (tp + fp) : 0; // a blank mask found nothing
  found.fpr = all > truth ? fp / (all - truth) : null;
  found.fnr = 1 - tp / truth;
  return found;
}

function componentBoxes(mask, side) { // tight boxes of 8-connected components
  const seen = new Uint8Array(mask.length), boxes = [];
  for (let start = 0; start < mask.length; start++) {
    if (!mask[start] || seen[start]) continue;
    let left = side, top = side, right = 0, bottom = 0;
    const front = [start];
    seen[start] = 1;
    while (front.length) {
      const at = front.pop(), x = at % side, y = (at - x) / side;
      left = Math.min(left, x); right = Math.max(right, x + 1); top = Math.min(top, y); bottom = Math.max(bottom, y + 1);
      for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) {
        const nx = x + dx, ny = y + dy, next = ny * side + nx;
        if (nx >= 0 && ny >= 0 && nx < side && ny < side && mask[next] && !seen[next]) { seen[next] = 1; front.push(next); }
      }
    }
    boxes.push([left / side, top / side, (right - left) / side, (bottom - top) / side]);
  }
  return boxes;
}

function rectangles(context, boxes, colour, size) {
  context.strokeStyle = colour;
  context.lineWidth = 2;
  for (const [x, y, w, h] of boxes) context.strokeRect(x * size, y * size, w * size, h * size);
}

function maskOf(cell, i) { // at the slider's step or the frozen threshold, (side * side) 0 or 1
  const n = cell.side * cell.side, mask = new Uint8Array(n);
  for (let p = 0; p < n; p++) {
    const bit = i * n + p;
    mask[p] = atOperating ? (cell.bits[bit >> 3] >> (7 - (bit & 7))) & 1 : cell.levels[bit] >= step();
  }
  return mask;
}

function paint(canvas, i, cell) {
  const size = 150, { images } = view, side = images.side, context = canvas.getContext("2d");
  canvas.width = canvas.height = size;
  const picture = context.createImageData(size, size), pixels = picture.data;
  const tint = hexToRgb(shade("--mask")), mask = cell ? maskOf(cell, i) : null, edge = hexToRgb(shade("--truth"));
  const truthAt = (x, y) => images.truth[i * side * side + Math.floor((y * side) / size) * side + Math.floor((x * side) / size)];
  for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) {
    const grey = images.pixels[i * side * side + Math.floor((y * side) / size) * side + Math.floor((x * side) / size)];
    const lit = cell && mask[Math.floor((y * cell.side) / size) * cell.side + Math.floor((x * cell.side) / size)];
    const at = 4 * (y * size + x);
    const outline = truthAt(x, y) && [[-2, 0], [2, 0], [0, -2], [0, 2]].some(([dx, dy]) => {
      const nx = x + dx, ny = y + dy;
      return nx < 0 || ny < 0 || nx >= size || ny >= size || !truthAt(nx, ny);
    });
    for (let c = 0; c < 3; c++) pixels[at + c] = outline ? edge[c] : lit ? 0.45 * grey + 0.55 * tint[c] : grey;
    pixels[at + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  if (cell) rectangles(context, componentBoxes(mask, cell.side), shade("--box"), size);
  if (cell) canvas.dataset.lit = String(mask.reduce((a, b) => a + b, 0));
}

function hexToRgb(hex) { return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)); }

const chosenCells = () => {
  const names = [...byId("method-boxes").querySelectorAll("input:checked")].map((box) => box.value);
  const seed = Number(byId("seed").value);
  return names.map((name) => {
    const own = view.cells.filter((cell) => cell.row === name);
    return own.find((cell) => cell.seed === seed) || own[0];
  });
};

function order() {
  const kind = byId("kind").value, metric = byId("sort-metric").value, seed = Number(byId("seed").value);
  const own = view.cells.filter((cell) => cell.row === byId("sort-method").value);
  const cell = own.find((one) => one.seed === seed) || own[0];
  const sign = byId("sort-order").value === "down" ? -1 : 1;
  return view.images.ids.map((_, i) => i)
    .filter((i) => kind === "all" || (kind === "located") === view.images.located[i])
    .map((i) => [i, figures(cell, i)[metric]])
    .sort((a, b) => (a[1] === null) - (b[1] === null) || sign * (a[1] - b[1]) || a[0] - b[0])
    .map(([i]) => i);
}

function shot(i, cell) {
  const made = element("div", null, "shot"), canvas = element("canvas");
  made.append(element("strong", cell ? cell.row : "input"));
  made.append(canvas);
  paint(canvas, i, cell);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", cell ? `${view.images.ids[i]}: mask of ${cell.row}` : `${view.images.ids[i]}: input`);
  if (!cell) return made;
  const list = element("dl"), found = figures(cell, i);
  for (const [key, text] of Object.entries(METRICS)) {
    if (found[key] === null) continue;
    list.append(element("dt", text), element("dd", fixed(found[key])));
    made.dataset[key] = String(found[key]);
  }
  list.append(element("dt", "threshold"), element("dd", fixed(atOperating ? cell.threshold : step() / view.steps)));
  made.dataset.row = cell.row;
  made.append(list);
  return made;
}

function drawCards() {
  if (!view) return;
  byId("threshold-value").textContent = atOperating ? "frozen" : fixed(step() / view.steps);
  byId("operating").setAttribute("aria-pressed", String(atOperating));
  const cells = chosenCells(), all = order(), now = all.slice(0, shownImages);
  byId("cards").replaceChildren(...now.map((i) => {
    const card = element("article", null, "card"), head = element("h3", view.images.ids[i]);
    card.dataset.image = view.images.ids[i];
    head.append(" ", element("small", view.images.labels[i] ? "positive" : "negative"));
    const strip = element("div", null, "strip");
    strip.append(shot(i, null), ...cells.map((cell) => shot(i, cell)));
    card.append(head, strip);
    return card;
  }));
  byId("shown").textContent = `${now.length} of ${all.length} images`;
  byId("more").hidden = now.length >= all.length;
}

function fillControls() {
  const rows = [...new Set(view.cells.map((cell) => cell.row))];
  const sanity = new Set(view.cells.filter((cell) => cell.sanity).map((cell) => cell.row));
  const seeds = [...new Set(view.cells.map((cell) => cell.seed))].sort((a, b) => a - b);
  byId("seed").replaceChildren(...seeds.map((seed) => option(String(seed))));
  byId("sort-metric").replaceChildren(...Object.entries(METRICS).map(([key, text]) => option(key, text)));
  byId("sort-method").replaceChildren(...rows.map((row) => option(row)));
  byId("threshold").max = view.steps;
  byId("method-boxes").replaceChildren(...rows.map((row, place) => {
    const label = element("label"), box = Object.assign(element("input"), { type: "checkbox", value: row, checked: place < 6 && !sanity.has(row) });
    box.addEventListener("change", drawCards);
    label.append(box, " ", row);
    return label;
  }));
}

async function openExplorer() {
  const given = table;
  byId("explorer-body").hidden = !given.explorer;
  if (!given.explorer) {
    byId("explorer-about").textContent = "The run's folder keeps no pictures of this dataset; give the command of the run again to have them.";
    return;
  }
  view = null;
  byId("cards").replaceChildren();
  if (!unpacked.has(given)) unpacked.set(given, unpackTable(given));
  const found = await unpacked.get(given);
  if (given !== table) return; // another table was chosen meanwhile
  view = found;
  byId("explorer-about").textContent = `${view.images.ids.length} test images, chosen by a hash of their ids, the same for all methods. ` +
    "The slider moves the threshold of all methods; the frozen thresholds are a click away.";
  shownImages = PAGE_SIZE;
  fillControls();
  drawCards();
  document.documentElement.dataset.ready = "yes";
}

byId("threshold").addEventListener("input", () => { atOperating = false; drawCards(); });
byId("operating").addEventListener("click", () => { atOperating = !atOperating; drawCards(); });
for (const id of ["seed", "sort-metric", "sort-method", "sort-order", "kind"]) {
  byId(id).addEventListener("change", () => { shownImages = PAGE_SIZE; drawCards(); });
}
byId("more").addEventListener("click", () => { shownImages += PAGE_SIZE; drawCards(); });
dark.addEventListener("change", drawCards);
changed.push(openExplorer);
openExplorer();
