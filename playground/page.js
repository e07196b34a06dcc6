"use strict";
// The page: takes drawings, runs the networks (network.js) and shows their outputs.

const $ = (id) => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const CARD_NEIGHBOURS = 5, NEIGHBOURS = 10, PLACED_BY = 3, STRIP = 9, REACH = 3; // deviations along a principal axis
let facts, pixels, models, decoding; // decoding: the model with a decoder, or undefined
let current; // {image, set, index, truth}: set is train, test or "" for a drawing; truth is a class or undefined
let ends, strokes = [], drawing = false, history = [];

// ------------------------------------------------------------------------------------------- images and numbers

const byteSigned = (bytes) => new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
const imageSize = () => facts.shape.reduce((a, b) => a * b);
const imageOf = (set, i) => Float32Array.from(
  facts[set].images.subarray(i * imageSize(), (i + 1) * imageSize()), (value) => value / 255);
const indices = (count) => Array.from({length: count}, (_, i) => i);
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const name = (label) => facts.classes[label];
const mix = (a, b, t) => a.map((value, i) => value * (1 - t) + b[i] * t);

function distance(a, b) {
  return Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0));
}

function softmax(logits) {
  const most = Math.max(...logits), powers = Array.from(logits, (value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((value) => value / sum);
}

// The rows of largest cosine with x, without the row `except`
function nearest(x, {rows, lengths}, count, except) {
  const cosine = multiply(rows, lengths.length, x, 1).map((dot, i) => i === except ? -Infinity : dot / lengths[i]);
  return indices(cosine.length).sort((a, b) => cosine[b] - cosine[a]).slice(0, count);
}

function bank(bytes, count) {
  const rows = Float32Array.from(bytes), size = rows.length / count; // one type of array keeps multiply() fast
  return {rows, lengths: Float32Array.from(indices(count),
    (i) => Math.hypot(...rows.subarray(i * size, (i + 1) * size)) || 1)};
}

function answer(model, image) {
  const z = run(model.encoder, image, facts.shape), shares = softmax(run(model.classifier, z));
  return {z, shares, label: shares.indexOf(Math.max(...shares))};
}

// ------------------------------------------------------------------------------------------- from strokes to an image

// As in MNIST: scale the longer side to the box, then move the centre of mass to the centre; strokes have one width
function normalised() {
  const [height, width] = facts.shape, xs = strokes.flat().map(([x]) => x), ys = strokes.flat().map(([, y]) => y);
  const low = [Math.min(...xs), Math.min(...ys)], high = [Math.max(...xs), Math.max(...ys)];
  const scale = (facts.box - facts.pen) / Math.max(high[0] - low[0], high[1] - low[1], 0.1); // a dot stays small
  const centre = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
  const render = (dx, dy) => rendered(scale, width / 2 - scale * centre[0] + dx, height / 2 - scale * centre[1] + dy);
  const image = render(0, 0);
  let mass = 0, x = 0, y = 0;
  image.forEach((value, i) => {
    mass += value;
    x += value * (i % width + 0.5);
    y += value * (Math.floor(i / width) + 0.5);
  });
  const shift = (offset, side, extent) => { // as far as the whole digit stays in the picture
    const room = Math.max(0, (side - scale * extent - facts.pen) / 2);
    return Math.max(-room, Math.min(room, offset));
  };
  return render(shift(width / 2 - x / mass, width, high[0] - low[0]),
    shift(height / 2 - y / mass, height, high[1] - low[1]));
}

// The strokes, scaled and moved, as an image: drawn on a fine canvas, then averaged over each pixel
function rendered(scale, left, top) {
  const [height, width] = facts.shape, fine = 8, canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [fine * width, fine * height];
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.setTransform(fine * scale, 0, 0, fine * scale, fine * left, fine * top);
  trace(context, facts.pen / scale);
  const {data} = context.getImageData(0, 0, canvas.width, canvas.height), image = new Float32Array(height * width);
  for (let i = 3; i < data.length; i += 4) {
    const pixel = (i - 3) / 4, x = pixel % canvas.width, y = Math.floor(pixel / canvas.width);
    image[Math.floor(y / fine) * width + Math.floor(x / fine)] += data[i] / 255 / fine ** 2;
  }
  return image;
}

function trace(context, width) {
  Object.assign(context, {lineWidth: width, lineCap: "round", lineJoin: "round", strokeStyle: "#fff"});
  for (const points of strokes) {
    context.beginPath();
    for (const [x, y] of [points[0], ...points]) context.lineTo(x, y); // the first twice, so that a dot is a line
    context.stroke();
  }
}

// --------------------------------------------------------------------------------------------------- painting

function paint(canvas, image) {
  const [height, width] = facts.shape;
  if (canvas.width !== width) [canvas.width, canvas.height] = [width, height];
  const grey = new ImageData(width, height);
  image.forEach((value, i) => grey.data.set([255 * value, 255 * value, 255 * value, 255], 4 * i));
  canvas.getContext("2d").putImageData(grey, 0, 0);
}

function paintPad() {
  const pad = $("pad"), context = pad.getContext("2d"), side = pad.width;
  context.setTransform(1, 0, 0, 1, 0, 0);
  Object.assign(context, {fillStyle: "#000", imageSmoothingEnabled: false});
  context.fillRect(0, 0, side, side);
  if (current?.set && !strokes.length) {
    context.globalAlpha = 0.45;
    context.drawImage($("input"), 0, 0, side, side);
    context.globalAlpha = 1;
  }
  if (!strokes.length) {
    Object.assign(context, {fillStyle: "#fff", font: `600 ${side / 16}px system-ui, sans-serif`, textAlign: "center"});
    context.fillText("Draw a digit here", side / 2, side * 0.95);
  }
  context.setTransform(side, 0, 0, side, 0, 0);
  trace(context, facts.pen / facts.shape[0]);
}

// The dots of a map and the names of its classes, which change with the theme only
function paintDots(model, canvas) {
  const side = canvas.width, {points} = model, xs = [], ys = [];
  points.forEach((value, i) => (i % 2 ? ys : xs).push(value));
  const range = (values) => [Math.min(...values), Math.max(...values)];
  const [left, right] = range(xs), [low, high] = range(ys);
  const scale = 0.92 * side / Math.max(right - left, high - low, 1e-6);
  model.at = (i) => [side / 2 + (xs[i] - (left + right) / 2) * scale, side / 2 - (ys[i] - (low + high) / 2) * scale];
  const dots = model.dots = document.createElement("canvas"), context = dots.getContext("2d");
  [dots.width, dots.height] = [side, side];
  xs.forEach((_, i) => {
    context.fillStyle = facts.colours[facts.labels[i] % facts.colours.length];
    const [x, y] = model.at(i);
    context.beginPath();
    context.arc(x, y, 4, 0, 7);
    context.fill();
  });
  const {color, backgroundColor} = getComputedStyle(document.body);
  Object.assign(context, {font: "bold 34px system-ui, sans-serif", textAlign: "center", textBaseline: "middle",
    lineWidth: 8, strokeStyle: backgroundColor, fillStyle: color, lineJoin: "round"});
  facts.classes.forEach((text, label) => {
    const own = indices(xs.length).filter((i) => facts.labels[i] === label).map(model.at);
    const middle = (axis) => own.map((place) => place[axis]).sort((a, b) => a - b)[own.length >> 1];
    if (own.length) for (const draw of ["strokeText", "fillText"]) context[draw](text, middle(0), middle(1));
  });
}

function paintMap(model, canvas, z) {
  const near = nearest(z, model.test, PLACED_BY), context = canvas.getContext("2d");
  const places = current.set === "test" ? [facts.test.places[current.index]] : near.map((i) => facts.test.places[i]);
  const [x, y] = [0, 1].map((axis) => places.reduce((sum, i) => sum + model.at(i)[axis], 0) / places.length);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(model.dots, 0, 0);
  const {color, backgroundColor} = getComputedStyle(document.body);
  for (const [width, colour] of [[14, backgroundColor], [6, color]]) {
    Object.assign(context, {lineWidth: width, strokeStyle: colour});
    context.beginPath();
    context.arc(x, y, 17, 0, 7);
    context.stroke();
  }
  canvas.setAttribute("aria-label", `Map of test latents. The image's nearest test images are of class ${
    near.map((i) => name(facts.test.labels[i])).join(", ")}.`);
}

function paintLatent(canvas, z, {mean, deviation}) {
  [canvas.width, canvas.height] = [32, Math.ceil(z.length / 32)];
  const cells = new ImageData(canvas.width, canvas.height);
  z.forEach((value, i) => {
    const size = deviation[i] > 0 ? (value - mean[i]) / deviation[i] / 2.5 : 0;
    cells.data.set([...(size > 0 ? [217, 102, 11] : [47, 127, 209]), 255 * Math.min(1, Math.abs(size))], 4 * i);
  });
  canvas.getContext("2d").putImageData(cells, 0, 0);
}

const mark = (label) => current.truth === undefined ? "" : label === current.truth ? "right" : "wrong";

// Buttons with images of a set.  Each leads to its image.
function paintButtons(parent, set, chosen) {
  while (parent.children.length < chosen.length) {
    const button = parent.appendChild(document.createElement("button"));
    button.type = "button";
    button.append(document.createElement("canvas"), document.createElement("small"));
    button.onclick = () => visit(button.set, Number(button.value));
  }
  all("button", parent).forEach((button, i) => {
    const label = facts[set].labels[chosen[i]], verdict = set === "train" ? mark(label) : "";
    Object.assign(button, {value: chosen[i], set, className: verdict});
    button.lastChild.textContent = name(label) + {right: " ✓", wrong: " ✗", "": ""}[verdict];
    button.setAttribute("aria-label", `${set === "train" ? "Training" : "Test"} image of class ${name(label)}${
      verdict && ", "}${verdict}`);
    paint(button.firstChild, imageOf(set, chosen[i]));
  });
}

function matches(near) {
  return `${near.filter((i) => facts.train.labels[i] === current.truth).length} of ${near.length} right`;
}

// ------------------------------------------------------------------------------------------------- the sections

// Everything that depends on the current image.  settled: false while a stroke is being drawn.
function show(settled = true) {
  const began = performance.now();
  paint($("input"), current.image);
  $("truth").value = current.truth ?? "";
  $("truth").disabled = Boolean(current.set);
  const itself = current.set === "train" ? current.index : -1, said = [];
  models.forEach((model, m) => {
    const {z, shares, label} = model.answer = answer(model, current.image);
    const card = document.querySelector(`[data-model="${m}"]`), verdict = mark(label);
    const near = model.near = nearest(z, model.train, NEIGHBOURS, itself);
    card.querySelector(".answer").textContent = `${name(label)}, ${percent(shares[label])}${
      {right: " ✓ right", wrong: " ✗ wrong", "": ""}[verdict]}`;
    card.querySelector(".answer").className = `answer ${verdict}`;
    all(".bars li", card).forEach((item, i) => {
      item.style.setProperty("--share", shares[i]);
      item.classList.toggle("most", i === label);
      item.lastChild.textContent = Math.round(100 * shares[i]);
    });
    paintLatent(card.querySelector(".latent"), z, model);
    paintMap(model, card.querySelector(".map"), z);
    paintButtons(card.querySelector(".near"), "train", near.slice(0, CARD_NEIGHBOURS));
    said.push(`${model.title}: ${name(label)}, ${percent(shares[label])}.`);
  });
  if (decoding) paint($("reconstruction"), run(decoding.decoder, decoding.answer.z));
  $("speed").textContent = `The last image took ${Math.round(performance.now() - began)} ms on this device.`;
  if (!settled) return;
  const origin = {test: `Test image ${current.index + 1}`, train: "Training image", "": "Drawing"}[current.set];
  $("said").textContent = `${origin}${current.set ? `, class ${name(current.truth)}` : ""}. ${said.join(" ")}`;
  if (current.set === "test") $("number").value = current.index + 1;
  paint($("here"), current.image);
  $("back").disabled = !history.length;
  const near = [nearest(current.image, pixels, NEIGHBOURS, itself), ...models.map((model) => model.near)];
  all("#rows > div").forEach((row, i) => {
    paintButtons(row.querySelector(".near"), "train", near[i]);
    row.querySelector("small").textContent = current.truth === undefined ? "" : matches(near[i]);
  });
  paintPad();
  change();
}

function visit(set, index, remember = true) {
  if (remember) history.push({...current, strokes});
  strokes = [];
  current = {image: imageOf(set, index), set, index, truth: facts[set].labels[index]};
  show();
}

function back() {
  const {strokes: before, ...image} = history.pop();
  strokes = before;
  current = image;
  show();
}

function morph() {
  const axis = $("path").value, z = ends.map(({image}) => run(decoding.encoder, image, facts.shape));
  const decode = (latent) => run(decoding.decoder, latent);
  let latents = z, images = ends.map(({image}) => image);
  if (axis !== "") {
    const size = z[0].length, vector = decoding.axes.vectors.subarray(axis * size, (Number(axis) + 1) * size);
    latents = [-REACH, REACH].map((far) => z[0].map((value, i) => value + far * vector[i]));
    images = latents.map(decode);
  }
  [(t) => decode(mix(...latents, t)), (t) => mix(...images, t)].forEach((path, side) => {
    indices(STRIP).forEach((i) => paint($(`strip-${side}`).children[i], path(i / (STRIP - 1))));
    const image = path($("step").value / 100);
    paint($(`morph-${side}`), image);
    $(`votes-${side}`).replaceChildren(...models.map((model) => {
      const item = document.createElement("li"), {label, shares} = answer(model, image);
      item.textContent = `${model.title}: ${name(label)}, ${percent(shares[label])}`;
      return item;
    }));
  });
}

function change() {
  const value = (id) => Number($(id).value);
  const image = changed(current.image, value("turn"), value("right"), value("down"), value("blur"), value("noise"));
  paint($("changed"), image);
  const still = image.every((value, i) => value === current.image[i]);
  const moved = [[distance(image, current.image) / facts.pixels.distance, ""], ...models.map((model) => {
    const {z, label, shares} = still ? model.answer : answer(model, image);
    return [distance(z, model.answer.z) / model.distance, `${name(label)}, ${percent(shares[label])}`];
  })];
  all(".moves li").forEach((item, i) => {
    item.style.setProperty("--share", Math.min(1, moved[i][0] / 2));
    item.querySelector("b").textContent = moved[i][0].toFixed(2);
    item.lastElementChild.textContent = moved[i][1];
  });
}

// Rotated about the centre, shifted (bilinear), blurred by a Gaussian, with the same noise each time
function changed(image, degrees, right, down, blur, noise) {
  const [height, width] = facts.shape, angle = degrees * Math.PI / 180;
  const at = (source, x, y) => x < 0 || y < 0 || x >= width || y >= height ? 0 : source[y * width + x];
  let out = image.map((_, i) => {
    const x = i % width - (width - 1) / 2 - right, y = Math.floor(i / width) - (height - 1) / 2 - down;
    const u = Math.cos(angle) * x + Math.sin(angle) * y + (width - 1) / 2;
    const v = Math.cos(angle) * y - Math.sin(angle) * x + (height - 1) / 2;
    const [x0, y0] = [Math.floor(u), Math.floor(v)], [a, b] = [u - x0, v - y0];
    return (1 - b) * ((1 - a) * at(image, x0, y0) + a * at(image, x0 + 1, y0))
      + b * ((1 - a) * at(image, x0, y0 + 1) + a * at(image, x0 + 1, y0 + 1));
  });
  if (blur) {
    const reach = Math.ceil(3 * blur);
    const taps = indices(2 * reach + 1).map((i) => Math.exp(-(((i - reach) / blur) ** 2) / 2));
    const sum = taps.reduce((a, b) => a + b);
    for (const [dx, dy] of [[1, 0], [0, 1]]) {
      const before = out;
      out = before.map((_, i) => taps.reduce((total, tap, k) => total + tap / sum * at(
        before, i % width + dx * (k - reach), Math.floor(i / width) + dy * (k - reach)), 0));
    }
  }
  let seed = 1;
  const uniform = () => (seed = seed * 48271 % 2147483647) / 2147483647; // Park and Miller 1988
  return out.map((value) => Math.min(1, Math.max(0,
    value + noise * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())))); // Box and Muller 1958
}

// ---------------------------------------------------------------------------------------------------- controls

function drawn(settled) {
  if (!strokes.length) return history.length ? back() : paintPad(); // to the image before the drawing
  const truth = $("truth").disabled || $("truth").value === "" ? undefined : Number($("truth").value);
  current = {image: normalised(), set: "", truth};
  return show(settled);
}

function connectPad() {
  const pad = $("pad");
  let last = 0, took = 0;
  const place = (event) => {
    const box = pad.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  pad.onpointerdown = (event) => {
    if (event.button) return;
    event.preventDefault();
    if (!strokes.length && current.set) history.push({...current, strokes});
    pad.setPointerCapture(event.pointerId);
    drawing = true;
    strokes = [...strokes, [place(event)]]; // a new list, since history keeps the old one
    paintPad();
  };
  pad.onpointermove = (event) => {
    if (!drawing) return;
    const parts = event.getCoalescedEvents?.() ?? []; // some browsers have none, or return an empty list
    strokes.at(-1).push(...(parts.length ? parts : [event]).map(place));
    paintPad();
    const now = performance.now();
    if (now - last < 3 * took) return; // a slow device draws first
    drawn(false);
    [last, took] = [performance.now(), performance.now() - now];
  };
  pad.onpointerup = pad.onpointercancel = () => {
    if (drawing) drawn(true);
    drawing = false;
  };
}

// A slider shows its value, and its work is done once per frame
function connectSlider(id, work) {
  let waiting = false;
  const slider = $(id);
  slider.oninput = () => {
    $(`${id}-value`).textContent = slider.value;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
  $(`${id}-value`).textContent = slider.value;
}

function connect() {
  const count = facts.test.numbers.length;
  connectPad();
  const keep = (kept) => {
    if (!strokes.length) return;
    strokes = kept;
    drawn(true);
  };
  $("undo").onclick = () => keep(strokes.slice(0, -1));
  $("clear").onclick = () => keep([]);
  $("truth").onchange = () => {
    current.truth = $("truth").value === "" ? undefined : Number($("truth").value);
    show();
  };
  $("number").onchange = () => visit("test", Math.min(count, Math.max(1, Math.round($("number").value) || 1)) - 1);
  $("random").onclick = () => visit("test", Math.floor(Math.random() * count));
  $("mistaken").onclick = () => {
    const wrong = indices(count).filter((i) => models.some(({predicted}) => predicted[i] !== facts.test.labels[i]));
    const from = current.set === "test" ? current.index : -1;
    if (wrong.length) visit("test", wrong.find((i) => i > from) ?? wrong[0]);
  };
  $("back").onclick = back;
  $("reset").onclick = () => {
    for (const id of ["turn", "right", "down", "blur", "noise"]) $(`${id}-value`).textContent = $(id).value = 0;
    change();
  };
  for (const id of ["turn", "right", "down", "blur", "noise"]) connectSlider(id, change);
  all(".map").forEach((canvas, m) => canvas.onclick = (event) => {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    const far = facts.test.places.map((i) => Math.hypot(models[m].at(i)[0] - x, models[m].at(i)[1] - y));
    visit("test", far.indexOf(Math.min(...far)));
  });
  if (!decoding) return;
  for (const side of [0, 1]) {
    $(`strip-${side}`).append(...indices(STRIP).map(() => document.createElement("canvas")));
    $(`set-${side}`).onclick = () => {
      ends[side] = current;
      morph();
    };
  }
  decoding.axes.shares.forEach((share, i) => $("path").add(
    new Option(`principal axis ${i + 1} through the start, ${percent(share)} of variance`, i)));
  $("path").onchange = morph;
  connectSlider("step", morph);
}

async function start() {
  facts = JSON.parse($("facts").textContent);
  const get = await unpack($("data").textContent, facts);
  $("data").remove();
  for (const set of ["train", "test"]) for (const key of ["images", "labels"]) facts[set][key] = get(facts[set][key]);
  facts.labels = get(facts.labels);
  pixels = bank(facts.train.images, facts.train.count);
  models = facts.models.map((model) => ({
    ...model, encoder: filled(model.encoder, get), classifier: filled(model.classifier, get),
    decoder: model.decoder && filled(model.decoder, get),
    axes: model.axes && {...model.axes, vectors: get(model.axes.vectors)},
    train: bank(byteSigned(get(model.train)), facts.train.count),
    test: bank(byteSigned(get(model.test)), facts.test.numbers.length),
    ...Object.fromEntries(["points", "predicted", "mean", "deviation"].map((key) => [key, get(model[key])]))}));
  decoding = models.find((model) => model.decoder);
  $("main").hidden = false;
  const repaint = () => all(".map").forEach((canvas, m) => paintDots(models[m], canvas));
  repaint();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    repaint();
    show();
  });
  connect();
  const examples = facts.classes.map((_, label) => facts.test.labels.indexOf(label)).filter((i) => i >= 0);
  paintButtons($("examples"), "test", examples);
  ends = [3, 8].map((i) => ({image: imageOf("test", examples[i % examples.length])}));
  visit("test", examples[0], false);
  if (decoding) morph();
}

globalThis.playground = start().catch((error) => {
  $("trouble").textContent = `This browser cannot run the page: ${error.message}. It needs a version of 2023 or later.`;
  $("trouble").hidden = false;
  throw error;
});
