/* main.js - everything drawn once, and again when room or colours change. */
byId("about").textContent = `Made by kvass ${data.version} (${data.commit}). This page is complete: it asks for nothing.`;
drawSpeed();
redraws.push(drawSpeed);
setUpMemory();
setUpTradeoff();
setUpAttention();
setUpMask();
setUpTimes();
setUpTokens();
if (byId("short").querySelector(".text").children.length === 0) { byId("short").hidden = true; }
byId("sources").querySelector(".text").append(element("ul", {}, ...data.sources.map((s) =>
  element("li", {}, `${visible(s.file)}: ${s.kind}, ${s.documents} ${s.documents === 1 ? "document" : "documents"}`))));

let drawnWidth = document.documentElement.clientWidth, waiting = 0;
function redrawAll() { redraws.forEach((draw) => draw()); }
window.addEventListener("resize", () => {
  if (document.documentElement.clientWidth !== drawnWidth) {
    drawnWidth = document.documentElement.clientWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redrawAll, 50);
  }
});
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { if (d.querySelectorAll("tr").length < 60) { d.open = true; } }));
