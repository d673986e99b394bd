/* memory.js - bytes of a cache by the formula, with sliders, beside what was measured. */
const pageRows = 32;
const elementBytes = { q4: 0.625, q8: 1.0625, f16: 2, f32: 4 };
const elementNames = Object.keys(elementBytes);

/* pages that one layer holds of n positions, meta tokens included, when its rows are in; window 0:
   all of them */
function pagesHeld(n, window, pinned) {
  const all = Math.ceil(n / pageRows);
  const lowest = n - window + 1; /* what the next query sees first behind the pinned ones */
  if (window === 0 || lowest <= pinned) { return all; }
  const pinnedPages = Math.ceil(pinned / pageRows);
  return pinnedPages + Math.max(0, all - Math.max(Math.floor(lowest / pageRows), pinnedPages));
}

/* shape: windows (one for each layer with keys and values of its own), heads, headDim, meta, pinned,
   element (bytes) */
function cacheBytes(n, s) {
  const page = pageRows * 2 * s.heads * s.headDim * s.element;
  const kept = s.meta % pageRows > 0 ? 1 : 0; /* the meta tokens' last page, of which a text has a copy */
  return s.windows.reduce((sum, w) => sum + (kept + pagesHeld(n + s.meta, w, s.pinned)) * page, 0);
}

function shapeOf(model) {
  return { windows: model.owner_windows, heads: model.n_kv_heads, headDim: model.head_dim, meta: model.n_meta,
    pinned: model.n_pinned, element: elementBytes[model.kv_type] || 2 };
}

/* models that trade-offs ran; what windows they have is not told there */
function modelsOfRuns() {
  const models = [];
  for (const r of data.runs) {
    if ([r.n_layers, r.n_owners, r.n_kv_heads, r.head_dim].every((n) => isNumber(n) && n >= 1) && r.cache === "f16" &&
      !models.some((m) => m.model === r.model)) {
      models.push({ model: r.model, kv_type: "f16", n_layers: r.n_layers, n_kv_heads: r.n_kv_heads, head_dim: r.head_dim, n_meta: r.n_meta || 0,
        n_pinned: r.n_meta || 0, weight_bytes: r.weight_bytes || 0, owner_windows: Array(Math.min(1000, Math.round(r.n_owners))).fill(0), run: true });
    }
  }
  return models;
}

/* what bench, or else a trade-off, measured of a model: tokens held, bytes */
function measuredOf(model) {
  if (model.run) {
    return data.runs.filter((r) => r.model === model.model && r.cache === "f16").map((r) => ({ n: r.n_ctx, bytes: r.bytes })).sort((a, b) => a.n - b.n);
  }
  return data.speed.filter((r) => r.file === model.file && r.model === model.model && r.kv_type === model.kv_type &&
    r.mode !== "uncached" && !(r.n_seqs > 1)).map((r) => ({ n: r.n_ctx + (r.mode === "cached" ? r.n_gen : 0), bytes: r.kv_bytes }))
    .sort((a, b) => a.n - b.n);
}

function setUpMemory() {
  const known = data.models.concat(modelsOfRuns().filter((r) => !data.models.some((m) => m.model === r.model)));
  const models = known.length > 0 ? known : [{ file: "", model: "a model of 12 layers", kv_type: "f16", n_layers: 12,
    n_kv_heads: 12, head_dim: 64, n_meta: 0, n_pinned: 0, weight_bytes: 0, owner_windows: Array(12).fill(0), run: true }];
  const box = byId("memory-controls"), draw = () => drawMemory(models[model.get()], controls);
  const use = () => {
    const m = models[model.get()], most = Math.max(512, ...measuredOf(m).map((p) => p.n));
    controls.context.set(Math.ceil(Math.log2(most) * 4));
    controls.layers.set(m.n_layers, Math.max(48, m.n_layers));
    controls.heads.set(m.n_kv_heads, Math.max(32, m.n_kv_heads));
    controls.headDim.set(m.head_dim, Math.max(256, m.head_dim));
    controls.element.set(Math.max(0, elementNames.indexOf(m.kv_type)));
    controls.share.set(Math.max(1, Math.round(m.n_layers / Math.max(1, m.owner_windows.length))));
  };
  const model = choice(box, "memory-model", "Model", models.map((m) => `${shortName(m.model)}, ${m.kv_type}`), () => { use(); draw(); });
  const tokens = (v) => `${Math.round(Math.pow(2, v / 4))} tokens`;
  const controls = {
    context: slider(box, "memory-context", "Context", 20, 72, 40, draw, tokens),
    layers: slider(box, "memory-layers", "Layers", 1, 48, 12, draw),
    heads: slider(box, "memory-heads", "KV heads", 1, 32, 12, draw),
    headDim: slider(box, "memory-head-dim", "Head size", 1, 256, 64, draw),
    element: slider(box, "memory-element", "Bytes per element", 0, 3, 2, draw, (v) => `${elementBytes[elementNames[v]]} (${elementNames[v]})`),
    share: slider(box, "memory-share", "Layers that share", 1, 4, 1, draw, (v) => v === 1 ? "1: none do" : String(v)),
  };
  use();
  keepDrawn(draw);
}

function drawMemory(model, c) {
  const most = Math.round(Math.pow(2, c.context.get() / 4));
  const own = shapeOf(model), owners = Math.ceil(c.layers.get() / c.share.get());
  const chosen = { windows: Array.from({ length: owners }, (_, i) => own.windows[i % own.windows.length] || 0), heads: c.heads.get(),
    headDim: c.headDim.get(), meta: own.meta, pinned: own.pinned, element: elementBytes[elementNames[c.element.get()]] };
  const at = unique(Array.from({ length: 129 }, (_, i) => Math.round(most * i / 128)));
  const line = (s) => at.map((n) => ({ x: n, y: cacheBytes(n, s) }));
  const measured = measuredOf(model), series = [
    { name: "by the formula, as the sliders stand", colour: colours[0], line: true, step: true, marks: false, points: line(chosen) }];
  if (!model.run) {
    series.push({ name: `by the formula: ${shortName(model.model)}, ${model.kv_type}`, colour: colours[2], dash: dashes[1], line: true, step: true,
      marks: false, points: line(own) });
  }
  series.push({ name: measured.length > 0 ? "measured" : "", colour: colours[1], points: measured.filter((p) => p.n <= most)
    .map((p) => ({ x: p.n, y: p.bytes, text: `measured: ${p.n} tokens, ${bytes(p.bytes)}` })) });
  chart(byId("memory-picture"), { title: "Bytes of the cache by tokens in the context", x: { label: "tokens in the context", zero: true },
    y: { label: "bytes of the cache", zero: true, binary: true, format: bytes }, series });
  const total = cacheBytes(most, chosen);
  byId("memory-readout").textContent = `${most} tokens: ${bytes(total)} (${Math.round(total)} bytes)` +
    (model.weight_bytes > 0 ? `; the weights take ${bytes(model.weight_bytes)}` : "");
  const rows = measured.map((p) => ["measured", p.n, p.bytes, model.run ? null : cacheBytes(p.n, own), model.run ? null : p.bytes - cacheBytes(p.n, own)]);
  for (let n = 32; n <= most; n *= 2) { rows.push(["as the sliders stand", n, null, cacheBytes(n, chosen), null]); }
  table(byId("memory-data"), ["what", "tokens", "measured bytes", "formula bytes", "difference"], rows);
}
