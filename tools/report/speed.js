/* speed.js - decoding with the cache and without, and how they compare; and the time per token. */
const modeNames = { cached: "with the cache", uncached: "without, recomputing", prefill: "prefill, per token" };

function runName(row) {
  return `${shortName(row.model)}, ${row.kv_type}` + (isNumber(row.threads) ? `, ${row.threads} ${row.threads === 1 ? "thread" : "threads"}` : "");
}

/* rows of single sequences, by run and mode, in order of context */
function speedGroups() {
  const groups = new Map();
  for (const row of data.speed) {
    if (isNumber(row.n_seqs) && row.n_seqs > 1) { continue; }
    const key = JSON.stringify([row.file, row.model, row.kv_type, row.threads]);
    if (!groups.has(key)) { groups.set(key, { name: runName(row), file: row.file, modes: {} }); }
    const modes = groups.get(key).modes;
    (modes[row.mode] = modes[row.mode] || []).push(row);
  }
  for (const group of groups.values()) {
    Object.values(group.modes).forEach((rows) => rows.sort((a, b) => a.n_ctx - b.n_ctx));
  }
  return Array.from(groups.values());
}

function ratiosOf(group) {
  return (group.modes.uncached || []).flatMap((u) => {
    const c = (group.modes.cached || []).find((row) => row.n_ctx === u.n_ctx);
    return c && c.ms > 0 ? [{ n_ctx: u.n_ctx, ratio: u.ms / c.ms, cached: c, uncached: u }] : [];
  });
}

function drawSpeed() {
  const groups = speedGroups();
  if (groups.length === 0) {
    empty("speed-picture", "No results of kvass bench -o json are among the sources.");
    return;
  }
  const several = groups.length > 1, series = [], ratios = [], rows = [];
  groups.forEach((group, g) => {
    ["cached", "uncached", "prefill"].forEach((mode, m) => {
      const list = (group.modes[mode] || []).filter((r) => r.ms > 0);
      series.push({
        name: modeNames[mode] + (several ? `: ${group.name}` : ""), colour: colours[(2 * g + m) % 6], dash: dashes[m], line: true,
        points: list.map((r) => ({ x: Math.max(1, r.n_ctx), y: r.ms, lo: r.ms_low, hi: r.ms_high,
          text: `${modeNames[mode]}, ${r.n_ctx} tokens before: ${number(r.ms, 4)} ms` })),
      });
      for (const r of list) {
        const ratio = mode === "uncached" ? ratiosOf(group).find((x) => x.n_ctx === r.n_ctx) : null;
        rows.push([group.name, mode, r.n_ctx, r.ms, r.ms_low, r.ms_high, 1e3 / r.ms, ratio ? ratio.ratio : null]);
      }
    });
    ratios.push({ name: several ? group.name : "", colour: colours[g % 6], dash: dashes[g % 6], line: true,
      points: ratiosOf(group).map((r) => ({ x: Math.max(1, r.n_ctx), y: r.ratio, text: `${r.n_ctx} tokens: ${number(r.ratio)} times`,
        label: several ? "" : number(r.ratio) + "\u00d7" })) });
  });
  const x = { label: "tokens in the context", log: true };
  chart(byId("speed-picture"), { title: "Time per token with and without the cache", x, y: { label: "ms per token", log: true }, series });
  chart(byId("ratio-picture"), { title: "Uncached over cached time", x, y: { label: "uncached / cached", log: true }, series: ratios });
  table(byId("speed-data"), ["run", "mode", "context", "ms/token", "5 %", "95 %", "tokens/s", "uncached / cached"], rows);
}

/* ---- time per token ---- */

function timeRows(which) {
  if (which < 0) {
    return speedGroups().flatMap((group) => Object.entries(group.modes).flatMap(([mode, rows]) => rows.map((r) => ({
      label: `${mode}, ${r.n_ctx} before` + (speedGroups().length > 1 ? `: ${group.name}` : ""), value: r.ms, hi: r.ms_high,
      colour: colours[["cached", "uncached", "prefill"].indexOf(mode)], text: `${number(r.ms, 4)} ms, up to ${number(r.ms_high, 4)}`,
    }))));
  }
  return data.runs.filter((r) => r.n_ctx === which && (isNumber(r.decode_p50_ms) || isNumber(r.ms))).map((r) => ({
    label: visible(r.cache) + (r.model ? `: ${shortName(r.model)}` : ""), value: isNumber(r.decode_p50_ms) ? r.decode_p50_ms : r.ms, hi: r.decode_p99_ms, colour: colours[0],
    text: `p50 ${number(r.decode_p50_ms, 4)} ms, p99 ${number(r.decode_p99_ms, 4)} ms`,
  }));
}

function setUpTimes() {
  const lengths = unique(data.runs.filter((r) => isNumber(r.ms) || isNumber(r.decode_p50_ms)).map((r) => r.n_ctx)).sort((a, b) => a - b);
  const which = (data.speed.length > 0 ? [-1] : []).concat(lengths);
  if (which.length === 0) {
    empty("times-picture", "No results with times are among the sources.");
    return;
  }
  const draw = () => {
    const rows = timeRows(which[source.get()]);
    bars(byId("times-picture"), "Time per token", " ms", rows);
    table(byId("times-data"), ["what", "median ms", "slow end ms"], rows.map((r) => [r.label, r.value, isNumber(r.hi) ? r.hi : null]));
  };
  const source = choice(byId("times-controls"), "times-source", "Of", which.map((w) => w < 0 ? "the benchmark" : `caches at ${w} tokens`), draw);
  source.set(which.length - 1);
  keepDrawn(draw);
}
