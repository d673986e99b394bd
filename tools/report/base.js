"use strict";
/* base.js - the data, elements, numbers, controls and tables that all pictures use. Text out of the
   data only ever becomes text nodes. */
const data = JSON.parse(document.getElementById("data").textContent);
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const dashes = ["", "6 3", "2 3", "8 3 2 3", "4 2", "1 2"];
const redraws = [];

function byId(id) { return document.getElementById(id); }

function element(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) { e.setAttribute(name, value); }
  }
  e.append(...children);
  return e;
}

function shape(tag, attributes, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes || {})) { e.setAttribute(name, value); }
  e.append(...children);
  return e;
}

/* control characters and those that turn the direction of writing, by their numbers */
function visible(text) {
  return String(text).replace(/\n/g, "\u23ce").replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

function isNumber(x) { return typeof x === "number" && Number.isFinite(x); }

function number(x, digits = 3) {
  if (!isNumber(x)) { return "\u2013"; }
  if (x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e7)) { return x.toExponential(digits - 1); }
  return Number(x.toPrecision(Math.max(digits, Math.ceil(Math.log10(Math.abs(x) + 1))))).toString();
}

function bytes(x) {
  if (!isNumber(x)) { return "\u2013"; }
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let u = 0;
  for (; x >= 1024 && u < 4; u++) { x /= 1024; }
  return number(x, 4) + " " + units[u];
}

function unique(list) { return Array.from(new Set(list)); }

function shortName(path) { return visible(path.replace(/\/+$/, "").split("/").pop() || path); }

/* ---- controls: each calls change() and shows its value ---- */

function slider(box, id, label, min, max, value, change, show) {
  const output = element("output", { for: id });
  const input = element("input", { type: "range", id, min, max, value, step: 1 });
  const update = () => { output.textContent = (show || String)(Number(input.value)); };
  input.addEventListener("input", () => { update(); change(); });
  box.append(element("label", { for: id }, label, input, output));
  update();
  return {
    get: () => Number(input.value),
    set: (x, most) => { if (most !== undefined) { input.max = most; } input.value = x; update(); },
  };
}

function choice(box, id, label, names, change) {
  const select = element("select", { id });
  names.forEach((name, i) => select.append(element("option", { value: i }, name)));
  select.addEventListener("change", change);
  box.append(element("label", { for: id }, label, select));
  return { get: () => Number(select.value), set: (i) => { select.value = i; } };
}

function check(box, id, label, change) {
  const input = element("input", { type: "checkbox", id });
  input.addEventListener("change", change);
  box.append(element("label", { for: id, class: "check" }, input, label));
  return { get: () => input.checked };
}

/* ---- tables ---- */

function table(box, heads, rows, caption) {
  const open = box.querySelector("details") && box.querySelector("details").open;
  const head = element("tr", {}, ...heads.map((h) => element("th", { scope: "col" }, h)));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell) =>
    element("td", typeof cell === "string" ? { class: "text" } : {},
      typeof cell === "number" || cell === null ? number(cell, 5) : cell))));
  box.replaceChildren(element("details", open ? { open: "" } : {},
    element("summary", {}, caption || "The numbers"),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "table" },
      element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)))));
}

function empty(id, what) {
  byId(id).replaceChildren(element("p", { class: "empty" }, what));
}

/* draw now, and whenever the page's width or its colours change */
function keepDrawn(draw) {
  redraws.push(draw);
  draw();
}
