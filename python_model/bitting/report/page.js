"use strict";
// What can be seen is drawn, one plot after another; what is folded away is drawn when it is unfolded.
const OPTIONS = {
  mode: "vega-lite", renderer: "svg", ast: true, actions: false, defaultStyle: false, tooltip: { disableDefaultStyle: true },
};
let drawn = Promise.resolve();

async function draw(figure) {
  const place = figure.querySelector(".drawing");
  try {
    const inside = place.appendChild(document.createElement("div"));
    await vegaEmbed(inside, JSON.parse(figure.querySelector("script").textContent), OPTIONS);
    inside.setAttribute("aria-hidden", "true"); // the place around it says in words what is drawn
    figure.dataset.state = "drawn";
  } catch (error) {
    figure.dataset.state = "failed";
    place.textContent = "This could not be drawn; its numbers are in the table below.";
    console.error(error);
  }
}

function drawVisible() {
  for (const figure of document.querySelectorAll("figure:not([data-state])")) {
    if (!figure.parentElement.closest("details:not([open])")) {
      figure.dataset.state = "waiting";
      drawn = drawn.then(() => draw(figure));
    }
  }
  return drawn;
}

// Whatever scrolls must be reachable by keyboard; whatever does not would only be in the way.
function reachScrolling() {
  for (const box of document.querySelectorAll(".scroll")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

function unfold(selector) {
  for (const details of document.querySelectorAll(selector)) details.open = true;
  reachScrolling();
  return drawVisible();
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
document.addEventListener("toggle", () => { reachScrolling(); drawVisible(); }, true);
addEventListener("hashchange", unfoldLinked);
addEventListener("resize", reachScrolling);
unfoldLinked();
reachScrolling();
drawVisible();
