"use strict";

// What is drawn with the pointer becomes an image, the pruned network answers, and the weights that fired light up.
// Arrays of values are in the order channel, row, column.

const LINE = 2.4; // width of a stroke in an image of 28 pixels: drawings then have the ink of MNIST's digits

const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const grouped = (n) => n.toLocaleString("en");
const product = (values) => values.reduce((a, b) => a * b, 1);

// ------------------------------------------------------------------------------------------------ the network

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);

function half(code) {
  const exponent = (code >> 10) & 31, fraction = code & 1023;
  return (code >> 15 ? -1 : 1) * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}

// Return the kept weights of a layer, each with the unit that it belongs to and the column of what it reads.
function unpack({ steps, weights, bias }, columns) {
  const places = [];
  let place = 0;
  for (const step of bytes(steps)) {
    place += step;
    if (step < 255) places.push(place);
  }
  const content = bytes(weights);
  const values = content.length < 4 * places.length ? Float32Array.from(new Uint16Array(content.buffer), half) : floats(weights);
  return {
    bias: floats(bias),
    kept: places.map((at, n) => ({ unit: Math.floor(at / columns), column: at % columns, value: values[n] })),
  };
}

// The image, and each layer with weights; `after` are the layers that follow it up to the next one. `from` is the shape of
// what a stage reads, `map` of what its weights make, `shape` of what pooling leaves of it.
const stages = [{ kind: "image", name: "image", from: data.input, map: data.input, shape: data.input, after: [], kept: [] }];
for (const layer of data.layers) {
  const last = stages.at(-1);
  if (layer.kind === "conv" || layer.kind === "linear") {
    const columns = layer.kind === "conv" ? last.shape[0] * layer.size ** 2 : product(last.shape);
    stages.push({ ...layer, ...unpack(layer, columns), from: last.shape, map: layer.shape, after: [] });
  } else if (layer.kind === "scale") {
    last.after.push({ ...layer, factor: floats(layer.factor), constant: floats(layer.constant) });
  } else {
    last.after.push({ ...layer, from: last.shape });
    if (layer.kind !== "flatten") last.shape = layer.shape;
  }
}

function convolve({ kept, bias, from, map, size, stride, padding }, x) {
  const [, height, width] = from, [, rows, columns] = map, area = rows * columns;
  const y = new Float64Array(product(map)).map((_, i) => bias[Math.floor(i / area)]);
  for (const { unit, column, value } of kept) {
    const channel = Math.floor(column / size ** 2), i = Math.floor(column / size) % size - padding, j = column % size - padding;
    for (let a = 0; a < rows; a++) {
      const row = a * stride + i;
      if (row < 0 || row >= height) continue;
      for (let b = 0; b < columns; b++) {
        const at = b * stride + j;
        if (at >= 0 && at < width) y[unit * area + a * columns + b] += value * x[(channel * height + row) * width + at];
      }
    }
  }
  return y;
}

function multiply({ kept, bias }, x) {
  const y = Float64Array.from(bias);
  for (const { unit, column, value } of kept) y[unit] += value * x[column];
  return y;
}

function pool({ kind, from, shape, size, stride }, x) {
  const [, height, width] = from, [, rows, columns] = shape;
  return new Float64Array(product(shape)).map((_, at) => {
    const b = at % columns, a = Math.floor(at / columns) % rows, channel = Math.floor(at / (rows * columns));
    let most = -Infinity, sum = 0;
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) {
        const value = x[(channel * height + a * stride + i) * width + b * stride + j];
        most = Math.max(most, value);
        sum += value;
      }
    return kind === "maxpool" ? most : sum / size ** 2;
  });
}

function follow(layer, x) {
  if (layer.kind === "relu") return x.map((value) => Math.max(value, 0));
  if (layer.kind === "flatten") return x;
  if (layer.kind !== "scale") return pool(layer, x);
  // One factor and constant per channel.
  const channel = (i) => Math.floor((i * layer.factor.length) / x.length);
  return x.map((value, i) => value * layer.factor[channel(i)] + layer.constant[channel(i)]);
}

// Return the values that each stage leaves; the last are the logits.
function forward(pixels) {
  let x = Float64Array.from(pixels);
  return stages.map((stage) => {
    if (stage.kind === "conv") x = convolve(stage, x);
    if (stage.kind === "linear") x = multiply(stage, x);
    for (const layer of stage.after) x = follow(layer, x);
    return x;
  });
}

const outputs = product(stages.at(-1).shape);
const names = Array.from({ length: outputs }, (_, k) => String(data.classes[k] ?? k));

// ------------------------------------------------------------------------------------------------ from strokes to an image

const [, rows, columns] = data.input;
const small = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
const fine = small.getContext("2d", { willReadFrequently: true });

// Draw lines, each a list of points of which `place` gives the position, and round their corners.
function trace(context, strokes, place, width) {
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  for (const points of strokes.map((points) => points.map(place))) {
    context.beginPath();
    context.moveTo(...points[0]);
    points.slice(1).forEach(([u, v], i) => {
      const [x, y] = points[i];
      context.quadraticCurveTo(x, y, (x + u) / 2, (y + v) / 2);
    });
    const [x, y] = points.at(-1);
    context.lineTo(x + 1e-3, y);
    context.stroke();
  }
}

// Return strokes as the images of MNIST are made: their box in 20 of 28 pixels, their centre of mass in the middle.
// Lines have one width, however large the drawing is.
function imageOf(strokes) {
  const unit = Math.min(rows, columns) / 28, sides = [columns, rows], all = strokes.flat();
  const [low, high] = [Math.min, Math.max].map((pick) => [0, 1].map((k) => all.reduce((found, point) => pick(found, point[k]), all[0][k])));
  // A dot stays a dot.
  const scale = (unit * (20 - LINE)) / Math.max(high[0] - low[0], high[1] - low[1], 0.15);
  let shift = sides.map((side, k) => (side - scale * (low[k] + high[k])) / 2), pixels;
  // The first pass, with the box in the middle, finds the centre of mass.
  for (const pass of [1, 2]) {
    fine.clearRect(0, 0, columns, rows);
    fine.strokeStyle = "black";
    trace(fine, strokes, (point) => point.map((value, k) => scale * value + shift[k]), LINE * unit);
    const { data } = fine.getImageData(0, 0, columns, rows), centre = [0, 0];
    pixels = Array.from({ length: rows * columns }, (_, i) => data[4 * i + 3]);
    const mass = pixels.reduce((a, b) => a + b, 0) || 1;
    pixels.forEach((ink, i) => {
      centre[0] += (ink / mass) * ((i % columns) + 0.5);
      centre[1] += (ink / mass) * (Math.floor(i / columns) + 0.5);
    });
    if (pass === 1) shift = shift.map((value, k) => value + sides[k] / 2 - centre[k]);
  }
  return pixels;
}

// ------------------------------------------------------------------------------------------------ the picture

const sans = getComputedStyle(document.body).fontFamily;
// Below the network that flows down: the names of the classes, turned if they are long.
const turn = names.some((name) => name.length > 3) || outputs > 12, foot = turn ? 120 : 30;

const canvas = element("network"), pen = canvas.getContext("2d");
const narrow = matchMedia("(max-width: 980px)"), dark = matchMedia("(prefers-color-scheme: dark)");
let colours = {}, places = [], skeleton = null;

// Fit a canvas to its element and return its width and height; its context then draws in CSS pixels.
function fit(target, context) {
  const dots = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = target;
  [target.width, target.height] = [width * dots, height * dots];
  context.setTransform(dots, 0, 0, dots, 0, 0);
  return [width, height];
}

// Place all stages. Along the flow, which goes right or (narrow) down, a stage has a start and a thickness; across it, its
// channels or units stand in strips. A place says where a channel begins, and where the middle of a value is.
function arrange() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "ink", "soft", "shade", "line", "blue", "orange"]) colours[name] = style.getPropertyValue(`--${name}`).trim();
  const [width, height] = fit(canvas, pen), down = narrow.matches, head = 44;
  const [flow, across] = down ? [height - foot, width] : [width, height - head];
  const turned = (along, beside) => (down ? [beside, along] : [along, beside + head]);
  const most = (0.42 * flow) / (stages.length - 1);
  places = stages.slice(0, -1).map(({ shape }, at) => {
    const [channels, tall, wide] = [...shape, 1, 1], single = tall * wide === 1;
    const limit = channels === 1 ? 1.7 * most : most;
    let strips = 1, pitch = 0;
    for (let k = 1; k <= channels; k++) {
      const size = Math.min(across / (Math.ceil(channels / k) + single), limit / k, single ? 16 : 140);
      if (size > pitch * 1.001) [strips, pitch] = [k, size];
    }
    const row = Math.ceil(channels / strips), cell = (pitch * (channels === 1 ? 1 : single ? 0.5 : 0.84)) / Math.max(tall, wide);
    return { channels, tall, wide, single, strips, pitch, row, cell, thick: strips * pitch };
  });
  const gap = (flow - places.reduce((sum, place) => sum + place.thick, 0) - 6) / places.length;
  let start = 2;
  for (const place of places) {
    // Units are staggered, so that lines pass between them.
    const { pitch, row, cell, tall, wide, channels, strips, single } = place, from = start, slant = single ? 1 : 0;
    place.start = from;
    place.corner = (k) => {
      const strip = Math.floor(k / row), within = Math.min(row, channels - strip * row);
      const [x, y] = turned(from + (strip + 0.5) * pitch, across / 2 + ((k % row) - within / 2 + 0.5 + slant * (strip / strips - 0.5)) * pitch);
      return [x - (wide * cell) / 2, y - (tall * cell) / 2];
    };
    const [x, y] = turned(from, (across - row * pitch) / 2), [along, beside] = [place.thick, row * pitch];
    place.block = down ? [x, y, beside, along] : [x, y, along, beside];
    place.middle = (i) => {
      const [x, y] = place.corner(Math.floor(i / (tall * wide)));
      return [x + ((i % wide) + 0.5) * cell, y + (Math.floor((i % (tall * wide)) / wide) + 0.5) * cell];
    };
    start += place.thick + gap;
  }
  // The classes: beside their bars, or in a row.
  const box = canvas.getBoundingClientRect();
  const middle = (k) => {
    if (down) return [((k + 0.5) * width) / outputs, height - foot];
    const bar = element("bars").children[k].getBoundingClientRect();
    return [width - 5, bar.top + bar.height / 2 - box.top];
  };
  places.push({ start: start, thick: 0, middle, single: true, cell: 8, channels: outputs, last: true });
  for (const stage of stages) stage.lines = stage.kept.map((weight) => line(stage, weight, down));
  skeleton = document.createElement("canvas");
  [skeleton.width, skeleton.height] = [canvas.width, canvas.height];
  const faint = skeleton.getContext("2d");
  faint.setTransform(pen.getTransform());
  faint.strokeStyle = colours.soft;
  faint.lineWidth = 0.5;
  faint.globalAlpha = Math.max(0.04, Math.min(0.14, 250 / stages.reduce((sum, { kept }) => sum + kept.length, 1)));
  for (const { lines } of stages) for (const path of lines) faint.stroke(path);
  // Units lie under the lines that light up.
  faint.globalAlpha = 1;
  faint.fillStyle = colours.line;
  for (const place of places.filter(({ single }) => single))
    for (let k = 0; k < place.channels; k++) disc(faint, place.middle(k), place.cell * (place.last ? 0.5 : 0.35));
}

function disc(context, middle, radius) {
  context.beginPath();
  context.arc(...middle, radius, 0, 7);
  context.fill();
}

// Return the curve of a weight, from what it reads to its unit. That of a convolution leaves a map at the height of its place
// in the kernel.
function line(stage, { unit, column }, down) {
  const at = stages.indexOf(stage), [from, to] = [places[at - 1], places[at]];
  let a, b;
  if (stage.kind === "conv") {
    const { size } = stage, [x, y] = from.corner(Math.floor(column / size ** 2)), [i, j] = [Math.floor(column / size) % size, column % size];
    const wide = from.wide * from.cell, tall = from.tall * from.cell;
    a = down ? [x + (wide * (j + 0.5)) / size, y + tall] : [x + wide, y + (tall * (i + 0.5)) / size];
  } else a = from.middle(column);
  if (to.single) b = to.middle(unit);
  else {
    const [x, y] = to.corner(unit), share = ((column * 7) % 11) / 11;
    b = down ? [x + to.wide * to.cell * share, y] : [x, y + to.tall * to.cell * share];
  }
  const bend = (p, q, t) => p + (q - p) * t, path = new Path2D();
  path.moveTo(...a);
  if (down) path.bezierCurveTo(a[0], bend(a[1], b[1], 0.45), b[0], bend(a[1], b[1], 0.55), ...b);
  else path.bezierCurveTo(bend(a[0], b[0], 0.45), a[1], bend(a[0], b[0], 0.55), b[1], ...b);
  return path;
}

// Write what each layer has kept and, where no bars are beside them, the names of the classes.
function label() {
  const down = narrow.matches, { clientWidth: width, clientHeight: height } = canvas;
  pen.textBaseline = "top";
  const write = (text, x, y, font, colour) => {
    pen.font = `${font} ${sans}`;
    pen.lineWidth = 5;
    pen.lineJoin = "round";
    pen.strokeStyle = colours.paper;
    pen.strokeText(text, x, y);
    pen.fillStyle = colour;
    pen.fillText(text, x, y);
  };
  stages.slice(1).forEach(({ name, kept }, at) => {
    const before = places[at], middle = (before.start + before.thick + places[at + 1].start) / 2;
    pen.textAlign = down ? "left" : "center";
    const [x, y] = down ? [0, middle - 16] : [middle, 0];
    write(name, x, y, "600 12px", colours.ink);
    write(`${grouped(kept.length)} of ${grouped(data.dense[at])}`, x, y + 16, "12px", colours.soft);
  });
  if (!down) return;
  names.forEach((name, k) => {
    const [x] = places.at(-1).middle(k), text = name.length > 14 ? `${name.slice(0, 13)}…` : name;
    pen.save();
    pen.translate(x, height - foot + 14);
    pen.textAlign = turn ? "right" : "center";
    if (turn) pen.rotate(-Math.PI / 2);
    if (turn) pen.translate(0, -7);
    write(text, 0, 0, "13px", colours.soft);
    pen.restore();
  });
}

// Draw the values of all stages, and in colour the weights whose input is not 0; return how many these are.
function paint(pixels, values) {
  const ink = pixels.some((value) => value > 0);
  pen.save();
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(skeleton, 0, 0);
  pen.restore();
  const shown = [Float64Array.from(pixels), ...values.slice(1)];
  let fired = 0;
  if (ink) stages.forEach((stage, at) => { fired += at && light(stage, shown[at - 1]); });
  pen.globalAlpha = 1;
  places.forEach((place, at) => (place.single ? dots : tiles)(place, ink ? shown[at] : shown[at].map(() => 0)));
  label();
  return fired;
}

function light({ kind, from, size, kept, lines }, x) {
  // What a weight adds to its unit; in a convolution, on average over the map that it reads.
  const area = kind === "conv" ? from[1] * from[2] : 1, means = new Float64Array(x.length / area);
  x.forEach((value, i) => { means[Math.floor(i / area)] += value / area; });
  const adds = kept.map(({ column, value }) => value * means[kind === "conv" ? Math.floor(column / size ** 2) : column]);
  const most = adds.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-12);
  // The brightest last, on top.
  const order = adds.map((_, n) => n).filter((n) => adds[n] !== 0).sort((n, m) => Math.abs(adds[n]) - Math.abs(adds[m]));
  for (const n of order) {
    const bright = Math.abs(adds[n]) / most;
    pen.globalAlpha = 0.95 * bright ** 0.75;
    pen.lineWidth = 0.5 + 1.2 * bright;
    pen.strokeStyle = adds[n] > 0 ? colours.orange : colours.blue;
    pen.stroke(lines[n]);
  }
  return order.length;
}

const largest = (values) => values.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-12);

function dots({ middle, cell, last }, values) {
  const most = largest(values), best = values.indexOf(Math.max(...values));
  values.forEach((value, i) => {
    const bright = last ? +(i === best && value !== 0) : Math.abs(value) / most;
    pen.globalAlpha = bright;
    pen.fillStyle = last ? colours.orange : colours.ink;
    disc(pen, middle(i), cell * (last ? 0.6 : 0.35 + 0.3 * bright));
  });
  pen.globalAlpha = 1;
}

function tiles({ block, corner, channels, tall, wide, cell }, values) {
  const most = largest(values), area = tall * wide;
  // No lines between the strips.
  pen.fillStyle = colours.paper;
  pen.fillRect(...block);
  for (let k = 0; k < channels; k++) {
    const [x, y] = corner(k), bright = Array.from(values.subarray(k * area, (k + 1) * area), (value) => Math.abs(value) / most);
    pen.beginPath();
    pen.roundRect(x - 1, y - 1, wide * cell + 2, tall * cell + 2, 2);
    pen.fillStyle = colours.shade;
    pen.fill();
    pen.strokeStyle = colours.line;
    pen.lineWidth = 1;
    pen.stroke();
    stamp(pen, bright, wide, tall, x, y, cell);
  }
}

const tile = document.createElement("canvas"), brush = tile.getContext("2d", { willReadFrequently: true });

// Draw an image, in which 1 is ink, with pixels of the size `cell`.
function stamp(context, bright, wide, tall, x, y, cell) {
  [tile.width, tile.height] = [wide, tall];
  const image = brush.createImageData(wide, tall), colour = [1, 3, 5].map((i) => parseInt(colours.ink.slice(i, i + 2), 16));
  bright.forEach((value, i) => image.data.set([...colour, 255 * value], 4 * i));
  brush.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(tile, x, y, wide * cell, tall * cell);
}

// ------------------------------------------------------------------------------------------------ the page

const pad = element("pad"), chalk = pad.getContext("2d");
let strokes = [], given = null, pointer = null, waiting = false;

function paintPad() {
  const [side] = fit(pad, chalk);
  if (given) {
    const cell = side / Math.max(rows, columns);
    stamp(chalk, given.map((value) => value / 255), columns, rows, (side - columns * cell) / 2, (side - rows * cell) / 2, cell);
  } else if (strokes.length) {
    chalk.strokeStyle = colours.ink;
    trace(chalk, strokes, (point) => point.map((value) => value * side), side / 13);
  } else {
    chalk.fillStyle = colours.soft;
    chalk.font = `15px ${sans}`;
    chalk.textAlign = "center";
    chalk.fillText("draw here", side / 2, side / 2 + 5);
  }
}

function paintBars(logits, ink) {
  const most = Math.max(...logits), odds = Array.from(logits, (logit) => Math.exp(logit - most));
  const total = odds.reduce((a, b) => a + b), best = logits.indexOf(most);
  odds.forEach((odd, k) => {
    const bar = element("bars").children[k], share = ink ? (100 * odd) / total : 0;
    bar.classList.toggle("best", ink && k === best);
    bar.querySelector("i").style.width = `${share}%`;
    bar.querySelector(".share").textContent = ink ? `${share.toFixed(share < 0.05 || share > 99.95 ? 0 : 1)}\u00a0%` : "";
  });
  const answer = element("answer"), said = ink ? `It looks like ${names[best]}` : "";
  // Told to screen readers only when it changes.
  if (answer.dataset.said === said) return;
  answer.dataset.said = said;
  answer.textContent = ink ? "It looks like " : "";
  if (ink) answer.appendChild(document.createElement("b")).textContent = names[best];
  if (ink) answer.lastChild.className = names[best].length > 3 ? "long" : "";
}

// Compute and draw everything, and return the logits.
function update() {
  waiting = false;
  const pixels = given ?? (strokes.length ? imageOf(strokes) : new Array(rows * columns).fill(0));
  const values = forward(pixels), ink = pixels.some((value) => value > 0), fired = paint(pixels, values);
  paintPad();
  paintBars(values.at(-1), ink);
  element("fired").textContent = ink ? `${grouped(fired)} weights fired` : "";
  return values.at(-1);
}

function soon() {
  if (!waiting) requestAnimationFrame(update);
  waiting = true;
}

// Show an image in place of a drawing and return its logits. `pixels` are rows * columns numbers of 0..255, which reach the
// network as they are: neither moved nor scaled.
function showImage(pixels) {
  [given, strokes, pointer] = [Array.from(pixels), [], null];
  return Array.from(update());
}

function pointOf(event) {
  const box = pad.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

pad.addEventListener("pointerdown", (event) => {
  if (event.button || pointer !== null) return;
  pointer = event.pointerId;
  // Refused for events that a script made.
  try { pad.setPointerCapture(pointer); } catch {}
  given = null;
  strokes.push([pointOf(event)]);
  soon();
});
pad.addEventListener("pointermove", (event) => {
  if (event.pointerId !== pointer) return;
  const between = event.getCoalescedEvents?.() ?? [];
  strokes.at(-1).push(...(between.length ? between : [event]).map(pointOf));
  soon();
});
for (const end of ["pointerup", "pointercancel"])
  pad.addEventListener(end, (event) => { if (event.pointerId === pointer) pointer = null; });

element("clear").addEventListener("click", () => {
  [given, strokes, pointer] = [null, [], null];
  soon();
});

const left = stages.reduce((sum, { kept }) => sum + kept.length, 0), all = data.dense.reduce((a, b) => a + b, 0);
const digits = names.every((name, k) => name === String(k));
document.querySelector("h1").textContent = document.title = digits ? "Draw a digit" : "Draw an image";
document.querySelector(".lead").textContent = `Of the ${grouped(all)} weights of ${data.name}, pruning left ${grouped(left)}. Each is a line here; those that carry something of your drawing light up.`;
canvas.setAttribute("aria-label", `The network: ${stages.slice(1).map(({ name, kept }) => `${name} with ${grouped(kept.length)} weights`).join(", ")}`);
element("bars").style.setProperty("--half", Math.ceil(outputs / 2));
for (const name of names) {
  const bar = element("bars").appendChild(document.createElement("li"));
  bar.innerHTML = '<span class="name"></span><span class="bar"><i></i></span><span class="share"></span>';
  bar.firstChild.textContent = bar.firstChild.title = name;
}

function redraw() {
  arrange();
  soon();
}

new ResizeObserver(redraw).observe(canvas);
for (const query of [dark, narrow]) query.addEventListener("change", redraw);
arrange();
update();
