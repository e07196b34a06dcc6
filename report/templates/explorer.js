// What the controls of the interactive explorer do.  report/explorer.py makes them, the map, with Bokeh, and the facts.
// Text of records is only ever set as textContent.
"use strict";
const explorer = (() => {
  const all = {}; // section's id -> {facts, models, controls, section}
  let loading; // the promise of load()

  // Each explorer is embedded when it is about to come into view, since Bokeh takes the better part of a second.
  function start() {
    const near = new IntersectionObserver((found) => found.filter((one) => one.isIntersecting).forEach((one) => {
      near.unobserve(one.target);
      open(one.target);
    }), {rootMargin: "400px"});
    document.querySelectorAll(".explorer").forEach((section) => near.observe(section));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Object.values(all).filter(Boolean).forEach(ink));
  }

  // The text of an element that holds it as base64 of gzip.
  function unpack(element) {
    const bytes = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt());
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  // Run Bokeh's code.
  async function load() {
    const script = document.createElement("script");
    script.textContent = await unpack(document.getElementById("bokeh-code"));
    document.head.append(script);
  }

  // Embed an explorer from the JSON in its own section.
  async function open(section) {
    if (section.id in all) return;
    all[section.id] = null; // under way
    await (loading ??= load());
    const facts = JSON.parse(await unpack(section.querySelector(".explorer-facts")));
    section.querySelector(".explorer-body").hidden = false;
    const [{model: plot}] = await Bokeh.embed.embed_item(facts.item), models = {plot, ...plot.tags[0]};
    const controls = Object.fromEntries(Array.from(section.querySelectorAll("[name]"), (input) => [input.name, input]));
    const one = all[section.id] = {facts, models, controls, section};
    const touch = matchMedia("(pointer: coarse)").matches;
    if (touch) models.pan.active = false; // a finger scrolls the page, until the tool is chosen
    controls.run.onchange = controls.map.onchange = () => change(one);
    controls.colour.onchange = controls.only.onchange = () => redraw(one);
    controls.number.onchange = () => choose(one);
    controls.before.onclick = () => walk(one, -1);
    controls.next.onclick = () => walk(one, 1);
    models.drawn.selected.properties.indices.change.connect(() => tap(one));
    ink(one);
    redraw(one);
    document.documentElement.dataset.explorers = Object.values(all).filter(Boolean).length;
  }

  // Rings have the colour of the page's text, in the light and in the dark theme.
  function ink({models, section}) {
    models.ring.line_color = getComputedStyle(section).color;
  }

  // Another run or map: all of it is shown.
  function change(one) {
    one.models.plot.reset.emit();
    redraw(one);
  }

  // Fill the map from the chosen run, map and colours.
  function redraw(one) {
    const {facts, models, controls} = one, {data} = models.store;
    const [run, map, colour, only] = ["run", "map", "colour", "only"].map((name) => controls[name].value);
    const place = map.startsWith("pixel") ? map : `${run} ${map}`, guess = data[`${run} guess`];
    const columns = {x: data[`${place} x`], y: data[`${place} y`]};
    const each = (column) => Array.from({length: facts.count}, (_, i) => column(i));
    const wrong = (i) => data.label[i] !== guess[i];
    const inside = (i) => only === "all" || data.label[i] === Number(only);
    columns.truth = each((i) => facts.classes[data.label[i]]);
    columns.guess = each((i) => facts.classes[guess[i]]);
    columns.number = each((i) => i + 1);
    columns.left = each((i) => tile(facts, i)[0]);
    columns.top = each((i) => tile(facts, i)[1]);
    columns.colour = each((i) => colour === "wrong" ? (wrong(i) ? facts.wrong : facts.right)
      : facts.colours[colour === "guess" ? guess[i] : data.label[i]]);
    columns.alpha = each((i) => !inside(i) ? 0.08 : colour === "wrong" && !wrong(i) ? 0.5 : 0.85);
    columns.size = each((i) => colour === "wrong" && wrong(i) ? 8 : 6);
    models.drawn.data = columns;
    legend(one, colour);
    choose(one);
  }

  // The colours' meaning, below the map.
  function legend({facts, section}, colour) {
    const entries = colour === "wrong" ? [["predicted right", facts.right], ["predicted wrong", facts.wrong]]
      : facts.legend ? facts.classes.map((name, i) => [name, facts.colours[i]]) : [];
    section.querySelector(".explorer-legend").replaceChildren(...entries.map(([name, value]) => {
      const item = document.createElement("li");
      item.textContent = name;
      item.style.setProperty("--dot", value);
      return item;
    }));
  }

  // Show the image whose number is entered, and its neighbours: as rings, as pictures and in words.
  function choose(one) {
    const {facts, models, controls, section} = one, {data} = models.store, run = controls.run.value;
    if (!controls.number.value) return;
    const i = Math.min(facts.count, Math.max(1, Math.round(controls.number.value))) - 1;
    controls.number.value = i + 1;
    const table = data[`${run} near`], width = table.length / facts.count;
    const near = Array.from(table.slice(i * width, (i + 1) * width));
    const points = [i, ...near], {x, y} = models.drawn.data;
    const sizes = points.map((j) => j === i ? 18 : 11);
    models.rings.data = {x: points.map((j) => x[j]), y: points.map((j) => y[j]), size: sizes};
    const truth = facts.classes[data.label[i]], guess = data[`${run} guess`][i];
    const verdict = data.label[i] === guess ? "right" : "wrong";
    section.querySelector(".explorer-said").textContent =
      `Image ${i + 1} of ${facts.count} (number ${data.index[i]} of the test set, counted from 0). ` +
      `True class: ${truth}. Predicted: ${facts.classes[guess]}, ${verdict}.`;
    const alike = near.filter((j) => data.label[j] === data.label[i]).length;
    section.querySelector(".explorer-near-title").textContent =
      `Nearest by cosine of the latents, nearest first; ${alike} of ${near.length} are of its true class:`;
    picture(section.querySelector(".explorer-image"), facts, i);
    neighbours(one, near);
  }

  // Choose an image by its place.
  function go(one, i) {
    one.controls.number.value = i + 1;
    choose(one);
  }

  // A button for each neighbour; the buttons stay, so that the keyboard's focus does.
  function neighbours(one, near) {
    const {facts, models, section} = one, list = section.querySelector(".explorer-near");
    while (list.children.length < near.length) {
      const item = document.createElement("li"), button = document.createElement("button");
      button.append(document.createElement("span"), document.createElement("small"));
      button.type = "button";
      button.addEventListener("click", () => go(one, button.value - 1));
      item.append(button);
      list.append(item);
    }
    Array.from(list.children).forEach((item, k) => {
      item.hidden = k >= near.length;
      if (item.hidden) return;
      const button = item.firstChild, [image, label] = button.children;
      button.value = near[k] + 1;
      label.textContent = facts.classes[models.store.data.label[near[k]]];
      button.ariaLabel = `Image ${near[k] + 1}, class ${label.textContent}`;
      picture(image, facts, near[k]);
    });
  }

  // The place of an image on the sheet, as percentages of a background's position.
  function tile({columns, lines}, i) {
    return [100 * (i % columns) / Math.max(1, columns - 1), 100 * Math.floor(i / columns) / Math.max(1, lines - 1)];
  }

  // One image of the sheet, as an element's background.
  function picture(element, facts, i) {
    element.hidden = !facts.images;
    element.style.backgroundPosition = tile(facts, i).map((share) => `${share}%`).join(" ");
  }

  // A point was clicked or touched.
  function tap(one) {
    const {models} = one, [i] = models.drawn.selected.indices;
    if (i === undefined) return;
    models.wheel.active = true; // before, the wheel scrolls the page
    go(one, i);
  }

  // Go to the next (step 1) or previous (step -1) image whose class is predicted wrong, among the classes shown.
  function walk(one, step) {
    const {facts, models, controls, section} = one, {data} = models.store;
    const guess = data[`${controls.run.value} guess`], only = controls.only.value;
    for (let k = 1; k <= facts.count; k++) {
      const i = (controls.number.value - 1 + step * k + 2 * facts.count) % facts.count;
      if (data.label[i] !== guess[i] && (only === "all" || data.label[i] === Number(only))) return go(one, i);
    }
    section.querySelector(".explorer-said").textContent = "None of the images shown is predicted wrong.";
  }

  start();
  return {open, all};
})();
