"use strict";
// What can be seen is drawn, one plot after another; what is folded away is drawn when it is unfolded.
const OPTIONS = {
  mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false, tooltip: { disableDefaultStyle: true },
  config: JSON.parse(document.getElementById("config").textContent),
};
let drawn = Promise.resolve();

function dataOf(figure) {
  return JSON.parse(figure.querySelector("script").textContent);
}

// Rows beside the names of their fields become the objects that Vega-Lite reads.
function withValues(part) {
  if (!part.data) return part;
  const { fields, rows } = part.data;
  return { ...part, data: { values: rows.map(row => Object.fromEntries(fields.map((field, index) => [field, row[index]]))) } };
}

async function draw(figure) {
  const place = figure.querySelector(".drawing");
  try {
    const { spec } = dataOf(figure);
    const inside = place.appendChild(document.createElement("div"));
    await vegaEmbed(inside, { ...withValues(spec), layer: spec.layer.map(withValues) }, OPTIONS);
    inside.setAttribute("aria-hidden", "true"); // the place around it says in words what is drawn
    figure.dataset.state = "drawn";
  } catch (error) {
    figure.dataset.state = "failed";
    place.textContent = "This could not be drawn; its numbers are in the table below.";
    console.error(error);
  }
}

function drawVisible() {
  for (const figure of document.querySelectorAll("details[open] figure:not([data-state]), section > figure:not([data-state])")) {
    if (!figure.parentElement.closest("details:not([open])")) {
      figure.dataset.state = "waiting";
      drawn = drawn.then(() => draw(figure));
    }
  }
  return drawn;
}

function cell(kind, text, scope) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (scope) made.scope = scope;
  return made;
}

function tabulate(numbers) {
  const { caption, columns, rows } = dataOf(numbers.closest("figure")).table;
  const box = document.createElement("div"), table = document.createElement("table");
  box.className = "scroll";
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", caption);
  table.createCaption().textContent = caption;
  table.createTHead().insertRow().append(...columns.map(column => cell("th", column, "col")));
  const body = table.createTBody();
  for (const [first, ...others] of rows) {
    body.insertRow().append(cell("th", first, "row"), ...others.map(text => cell("td", text)));
  }
  box.append(table);
  numbers.append(box);
}

// Whatever scrolls must be reachable by keyboard; whatever does not would only be in the way.
function reachScrolling() {
  const boxes = [...document.querySelectorAll(".scroll")].filter(box => !box.closest("details:not([open])"));
  const wide = boxes.map(box => box.scrollWidth > box.clientWidth);
  boxes.forEach((box, index) => (wide[index] ? (box.tabIndex = 0) : box.removeAttribute("tabindex")));
}

function showUnfolded() {
  for (const numbers of document.querySelectorAll(".numbers[open]:not(:has(table))")) tabulate(numbers);
  reachScrolling();
  return drawVisible();
}

function unfold(selector) {
  for (const details of document.querySelectorAll(selector)) details.open = true;
  return showUnfolded();
}

// A link to something that is folded away unfolds it.
function unfoldLinked() {
  const linked = document.getElementById(location.hash.slice(1));
  for (let outer = linked; outer; outer = outer.parentElement) if (outer.tagName === "DETAILS") outer.open = true;
  if (linked) linked.scrollIntoView();
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
document.getElementById("unfold").addEventListener("click", () => unfold(".entry"));
// Of many that are unfolded at once, each says so: one answer to all of them is enough.
let awaited = 0;
document.addEventListener("toggle", () => {
  cancelAnimationFrame(awaited);
  awaited = requestAnimationFrame(showUnfolded);
}, true);
addEventListener("hashchange", unfoldLinked);
addEventListener("resize", reachScrolling);
unfoldLinked();
showUnfolded();
