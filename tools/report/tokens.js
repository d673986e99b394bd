/* tokens.js - one generated text: the time of each token, and how likely it was. */

/* how far a probability lies from certainty: white for 1, full colour from 1 in 10,000 down */
function surprise(logprob) {
  return isNumber(logprob) ? Math.min(1, -logprob / Math.log(1e4)) : 0;
}

function setUpTokens() {
  if (data.texts.length === 0) {
    empty("tokens-picture", "No texts of kvass generate --token-stats are among the sources.");
    return;
  }
  const draw = () => drawTokens(data.texts[source.get()]);
  const source = choice(byId("tokens-controls"), "tokens-source", "Text", data.texts.map((t) =>
    `${shortName(t.file)}: ${shortName(t.model)}, ${visible(t.retain)} ${visible(t.store)}, seed ${t.seed}, ${t.labels.length} tokens`), draw);
  keepDrawn(draw);
}

function drawTokens(text) {
  const tell = (i) => {
    byId("tokens-readout").textContent = `Token ${i} \u201c${visible(text.labels[i])}\u201d: ${number(text.ms[i], 4)} ms, ` +
      `probability ${number(Math.exp(text.logprob[i]), 3)}, log ${number(text.logprob[i], 4)}`;
  };
  const timed = text.ms.map((ms, i) => ({ x: text.n_prompt + i, y: ms, text: `${visible(text.labels[i])}: ${number(ms, 4)} ms` }))
    .filter((p) => isNumber(p.y));
  const later = timed.slice(1), sorted = later.map((p) => p.y).sort((a, b) => a - b);
  const first = isNumber(text.ms[0]) ? `The first, with the prompt of ${text.n_prompt}: ${number(text.ms[0], 4)} ms. ` : "";
  byId("tokens-about").textContent = first + (sorted.length > 0 ? `The others: median ${number(sorted[Math.floor(sorted.length / 2)], 4)} ms.` : "");
  chart(byId("tokens-picture"), { title: "Time of each token", x: { label: "tokens before" }, y: { label: "ms", zero: true },
    series: [{ name: "", colour: colours[0], line: true, marks: later.length <= 300, points: later }] });
  const words = text.labels.map((label, i) => {
    const word = element("bdi", {}, visible(label));
    word.style.backgroundColor = `rgba(213,94,0,${(0.75 * surprise(text.logprob[i])).toFixed(3)})`;
    word.title = `${number(text.ms[i], 4)} ms, probability ${number(Math.exp(text.logprob[i]), 3)}`;
    word.addEventListener("pointerenter", () => tell(i));
    return word;
  });
  byId("tokens-text").replaceChildren(...words);
  byId("tokens-readout").textContent = "";
  table(byId("tokens-data"), ["token", "text", "ms", "log probability", "probability"], text.labels.map((label, i) =>
    [i, visible(label), text.ms[i], text.logprob[i], isNumber(text.logprob[i]) ? Math.exp(text.logprob[i]) : null]));
}
