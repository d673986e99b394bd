/* attention.js - maps of attention: thumbnails of heads, one map at large, one row in words. */

/* the packed weights: rows from `first` on, 16-bit square roots */
function unpack(map, doc) {
  if (!map.values) {
    const text = atob(map.weights), n = text.length / 2;
    map.values = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      const root = (text.charCodeAt(2 * i) + 256 * text.charCodeAt(2 * i + 1)) / 65535;
      map.values[i] = root * root;
    }
  }
  const before = doc.first * (doc.first + 1) / 2;
  return (q, j) => map.values[q * (q + 1) / 2 - before + j];
}

function letterOf(doc, map, q, j) { return doc.keys[map.keys][q - doc.first][j]; }

/* how strong a colour stands for a weight: its square root, or its logarithm from 1e-4 up */
function strength(weight, log) {
  return log ? Math.max(0, 1 + Math.log10(Math.max(weight, 1e-4)) / 4) : Math.sqrt(weight);
}

function cellsOf(doc, map, log) {
  const weight = unpack(map, doc);
  return paintCells(doc.n, (q, j) => {
    if (q < doc.first) { return null; }
    const letter = letterOf(doc, map, q, j), faint = letter === "x" ? 0.15 : letter === "-" ? 0.3 : 0;
    return keyColours[letter].concat(faint || strength(weight(q, j), log));
  });
}

function setUpAttention() {
  if (data.attention.length === 0) {
    empty("attention-picture", "No maps of kvass attention are among the sources.");
    return;
  }
  const box = byId("attention-controls"), state = { head: 0, key: 0 };
  const canvas = element("canvas", { id: "attention-canvas", tabindex: 0, role: "img", "aria-label": "Attention of one head; arrow keys move" });
  byId("attention-picture").append(canvas);
  const doc = () => data.attention[source.get()], map = () => doc().maps[state.head];
  const change = () => { state.head = 0; row.set(doc().n - 1, doc().n - 1); thumbnails(); draw(); };
  const source = choice(box, "attention-source", "Prompt", data.attention.map((d) =>
    `${shortName(d.model)}, ${d.n} positions, ${visible(d.path)}: ${shortName(d.file)}`), change);
  const log = check(box, "attention-log", "logarithmic colours", () => { thumbnails(); draw(); });
  const row = slider(box, "attention-row", "Query", 0, 1, 0, () => draw());

  function thumbnails() {
    byId("attention-heads").replaceChildren(...doc().maps.map((m, i) => {
      const button = element("button", { type: "button", "aria-pressed": i === state.head ? "true" : "false" },
        cellsOf(doc(), m, log.get()), `${m.layer}.${m.head}`);
      button.setAttribute("aria-label", `layer ${m.layer}, head ${m.head}`);
      button.addEventListener("click", () => { state.head = i; press(); draw(); });
      return button;
    }));
  }
  function press() {
    Array.from(byId("attention-heads").children).forEach((b, i) => b.setAttribute("aria-pressed", i === state.head ? "true" : "false"));
  }
  function tell(q, j) {
    const d = doc(), m = map(), labels = d.labels;
    let text = `Layer ${m.layer}, head ${m.head}, query ${q} \u201c${visible(labels[q])}\u201d, key ${j} \u201c${visible(labels[j])}\u201d: `;
    text += q < d.first ? "a meta token, run before" : j > q ? "still to come"
      : `${number(unpack(m, d)(q, j), 4)}, ${keyNames[letterOf(d, m, q, j)]}`;
    byId("attention-readout").textContent = text;
  }
  function tellRow(q) {
    const d = doc(), m = map(), weight = unpack(m, d), rows = [], words = [];
    for (let j = 0; j <= q && q >= d.first; j++) {
      rows.push([j, visible(d.labels[j]), keyNames[letterOf(d, m, q, j)], weight(q, j)]);
      const word = element("bdi", j === q ? { class: "query" } : {}, visible(d.labels[j]));
      word.style.backgroundColor = `rgba(${keyColours[letterOf(d, m, q, j)].join(",")},${(0.75 * strength(weight(q, j), log.get())).toFixed(3)})`;
      word.title = number(weight(q, j), 4);
      words.push(word);
    }
    byId("attention-text").replaceChildren(...words);
    table(byId("attention-data"), ["key", "token", "what", "weight"], rows, `The weights of query ${q}`);
  }
  function draw() {
    const d = doc(), q = Math.max(row.get(), d.first);
    showCells(canvas, cellsOf(d, map(), log.get()), d.n, q);
    tell(q, Math.min(state.key, q));
    tellRow(q);
  }
  followCells(canvas, () => doc().n, () => [row.get(), state.key], (q, j, chosen) => {
    if (chosen) { row.set(q); state.key = j; draw(); }
    tell(q, j);
  });
  const letters = unique(data.attention.flatMap((d) => d.keys.flatMap((rows) => rows.flatMap((r) => r.split("")))));
  keyLegend(byId("attention-legend"), Object.keys(keyNames).filter((k) => letters.includes(k)));
  change();
  redraws.push(draw);
}
