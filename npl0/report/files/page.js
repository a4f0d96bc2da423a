"use strict";

// Everything on the page is made from the data in it: texts and tables at once, the film of each run as its slider moves.

const SVG = "http://www.w3.org/2000/svg";
const FRAME = 450; // milliseconds that a moment is shown while playing
const MOST_CLASSES = 20; // with more, the most frequent mistakes are listed in place of a matrix
const MOST_TILES = 12; // images that pruning lost, and as many that it won
const STAGES = { trained: "Training", pruned: "Pruning", retrained: "Retraining" };
const DATA = { mnist: "MNIST", cifar10: "CIFAR-10" };
const CHANGES = [["trained", "pruned", "Pruning"], ["trained", "retrained", "Pruning and retraining together"]];
// The captions of the figures, by the colours that these use; a text that depends on the run is a function of its result.
const COURSE = {
  accuracy: ["Accuracy", { blue: "in training", orange: "on the validation images", ink: ({ measured_on }) => `◆ on the ${measured_on} images` }],
  loss: ["Loss", { blue: "cross-entropy", orange: "penalty on open gates" }],
  weights: ["Weights", { blue: "kept", orange: "expected to be open, the sum of P(z > 0)" }],
  strengths: ["Strengths, step by step", { blue: "rate of the weights", orange: "of the gates", ink: "lambda" }],
};

// ------------------------------------------------------------------------------------------------ elements and texts

function add(parent, name, attributes = {}, text = "") {
  const inSvg = name === "svg" || parent.namespaceURI === SVG;
  const made = inSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return parent.appendChild(made);
}

function addRow(parent, cells) {
  const row = add(parent, "tr");
  for (const cell of cells) {
    if (typeof cell === "function") cell(add(row, "td", { class: "wide" }));
    else add(row, "td", row.children.length ? { class: "n" } : {}, cell ?? "");
  }
  return row;
}

// A bar of parts, each a share of the whole with the class of its colour.
function addBar(parent, shares) {
  const bar = add(parent, "span", { class: "bar" });
  return Object.entries(shares).map(([name, share]) => {
    const part = add(bar, "i", { class: name });
    part.style.width = `${100 * share}%`;
    return part;
  });
}

const grouped = (n) => n.toLocaleString("en");
const percent = (share, digits = 2) => `${(100 * share).toFixed(digits)}\u00a0%`;
const times = (size, kept) => (kept ? `${grouped(+(size / kept).toFixed(size / kept < 100 ? 1 : 0))}×` : "all pruned");
const sum = (values) => values.reduce((a, b) => a + b, 0);
const product = (values) => values.reduce((a, b) => a * b, 1);

function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)}\u00a0s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  if (minutes >= 60) return `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`;
  return `${minutes}\u00a0min ${Math.round(seconds) % 60}\u00a0s`;
}

// ---------------------------------------------------------------------------------------------------------- pictures

// A colour of the page as red, green and blue.
function colour(name) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return [1, 3, 5].map((at) => parseInt(context.fillStyle.slice(at, at + 2), 16));
}

// Undo data.pack: base64, deflate, and differences from moment to moment.
async function unpack(text, moments) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = bytes.length / moments;
  for (let i = size; i < bytes.length; i++) bytes[i] += bytes[i - size];
  return Array.from({ length: moments }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}

// Paint a canvas; `pixel(x, y)` returns red, green, blue and opacity, or nothing.
function paint(canvas, width, height, pixel) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const found = pixel(x, y);
      if (found) image.data.set(found, 4 * (y * width + x));
    }
  }
  context.putImageData(image, 0, 0);
}

// Paint pictures (k, channels, height, width) side by side; 128 is nothing, more is blue, less is orange.
function paintSigned(canvas, bytes, [k, channels, height, width]) {
  const across = Math.min(k, k > 24 ? 16 : 10);
  const inks = { 1: colour("blue"), "-1": colour("orange") };
  paint(canvas, across * (width + 1) - 1, Math.ceil(k / across) * (height + 1) - 1, (x, y) => {
    const tile = Math.floor(y / (height + 1)) * across + Math.floor(x / (width + 1));
    const [row, column] = [y % (height + 1), x % (width + 1)];
    if (row === height || column === width || tile >= k) return null;
    // The channels of a filter are added.
    let value = 0;
    for (let c = 0; c < channels; c++) value += bytes[((tile * channels + c) * height + row) * width + column] - 128;
    return value && [...inks[Math.sign(value)], Math.min(255, 50 + 1.6 * Math.abs(value))];
  });
}

const painters = []; // what is painted anew when the page turns light or dark
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => painters.forEach((paintAgain) => paintAgain()));

function keepPainted(painter) {
  painters.push(painter);
  painter();
}

// -------------------------------------------------------------------------------------------------------------- film

function labelOf({ name, epoch }, epochs) {
  if (name === "start") return "before training";
  if (name === "pruned") return "after pruning";
  return `${name === "retrain" ? "retraining, " : ""}epoch ${epoch} of ${epochs[name]}`;
}

// What a map of a layer shows.
function noteOf({ shape: [outputs, ...rest], rows, columns }) {
  const inputs = product(rest);
  const [tall, wide] = [Math.ceil(outputs / rows), Math.ceil(inputs / columns)];
  const point = tall * wide === 1 ? "A point is a weight" : `A point is ${tall} by ${wide} weights`;
  return `${point}; ${grouped(outputs)} rows of ${rest.length === 3 ? "filters" : "units"}, ${grouped(inputs)} columns of inputs.`;
}

class Film {
  constructor(section, data, epochs) {
    this.section = section;
    Object.assign(this, data);
    this.layers = data.layers.map(([name, shape], i) => {
      const [rows, columns] = data.grids[i];
      return { name: name.split(".")[0], shape, size: product(shape), rows, columns };
    });
    for (const moment of this.moments) moment.label = labelOf(moment, epochs);
    const unpacked = [this.cells, this.first.values].map((values) => unpack(values, this.moments.length));
    this.unpacked = Promise.all(unpacked);
    this.slider = this.find("input");
    this.button = this.find(".play");
    this.size = sum(this.layers.map((layer) => layer.size));
    this.find("h2").textContent = this.threshold === null ? "Weights, epoch by epoch" : "Gates closing";
    this.slider.max = this.slider.value = this.moments.length - 1;
    this.makeFirst();
    this.makeMaps();
    this.makeBars();
    this.makeHistograms();
    this.makeTrail();
    this.slider.addEventListener("input", () => { this.stop(); this.show(); });
    this.button.addEventListener("click", () => (this.timer ? this.stop() : this.play()));
  }

  find(selector) {
    return this.section.querySelector(selector);
  }

  async load() {
    [this.cells, this.filters] = await this.unpacked;
    keepPainted(() => this.show());
  }

  makeFirst() {
    const figure = this.find(".first");
    const caption = figure.querySelector("figcaption");
    const [k] = this.first.shape;
    this.hasFilters = k > 1;
    if (!k) return figure.remove();
    add(caption, "b", {}, `${this.hasFilters ? "Filters" : "Inputs"} of ${this.layers[0].name}`);
    add(caption, "span", {}, this.hasFilters ? "" : "the stronger the colour of a pixel, the more of its weights are kept");
    if (this.hasFilters) caption.lastChild.innerHTML = '<span class="blue">positive</span> and <span class="orange">negative</span> weights; a pruned one is empty';
  }

  makeMaps() {
    const cells = this.layers.map((layer) => layer.rows * layer.columns);
    // A layer with more than half of all cells comes first, over the whole width.
    const large = cells.findIndex((n) => n > sum(cells) / 2);
    const order = cells.map((n, i) => i).sort((a, b) => (b === large) - (a === large) || a - b);
    this.maps = [];
    this.find(".maps").classList.toggle("few", order.length < 5);
    for (const i of order) {
      // The filters show the first layer already.
      if (i === 0 && this.hasFilters) continue;
      const figure = add(this.find(".maps"), "figure", { class: i === large ? "large" : "small" });
      const caption = add(figure, "figcaption");
      add(caption, "b", {}, this.layers[i].name);
      add(caption, "span", {}, noteOf(this.layers[i]));
      this.maps[i] = add(figure, "canvas", { role: "img", "aria-label": `Kept weights of ${this.layers[i].name}` });
    }
  }

  makeBars() {
    const parent = this.find(".bars");
    this.bars = this.layers.map((layer) => {
      add(parent, "span", {}, layer.name);
      const [bar] = addBar(parent, { live: 1 });
      return { bar, value: add(parent, "span", { class: "value" }) };
    });
  }

  makeHistograms() {
    this.histograms = this.layers.map((layer) => {
      const figure = add(this.find(".histograms .grid"), "figure");
      const look = { viewBox: "0 0 64 100", preserveAspectRatio: "none", role: "img", "aria-label": `Histogram of ${layer.name}` };
      const svg = add(figure, "svg", look);
      const parts = { shut: add(svg, "path", { class: "shut" }), through: add(svg, "path", { class: "through" }) };
      parts.line = add(svg, "line", { y1: -6, y2: 100 });
      const scale = add(figure, "div", { class: "scale" });
      [parts.low, parts.name, parts.high] = [0, 1, 2].map(() => add(scale, "span"));
      parts.name.textContent = layer.name;
      return parts;
    });
  }

  // The kept weights over the moments, on a logarithmic scale, above the slider.
  makeTrail() {
    const svg = this.find(".trail");
    const logs = this.moments.map((moment) => Math.log(Math.max(1, sum(moment.kept))));
    const low = Math.min(...logs) - 0.4;
    const high = Math.max(Math.log(this.size), low + 1);
    const x = (i) => (100 * i) / Math.max(1, logs.length - 1);
    const points = logs.map((log, i) => `${x(i)},${(100 * (high - log)) / (high - low)}`).join(" ");
    add(svg, "polygon", { class: "area", points: `0,100 ${points} 100,100` });
    add(svg, "polyline", { class: "line", points });
    const pruned = this.moments.findIndex((moment) => moment.name === "pruned");
    if (pruned >= 0) add(svg, "line", { class: "stage", x1: x(pruned), x2: x(pruned), y1: 0, y2: 100 });
  }

  play() {
    if (+this.slider.value >= this.moments.length - 1) this.slider.value = 0;
    this.show();
    this.timer = setInterval(() => {
      this.slider.value = +this.slider.value + 1;
      this.show();
      if (+this.slider.value >= this.moments.length - 1) this.stop();
    }, FRAME);
    this.label("Pause", "❚❚");
  }

  stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.label("Play", "▶");
  }

  label(name, sign) {
    this.button.setAttribute("aria-label", name);
    this.button.textContent = sign;
  }

  show() {
    const at = +this.slider.value;
    const moment = this.moments[at];
    const kept = sum(moment.kept);
    const counted = `${grouped(kept)} of ${grouped(this.size)} weights, ${times(this.size, kept)}`;
    this.find(".moment").textContent = moment.label;
    this.find(".count").textContent = counted;
    this.slider.setAttribute("aria-valuetext", `${moment.label}: ${counted}`);
    this.showBars(moment);
    this.showHistograms(moment);
    this.showMaps(at);
    if (this.first.shape[0]) paintSigned(this.find(".first canvas"), this.filters[at], this.first.shape);
  }

  showBars(moment) {
    this.bars.forEach(({ bar, value }, i) => {
      const share = moment.kept[i] / this.layers[i].size;
      bar.style.width = `${100 * share}%`;
      value.textContent = `${grouped(moment.kept[i])} · ${percent(share, share < 0.1 ? 2 : 1)}`;
    });
  }

  showHistograms(moment) {
    const [low, high] = this.ranges[moment.quantity];
    const gates = moment.quantity === "log_alpha";
    const at = gates && this.threshold !== null ? (64 * (this.threshold - low)) / (high - low) : 0;
    this.find(".quantity").textContent = gates ? "Gates by log_alpha" : "Kept weights by size";
    for (const name of [".closed", ".open"]) this.find(name).hidden = !gates;
    this.histograms.forEach((parts, i) => {
      const counts = moment.histogram[i];
      const most = Math.sqrt(Math.max(1, ...counts));
      const bar = (n, x) => (n ? `M${x + 0.08},100V${100 - (100 * Math.sqrt(n)) / most}H${x + 0.92}V100Z` : "");
      parts.shut.setAttribute("d", counts.map((n, x) => (x < at - 0.5 ? bar(n, x) : "")).join(""));
      parts.through.setAttribute("d", counts.map((n, x) => (x < at - 0.5 ? "" : bar(n, x))).join(""));
      parts.line.setAttribute("visibility", gates ? "visible" : "hidden");
      for (const end of ["x1", "x2"]) parts.line.setAttribute(end, at);
      parts.low.textContent = gates ? low : 10 ** low;
      parts.high.textContent = gates ? high : 10 ** high;
    });
  }

  showMaps(at) {
    const ink = colour("blue");
    let start = 0;
    this.layers.forEach((layer, i) => {
      const from = start;
      start += layer.rows * layer.columns;
      if (!this.maps[i]) return;
      paint(this.maps[i], layer.columns, layer.rows, (x, y) => {
        const level = this.cells[at][from + y * layer.columns + x];
        return level && [...ink, 75 + (180 * level) / this.levels];
      });
    });
  }
}

// ---------------------------------------------------------------------------------------------------------- sections

// The points of a run at which its accuracy was measured: a method that does not prune has the first only.
const pointsOf = (run) => (run.config.retrain ? ["trained", "pruned", "retrained"] : ["trained"]);
const has = (values) => Object.keys(values).length > 0;

function titleOf({ model, config, result, environment }) {
  const name = (result.data ?? environment.data)?.name ?? config.data;
  const network = model.split(",")[0].replace(" for CIFAR-10", "");
  return `${network} on ${DATA[name] ?? name}, ${config.method === "l0" ? "L0" : config.method}, seed\u00a0${config.seed}`;
}

function headline(run) {
  if (!has(run.result)) return "A run without a result";
  const { accuracy, measured_on, size, nnz } = run.result;
  const right = `${percent(accuracy.retrained)} of the ${measured_on} images are right`;
  if (!nnz.weights) return `No weight is left; ${right}`;
  if (nnz.weights === size.weights) return `All weights are kept; ${right}`;
  return `One weight in ${grouped(Math.round(size.weights / nnz.weights))} is left; ${right}`;
}

// The weights on a path from an input to a class; undefined in runs of before they were counted.
function liveOf(result) {
  return result.weights_live?.retrained ?? undefined;
}

function showFacts(list, run) {
  const { accuracy, layers, size, nnz, seconds, epochs } = run.result;
  const [macs, macsKept] = ["macs", "macs_nnz"].map((name) => sum(layers.map((layer) => layer[name])));
  const live = liveOf(run.result);
  const counted = `${grouped(nnz.weights)} of ${grouped(size.weights)}`;
  const points = pointsOf(run).map((point) => `${percent(accuracy[point])} ${point}`);
  const facts = [
    [percent(accuracy.retrained), "accuracy", points.join(", ")],
    [times(size.weights, nnz.weights), "fewer weights", live < nnz.weights ? `${counted}, ${grouped(live)} of them live` : counted],
    [times(macs, macsKept), "fewer multiply-adds", `${grouped(macsKept)} of ${grouped(macs)} an image`],
    [duration(sum(Object.values(seconds))), "in all", `${epochs.train} + ${epochs.retrain} epochs`],
  ];
  for (const [value, name, note] of facts) {
    const fact = add(list, "div");
    add(fact, "dt", {}, name);
    add(fact, "dd", {}, value);
    add(fact, "dd", { class: "note" }, note);
  }
}

function showSentences(parent, sentences) {
  for (const [point, texts] of Object.entries(sentences)) {
    const part = add(parent, "div");
    add(part, "h3", {}, STAGES[point]);
    add(part, "p", {}, texts.join(" "));
  }
}

function showCourse(section, { course, result }) {
  for (const [name, svg] of Object.entries(course)) {
    const figure = add(section.querySelector(".panels"), "figure");
    const caption = add(figure, "figcaption");
    const [title, keys] = COURSE[name];
    add(caption, "b", {}, title);
    for (const [colour, text] of Object.entries(keys)) {
      if (svg.includes(`var(--${colour})`)) add(caption, "span", { class: colour }, text.call ? text(result) : text);
    }
    add(figure, "div", { class: "svg" }).innerHTML = svg;
  }
}

async function showLeft(section, left, film) {
  const total = { name: "all" };
  for (const key of ["size", "nnz", "live", "macs", "macs_nnz"]) {
    const counts = left.layers.map((row) => row[key]);
    total[key] = counts.includes(null) ? null : sum(counts);
  }
  for (const { name, size, nnz, live, macs, macs_nnz } of [...left.layers, total]) {
    const dead = live === null ? 0 : nnz - live;
    const known = live === null ? ["", ""] : [grouped(live), grouped(dead)];
    const bar = (cell) => addBar(cell, { live: (nnz - dead) / size, ...(dead && { dead: dead / size }) });
    addRow(section.querySelector("tbody"), [name, grouped(size), grouped(nnz), ...known, bar, percent(nnz / size), grouped(macs), grouped(macs_nnz)]);
  }
  const pictures = section.querySelector(".pictures");
  if (!left.filters) pictures.querySelector(".filters").remove();
  else await showFilters(pictures.querySelector(".filters"), left, film);
  const figure = pictures.querySelector(".inputs");
  if (!left.inputs) return figure.remove();
  const [reads] = await unpack(left.inputs.values, 1);
  const read = reads.filter((count) => count !== 128).length;
  figure.querySelector("span").textContent = `${grouped(read)} of ${grouped(reads.length)} pixels are still read; the stronger the colour, the more often`;
  keepPainted(() => paintSigned(figure.querySelector("canvas"), reads, [1, 1, ...left.inputs.shape]));
}

// The filters before and after training, and in the end: of the film, or if there is none, those in the end alone.
async function showFilters(parent, { filters, layers: [{ name }] }, film) {
  let shown = [["at the end", (await unpack(filters.values, 1))[0]]];
  let { shape } = filters;
  if (film) {
    const [, frames] = await film.unpacked;
    const trained = film.moments.findLastIndex((moment) => moment.name === "train");
    const moments = new Set([0, trained, frames.length - 1].filter((at) => at >= 0));
    shown = [...moments].map((at) => [film.moments[at].label, frames[at]]);
    shape = film.first.shape;
  }
  for (const [when, frame] of shown) {
    const figure = add(parent, "figure");
    add(add(figure, "figcaption"), "b", {}, `Filters of ${name}, ${when}`);
    const canvas = add(figure, "canvas", { role: "img", "aria-label": `Filters of ${name}, ${when}` });
    keepPainted(() => paintSigned(canvas, frame, shape));
  }
}

// How often images of a class (rows) were given a class (columns).
function confusion(names, labels, answers) {
  const matrix = names.map(() => new Array(names.length).fill(0));
  labels.forEach((label, i) => { matrix[label][answers[i]] += 1; });
  return matrix;
}

function showConfusion(figure, names, matrix) {
  const mistakes = matrix.flatMap((row, i) => row.map((n, j) => (i === j ? 0 : n)));
  if (names.length > MOST_CLASSES) {
    add(add(figure, "figcaption"), "b", {}, "The most frequent mistakes");
    const order = mistakes.map((n, at) => [n, at]).filter(([n]) => n).sort((a, b) => b[0] - a[0]).slice(0, MOST_CLASSES);
    const list = add(figure, "ul");
    for (const [n, at] of order) add(list, "li", {}, `${grouped(n)}: ${names[Math.floor(at / names.length)]} taken for ${names[at % names.length]}`);
    return;
  }
  const caption = add(figure, "figcaption");
  add(caption, "b", {}, "Confusion");
  add(caption, "span", {}, "true classes down, answers across; mistakes are ");
  add(caption, "span", { class: "orange" }, "shaded");
  const long = names.some((name) => name.length > 3) ? " long" : "";
  const table = add(add(figure, "div", { class: "scroll" }), "table", { class: `matrix${long}` });
  const head = add(add(table, "thead"), "tr");
  add(head, "td");
  for (const name of names) add(head, "th", { scope: "col", title: name }, name);
  const most = Math.sqrt(Math.max(1, ...mistakes));
  const body = add(table, "tbody");
  matrix.forEach((counts, i) => {
    const row = add(body, "tr");
    add(row, "th", { scope: "row" }, names[i]);
    counts.forEach((n, j) => {
      const cell = add(row, "td", i === j ? { class: "right" } : {}, n ? grouped(n) : "");
      if (i !== j) cell.style.setProperty("--s", Math.sqrt(n) / most);
    });
  });
}

async function showAnswers(section, answers) {
  const { points, picked, shape } = answers;
  const arrays = await unpack(answers.classes, 1 + points.length);
  const [labels, ...given] = arrays.map((bytes) => new Uint16Array(bytes.slice().buffer));
  const names = [...answers.names];
  // A network may have more outputs than the data have classes.
  const most = [labels, ...given].reduce((all, classes) => classes.reduce((a, b) => Math.max(a, b), all), 0);
  while (names.length <= most) names.push(`${names.length}`);
  showConfusion(section.querySelector(".confusion"), names, confusion(names, labels, given.at(-1)));
  const images = picked.length ? await unpack(answers.images, picked.length) : [];
  for (const [first, last, what] of CHANGES) {
    const [before, after] = [first, last].map((point) => given[points.indexOf(point)]);
    if (!before || !after) continue;
    const part = add(section.querySelector(".changes"), "div");
    const right = (classes, i) => classes[i] === labels[i];
    const kinds = {
      lost: [...labels.keys()].filter((i) => right(before, i) && !right(after, i)),
      won: [...labels.keys()].filter((i) => !right(before, i) && right(after, i)),
    };
    const changed = kinds.lost.length + kinds.won.length;
    const some = `lost ${grouped(kinds.lost.length)} and won ${grouped(kinds.won.length)} of ${grouped(labels.length)} images`;
    add(part, "p", {}, `${what} ${changed ? some : "lost no image and won none"}.`);
    for (const [kind, found] of Object.entries(kinds)) {
      const tiles = found.filter((i) => picked.includes(i)).slice(0, MOST_TILES).map((i) => ({
        index: i,
        image: images[picked.indexOf(i)],
        classes: [labels, before, after].map((classes) => names[classes[i]]),
      }));
      if (tiles.length) addTiles(part, kind, tiles, shape);
    }
  }
}

function addTiles(parent, kind, tiles, [channels, height, width]) {
  add(parent, "p", { class: "label" }, `${kind}: true class, answer before → after`);
  const long = tiles.some(({ classes }) => classes.some((name) => name.length > 3));
  const grid = add(parent, "div", { class: long ? "images long" : "images" });
  for (const { index, image, classes: [label, before, after] } of tiles) {
    const figure = add(grid, "figure");
    const canvas = add(figure, "canvas", { role: "img", "aria-label": `image ${index}`, title: `image ${index}` });
    const value = (c, x, y) => image[((channels === 3 ? c : 0) * height + y) * width + x];
    paint(canvas, width, height, (x, y) => [value(0, x, y), value(1, x, y), value(2, x, y), 255]);
    const caption = add(figure, "figcaption");
    add(caption, "b", {}, label);
    add(caption, "span", {}, `${before} → ${after}`);
  }
}

function showCost(section, { rows, result, environment }) {
  const names = { train: "training", prune: "pruning", retrain: "retraining" };
  const spent = { ...result.seconds };
  if (!has(spent)) for (const { stage, seconds } of rows) spent[stage] = (spent[stage] ?? 0) + seconds;
  const all = sum(Object.values(spent));
  for (const [stage, seconds] of Object.entries(spent)) {
    const epochs = rows.filter((row) => row.stage === stage);
    const rates = epochs.map((row) => row.images_per_second).filter(Boolean).sort((a, b) => a - b);
    const median = rates.length ? grouped(Math.round(rates[Math.floor(rates.length / 2)])) : "";
    const bar = (cell) => addBar(cell, { live: seconds / all });
    addRow(section.querySelector("tbody"), [names[stage], epochs.length || "", seconds.toFixed(1), bar, percent(seconds / all), median]);
  }
  const memory = Math.max(...rows.map((row) => row.peak_memory_mb ?? 0), 0);
  const machine = [environment.cpu, environment.threads && `threads: ${environment.threads}`, memory && `peak memory: ${grouped(Math.round(memory))} MB`];
  section.querySelector(".note").textContent = machine.filter(Boolean).join("; ");
}

function showConfiguration(section, { folder, config, environment }) {
  const groups = { run: { folder }, data: environment.data ?? {}, environment: {} };
  for (const [name, values] of [["run", config], ["environment", environment]]) {
    for (const [key, value] of Object.entries(values)) {
      if (typeof value !== "object") groups[name][key] = value;
      else if (name === "run") groups[key] = value;
    }
  }
  for (const [name, values] of Object.entries(groups).filter(([, values]) => has(values))) {
    const group = add(section.querySelector(".groups"), "div");
    add(group, "h3", {}, name);
    const list = add(group, "dl");
    for (const [key, value] of Object.entries(values)) {
      add(list, "dt", {}, key.replaceAll("_", " "));
      add(list, "dd", {}, typeof value === "object" ? JSON.stringify(value) : value === "" ? "–" : value);
    }
  }
}

function showComparison(section, runs, svg) {
  section.querySelector(".svg").innerHTML = svg;
  runs.forEach((run, i) => {
    const { result } = run;
    let cells = ["no result", "", "", "", ""];
    if (has(result)) {
      const [size, kept, live] = [result.size.weights, result.nnz.weights, liveOf(result)];
      const effective = live === undefined ? "" : times(size, live);
      cells = [percent(1 - result.accuracy.retrained), times(size, kept), grouped(kept), effective, duration(sum(Object.values(result.seconds)))];
    }
    const [first] = addRow(section.querySelector("tbody"), ["", ...cells]).children;
    add(first, "a", { class: "badge", href: `#run-${i + 1}` }, i + 1);
    add(first, "span", {}, titleOf(run));
  });
  const data = new Set(runs.map(({ result }) => result.data?.name).filter(Boolean));
  if (data.size > 1) section.querySelector(".note").textContent = "These runs were made with different data: compare errors of the same data only.";
}

// -------------------------------------------------------------------------------------------------------------- page

function showRun(main, run, number, several) {
  main.append(document.getElementById("run").content.cloneNode(true));
  const article = main.lastElementChild;
  article.id = `run-${number}`;
  if (several) add(article.querySelector(".kicker"), "span", { class: "badge" }, number);
  article.querySelector(".kicker").append(titleOf(run));
  article.querySelector("h1").textContent = headline(run);
  const film = run.film && new Film(article.querySelector(".film"), run.film, run.epochs);
  for (const text of run.missing) add(article.querySelector(".missing"), "li", {}, text);
  const parts = {
    missing: [run.missing.length, () => {}],
    facts: [has(run.result), (list) => showFacts(list, run)],
    sentences: [has(run.sentences), (parent) => showSentences(parent, run.sentences)],
    film: [film, () => film.load()],
    course: [has(run.course), (section) => showCourse(section, run)],
    left: [run.left, (section) => showLeft(section, run.left, film)],
    answers: [run.answers, (section) => showAnswers(section, run.answers)],
    cost: [run.rows.length || has(run.result), (section) => showCost(section, run)],
    configuration: [true, (section) => showConfiguration(section, run)],
  };
  return Object.entries(parts).map(([name, [there, show]]) => {
    const part = article.querySelector(`.${name}`);
    return there ? show(part) : part.remove();
  });
}

// On paper, nothing can be opened.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => { details.open = true; }));

async function showPage() {
  const main = document.querySelector("main");
  const { runs, comparison } = JSON.parse(document.getElementById("data").textContent);
  document.title = runs.length > 1 ? `${runs.length} runs side by side` : titleOf(runs[0]);
  if (comparison) {
    main.append(document.getElementById("comparison").content.cloneNode(true));
    showComparison(main.querySelector(".comparison"), runs, comparison);
  }
  await Promise.all(runs.flatMap((run, i) => showRun(main, run, i + 1, runs.length > 1)));
  document.documentElement.dataset.ready = "yes";
}

showPage();
