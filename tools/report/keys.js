/* keys.js - what a query may see, and squares that show it. */
const keyNames = { m: "meta token", s: "sink", w: "seen: in the window", p: "seen: a chosen page", "-": "kept, not chosen", x: "evicted" };
const keyColours = { m: [204, 121, 167], s: [230, 159, 0], w: [0, 114, 178], p: [0, 158, 115], "-": [128, 128, 128], x: [128, 128, 128] };

/* a letter for each key that a query at q, counted with the meta tokens, sees or does not: the
   rule of the engine. window 0 is none, and then there are no sinks. */
function keysOf(q, meta, sinks, window) {
  const pinned = meta + (window > 0 ? sinks : 0), lo = window > 0 ? q - window + 1 : 0;
  let letters = "";
  for (let j = 0; j <= q; j++) {
    const seen = lo <= pinned || j < pinned || j >= lo;
    letters += !seen ? "x" : j < meta ? "m" : j < pinned ? "s" : "w";
  }
  return letters;
}

/* n x n cells by paint(q, j) -> [r, g, b, alpha], or null for what is not there */
function paintCells(n, paint) {
  const canvas = element("canvas", { width: n, height: n }), context = canvas.getContext("2d");
  const image = context.createImageData(n, n);
  for (let q = 0; q < n; q++) {
    for (let j = 0; j <= q; j++) {
      const colour = paint(q, j), at = 4 * (q * n + j);
      if (colour) { image.data.set([colour[0], colour[1], colour[2], Math.round(255 * colour[3])], at); }
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/* the cells on a canvas as wide as there is room, with one row framed */
function showCells(canvas, cells, n, row) {
  const room = Math.max(240, Math.min(720, canvas.parentElement.clientWidth - 2));
  const size = n > room ? room : Math.floor(room / n) * n, ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(size * ratio);
  canvas.height = canvas.width;
  canvas.style.width = `${size}px`;
  const context = canvas.getContext("2d"), cell = canvas.width / n;
  context.imageSmoothingEnabled = n > canvas.width;
  context.drawImage(cells, 0, 0, canvas.width, canvas.height);
  context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--row").trim();
  context.lineWidth = 2 * ratio;
  context.strokeRect(1, row * cell, (row + 1) * cell - 1, Math.max(cell, 2));
}

/* call move(q, j) for the cell under the pointer, and for arrow keys from at() */
function followCells(canvas, n, at, move) {
  const clamp = (v) => Math.max(0, Math.min(n() - 1, v));
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    move(clamp(Math.floor((event.clientY - box.top) / box.height * n())), clamp(Math.floor((event.clientX - box.left) / box.width * n())), false);
  });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    move(clamp(Math.floor((event.clientY - box.top) / box.height * n())), clamp(Math.floor((event.clientX - box.left) / box.width * n())), true);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step) {
      event.preventDefault();
      const [q, j] = at();
      move(clamp(q + step[0]), clamp(j + step[1]), true);
    }
  });
}

function keyLegend(box, letters) {
  box.replaceChildren(...letters.map((k) => legendItem(`rgb(${keyColours[k].join(",")}${k === "x" ? ",0.25" : k === "-" ? ",0.5" : ""})`, keyNames[k])));
}

function setUpMask() {
  const box = byId("mask-controls"), canvas = element("canvas", { id: "mask-canvas", tabindex: 0, role: "img",
    "aria-label": "What each query may see; arrow keys move the row" });
  byId("mask-picture").append(canvas);
  const fit = () => { row.set(Math.min(row.get(), total() - 1), total() - 1); draw(); };
  const total = () => length.get() + meta.get();
  const length = slider(box, "mask-length", "Tokens of text", 2, 128, 32, fit);
  const width = slider(box, "mask-window", "Window", 0, 128, 8, () => draw(), (v) => v === 0 ? "none: all" : String(v));
  const sinks = slider(box, "mask-sinks", "Sinks", 0, 32, 2, () => draw());
  const meta = slider(box, "mask-meta", "Meta tokens", 0, 32, 0, fit);
  const row = slider(box, "mask-row", "Query", 0, 31, 20, () => draw());
  let rows = [];
  const draw = () => {
    const n = total(), q = row.get();
    rows = Array.from({ length: n }, (_, i) => keysOf(i, meta.get(), sinks.get(), width.get()));
    const cells = paintCells(n, (i, j) => keyColours[rows[i][j]].concat(rows[i][j] === "x" ? 0.15 : i === q ? 1 : 0.7));
    showCells(canvas, cells, n, q);
    const seen = rows[q].split("").filter((k) => k !== "x").length;
    byId("mask-readout").textContent = `Query ${q}: sees ${seen} of ${q + 1} keys`;
    byId("mask-data").dataset.row = rows[q];
    table(byId("mask-data"), ["key", "what"], rows[q].split("").map((k, j) => [j, keyNames[k]]), `The keys of query ${q}`);
  };
  followCells(canvas, total, () => [row.get(), 0], (q, j, chosen) => {
    if (chosen) { row.set(q); draw(); }
    byId("mask-readout").textContent = j <= q ? `Query ${q}, key ${j}: ${keyNames[rows[q][j]]}` : `Query ${q}, key ${j}: still to come`;
  });
  keyLegend(byId("mask-legend"), ["m", "s", "w", "x"]);
  fit();
  redraws.push(draw);
}
