/* chart.js - lines and points on two axes, and bars; as wide as the page gives room for. */
const chartHeight = 320;

/* places of ticks from lo to hi; of bytes, binary: at round numbers of KiB, MiB, ... */
function ticksOf(lo, hi, log, most, binary) {
  const ticks = [];
  if (log && binary) {
    const wide = Math.log2(hi / lo) > 2 * most ? 10 : Math.log2(hi / lo) > most ? 2 : 1;
    for (let p = Math.ceil(Math.log2(lo) / wide) * wide; Math.pow(2, p) <= hi; p += wide) { ticks.push(Math.pow(2, p)); }
    return ticks;
  }
  if (log && hi / lo >= 4) {
    const wide = Math.log10(hi / lo) > most;
    for (let p = Math.floor(Math.log10(lo)); p <= Math.ceil(Math.log10(hi)); p++) {
      for (const m of wide ? [1] : [1, 2, 5]) {
        const x = m * Math.pow(10, p);
        if (x >= lo * 0.999 && x <= hi * 1.001) { ticks.push(x); }
      }
    }
    return ticks;
  }
  const unit = binary ? Math.pow(1024, Math.max(0, Math.floor(Math.log2(hi) / 10))) : 1;
  const rough = (hi - lo) / unit / most, p = unit * Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 5, 10].map((m) => m * p).find((s) => s >= rough * unit) || 10 * p;
  for (let x = Math.ceil(lo / step) * step; x <= hi * 1.0001; x += step) { ticks.push(x); }
  return ticks;
}

function rangeOf(values, log, zero) {
  let lo = Math.min(...values), hi = Math.max(...values);
  if (log) {
    return lo === hi ? [lo / 2, hi * 2] : [lo / 1.15, hi * 1.15];
  }
  lo = zero ? Math.min(0, lo) : lo;
  const room = hi > lo ? (hi - lo) * 0.06 : Math.abs(hi) * 0.1 || 1;
  return [zero && lo === 0 ? 0 : lo - room, hi + room];
}

function marker(kind, x, y, colour, hollow) {
  const look = { fill: hollow ? "none" : colour, stroke: colour, "stroke-width": 1.5 };
  return kind % 2 === 0 ? shape("circle", Object.assign({ cx: x, cy: y, r: 4.5 }, look))
    : shape("rect", Object.assign({ x: x - 4, y: y - 4, width: 8, height: 8 }, look));
}

/* spec: title, x and y {label, log, zero, binary, format, also (ticks)}, series [{name, colour, dash, line, step, marks,
   points [{x, y, lo, hi, text, label, colour, hollow}]}] */
function chart(box, spec) {
  const width = Math.max(280, box.clientWidth), height = chartHeight;
  const drawn = spec.series.filter((s) => s.points.length > 0);
  const points = drawn.flatMap((s) => s.points);
  if (points.length === 0) { box.replaceChildren(element("p", { class: "empty" }, "nothing to draw")); return; }
  const plot = { left: 78, right: width - 14, top: 12, bottom: height - 42 };
  const [x0, x1] = rangeOf(points.map((p) => p.x), spec.x.log, spec.x.zero);
  const ys = points.flatMap((p) => [p.y, p.lo, p.hi].filter(isNumber));
  const [y0, y1] = rangeOf(ys, spec.y.log, spec.y.zero);
  const scale = (v, lo, hi, log) => log ? Math.log(v / lo) / Math.log(hi / lo) : (v - lo) / (hi - lo);
  const atX = (v) => plot.left + scale(v, x0, x1, spec.x.log) * (plot.right - plot.left);
  const atY = (v) => plot.bottom - scale(v, y0, y1, spec.y.log) * (plot.bottom - plot.top);
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spec.title });
  const format = (axis, v) => (axis.format || ((n) => number(n, 3)))(v);
  for (const v of unique((spec.x.also || []).concat(ticksOf(x0, x1, spec.x.log, width / 110, spec.x.binary)))) {
    svg.append(shape("path", { class: "grid", d: `M${atX(v)} ${plot.top}V${plot.bottom}` }),
      shape("text", { x: atX(v), y: plot.bottom + 16, "text-anchor": "middle" }, format(spec.x, v)));
  }
  for (const v of ticksOf(y0, y1, spec.y.log, 6, spec.y.binary)) {
    svg.append(shape("path", { class: "grid", d: `M${plot.left} ${atY(v)}H${plot.right}` }),
      shape("text", { x: plot.left - 6, y: atY(v) + 4, "text-anchor": "end" }, format(spec.y, v)));
  }
  svg.append(shape("path", { class: "axis", d: `M${plot.left} ${plot.top}V${plot.bottom}H${plot.right}` }),
    shape("text", { class: "soft", x: (plot.left + plot.right) / 2, y: plot.bottom + 35, "text-anchor": "middle" }, spec.x.label),
    shape("text", { class: "soft", x: 12, y: (plot.top + plot.bottom) / 2, "text-anchor": "middle",
      transform: `rotate(-90 12 ${(plot.top + plot.bottom) / 2})` }, spec.y.label));
  const taken = points.map((p) => [atX(p.x) - 5, atY(p.y) - 5, atX(p.x) + 5, atY(p.y) + 5]);
  drawn.forEach((s, i) => {
    if (s.line) {
      const d = s.points.map((p, k) => k === 0 ? `M${atX(p.x)} ${atY(p.y)}` : (s.step ? `H${atX(p.x)}V${atY(p.y)}` : `L${atX(p.x)} ${atY(p.y)}`));
      svg.append(shape("path", { class: "series", d: d.join(""), fill: "none", stroke: s.colour, "stroke-width": 2, "stroke-dasharray": s.dash || "none" }));
    }
    for (const p of s.points) {
      if (isNumber(p.lo) && isNumber(p.hi)) {
        svg.append(shape("path", { d: `M${atX(p.x)} ${atY(p.lo)}V${atY(p.hi)}`, stroke: s.colour, "stroke-width": 1 }));
      }
      if (s.marks !== false) {
        const mark = marker(i, atX(p.x), atY(p.y), p.colour || s.colour, p.hollow);
        mark.setAttribute("class", "point");
        mark.append(shape("title", {}, p.text || `${number(p.x)}: ${number(p.y)}`));
        svg.append(mark);
      }
      if (p.label) { putLabel(svg, plot, taken, atX(p.x), atY(p.y), p.label); }
    }
  });
  box.replaceChildren(element("p", { class: "legend" }, ...drawn.map(legendOf).filter((e) => e !== null)), svg);
}

/* a point's name, where it covers no other and no point; nowhere, if it would */
function putLabel(svg, plot, taken, x, y, text) {
  const width = 6.6 * text.length;
  for (const dy of [-8, 4, 16, -18]) {
    for (const right of [true, false]) {
      const at = right ? x + 8 : x - 8 - width, box = [at, y + dy - 10, at + width, y + dy + 2];
      const inside = box[0] >= plot.left && box[2] <= plot.right + 12 && box[1] >= 0 && box[3] <= plot.bottom;
      if (inside && !taken.some((t) => t[0] < box[2] && t[2] > box[0] && t[1] < box[3] && t[3] > box[1])) {
        taken.push(box);
        svg.append(shape("text", { class: "name", x: at, y: y + dy }, text));
        return;
      }
    }
  }
}

/* what a series is called, beside what it looks like */
function legendOf(s, i) {
  if (!s.name) { return null; }
  const look = s.line ? shape("path", { d: "M0 7h26", stroke: s.colour, "stroke-width": 2, "stroke-dasharray": s.dash || "none" })
    : marker(i, 13, 7, s.colour, false);
  return element("span", {}, shape("svg", { viewBox: "0 0 26 14", class: "wide", "aria-hidden": "true" }, look), s.name);
}

/* rows [{label, value, hi, colour, text}] on a logarithmic axis */
function bars(box, title, unit, rows) {
  const width = Math.max(280, box.clientWidth), rowHeight = 36, left = 8, right = width - 70;
  const values = rows.flatMap((r) => [r.value, r.hi].filter((v) => isNumber(v) && v > 0));
  if (values.length === 0) { box.replaceChildren(element("p", { class: "empty" }, "nothing to draw")); return; }
  const lo = Math.min(...values) / 2, hi = Math.max(...values);
  const at = (v) => left + Math.log(v / lo) / Math.log(hi / lo) * (right - left);
  const svg = shape("svg", { viewBox: `0 0 ${width} ${rows.length * rowHeight + 8}`, role: "img", "aria-label": title });
  rows.forEach((r, i) => {
    const y = i * rowHeight + 14, end = r.value > 0 ? at(r.value) : left;
    const bar = shape("rect", { class: "bar", x: left, y: y + 4, width: Math.max(1, end - left), height: 12, fill: r.colour });
    bar.append(shape("title", {}, r.text));
    svg.append(shape("text", { x: left, y }, r.label), bar);
    if (isNumber(r.hi) && r.hi > 0) {
      svg.append(shape("path", { class: "axis", d: `M${end} ${y + 10}H${at(r.hi)}m0 -5v10` }));
    }
    svg.append(shape("text", { x: Math.max(end, isNumber(r.hi) && r.hi > 0 ? at(r.hi) : 0) + 5, y: y + 14 }, number(r.value) + unit));
  });
  box.replaceChildren(svg);
}
