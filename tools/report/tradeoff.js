/* tradeoff.js - each cache by what it takes, how long it needs and how far off it is; and in words
   what to choose. */
const qualitySteps = [
  { most: 1e-4, colour: "#0072b2", name: "KL up to 0.0001" }, { most: 1e-2, colour: "#56b4e9", name: "up to 0.01" },
  { most: 1e-1, colour: "#e69f00", name: "up to 0.1" }, { most: Infinity, colour: "#d55e00", name: "above" }];
const qualityLimits = [Infinity, 0.1, 0.01, 1e-4];
const heights = [
  { name: "ms per token", member: "ms", log: true }, { name: "bits per byte", member: "bits_per_byte" },
  { name: "mean KL, nats", member: "kld_mean", log: true }, { name: "share of other likeliest tokens", member: "other_top" }];

function qualityColour(kl) {
  return isNumber(kl) ? qualitySteps.find((s) => kl <= s.most).colour : "#888888";
}

function within(run, limit) { return limit === Infinity || (isNumber(run.kld_mean) && run.kld_mean <= limit); }

/* those that no other beats: fewer bytes, or lower */
function frontier(runs, member) {
  const sorted = runs.filter((r) => isNumber(r[member])).sort((a, b) => a.bytes - b.bytes || a[member] - b[member]);
  let best = Infinity;
  return sorted.filter((r) => { const on = r[member] < best; best = Math.min(best, r[member]); return on; });
}

/* no other run is as good in bytes, time and quality, and better in one */
function unbeaten(run, runs) {
  const as = (r) => [r.bytes, isNumber(r.ms) ? r.ms : Infinity, isNumber(r.kld_mean) ? r.kld_mean : Infinity];
  const mine = as(run);
  return !runs.some((other) => {
    const theirs = as(other);
    return other !== run && theirs.every((x, i) => x <= mine[i]) && theirs.some((x, i) => x < mine[i]);
  });
}

function setUpTradeoff() {
  if (data.runs.length === 0) {
    empty("tradeoff-picture", "No results of kvass tradeoff or kvass eval --json are among the sources.");
    return;
  }
  data.runs.forEach((r) => { r.other_top = isNumber(r.same_top) ? 1 - r.same_top : null; });
  const groups = [];
  for (const r of data.runs) {
    const key = JSON.stringify([r.model, r.fingerprint, r.text, r.n_ctx, r.threads]);
    let group = groups.find((g) => g.key === key);
    if (!group) { groups.push(group = { key, name: `${r.n_ctx} tokens` + (r.model ? `, ${shortName(r.model)}` : ""), runs: [] }); }
    group.runs.push(r);
  }
  groups.sort((a, b) => a.runs[0].n_ctx - b.runs[0].n_ctx);
  const box = byId("tradeoff-controls");
  const draw = () => drawTradeoff(groups[group.get()].runs, heights[height.get()], qualityLimits[limit.get()]);
  const group = choice(box, "tradeoff-length", "Length", groups.map((g) => g.name), draw);
  const height = choice(box, "tradeoff-height", "Upwards", heights.map((h) => h.name), draw);
  const limit = choice(box, "tradeoff-limit", "Quality", ["any", "KL up to 0.1", "KL up to 0.01", "KL up to 0.0001"], draw);
  group.set(groups.length - 1);
  const timed = groups[groups.length - 1].runs.some((r) => isNumber(r.ms));
  height.set(timed ? 0 : 1);
  byId("tradeoff-legend").append(...qualitySteps.map((s) => legendItem(s.colour, s.name)));
  keepDrawn(draw);
  tellInShort(groups);
}

function legendItem(colour, name) {
  return element("span", {}, shape("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" },
    shape("rect", { x: 1, y: 1, width: 12, height: 12, fill: colour, stroke: "#888888" })), name);
}

/* zero bytes and zero distance have a place on a logarithmic axis, at its low end */
function floorOf(values) {
  const positive = values.filter((v) => isNumber(v) && v > 0);
  return positive.length > 0 ? Math.min(...positive) / 3 : 1;
}

function drawTradeoff(runs, height, limit) {
  const shown = runs.filter((r) => isNumber(r[height.member]));
  const lowX = floorOf(shown.map((r) => r.bytes)), lowY = floorOf(shown.map((r) => r[height.member]));
  const atY = (r) => height.log ? Math.max(lowY, r[height.member]) : r[height.member];
  const best = frontier(shown.filter((r) => within(r, limit)), height.member);
  const point = (r) => ({ x: Math.max(lowX, r.bytes), y: atY(r), label: visible(r.cache), colour: qualityColour(r.kld_mean), hollow: !within(r, limit),
    text: `${visible(r.cache)} ${visible(r.flags)}: ${bytes(r.bytes)}, ${number(r.ms)} ms, KL ${number(r.kld_mean)}, ${number(r.bits_per_byte, 4)} bits per byte` });
  chart(byId("tradeoff-picture"), {
    title: `Caches by bytes and ${height.name}`, x: { label: "bytes of the cache", log: true, binary: true,
      also: shown.some((r) => r.bytes === 0) ? [lowX] : [], format: (v) => v === lowX ? "0" : bytes(v) },
    y: { label: height.name, log: height.log },
    series: [{ name: "not beaten by any other", colour: "#888888", line: true, step: true, marks: false, points: best.map(point).map((p) => ({ x: p.x, y: p.y })) },
      { name: "", colour: "#888888", points: shown.map(point) }],
  });
  table(byId("tradeoff-data"), ["cache", "flags", "bytes", "ms/token", "least", "greatest", "KL", "same top", "bits/byte", "trials", "in front"],
    runs.map((r) => [visible(r.cache), visible(r.flags), r.bytes, r.ms, r.ms_low === undefined ? null : r.ms_low, r.ms_high === undefined ? null : r.ms_high,
      r.kld_mean, r.same_top, r.bits_per_byte, r.trials, (best.includes(r) ? "yes" : "no") + (unbeaten(r, runs) ? ", in all three" : "")]));
}

/* the smallest cache that costs next to nothing of the quality, and what it saves */
function tellInShort(groups) {
  const list = element("ul", {});
  for (const g of groups) {
    const kept = g.runs.filter((r) => r.bytes > 0 && within(r, 0.01));
    const full = g.runs.filter((r) => r.bytes > 0 && isNumber(r.kld_mean)).sort((a, b) => a.kld_mean - b.kld_mean || a.bytes - b.bytes)[0];
    const small = kept.sort((a, b) => a.bytes - b.bytes)[0];
    if (small && full) {
      list.append(element("li", {}, `${g.name}: the smallest cache within a KL of 0.01 is ${visible(small.cache)}` +
        (small.flags ? ` (${visible(small.flags)})` : "") + `: ${bytes(small.bytes)}, ${number(small.ms)} ms per token, KL ${number(small.kld_mean)}` +
        (full === small ? "." : `; ${visible(full.cache)}, the nearest to exact, takes ${bytes(full.bytes)} and ${number(full.ms)} ms.`)));
    }
  }
  if (list.children.length > 0) { byId("short").querySelector(".text").append(list); }
}
