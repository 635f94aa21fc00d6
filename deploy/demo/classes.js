// The label map as class ids: painted without any blending, sent and saved as a grey PNG of ids.
// `element`, `props`, `trigger` and `watch` are what Gradio hands to a custom HTML component.
const {width, height, ids, names, colours} = props.spec;
const find = (selector) => element.querySelector(selector);
const canvas = find("canvas"), context = canvas.getContext("2d");
canvas.width = width;
canvas.height = height;
find(".likeness-stage").style.aspectRatio = `${width} / ${height}`;
const map = new Uint8Array(width * height);
const shown = new ImageData(width, height), pixels = new Uint32Array(shown.data.buffer);
const colourOf = new Uint32Array(256);
ids.forEach((id, k) => { const [r, g, b] = colours[k]; colourOf[id] = (255 << 24 | b << 16 | g << 8 | r) >>> 0; });
const undone = [], MOST_UNDONE = 40;
let chosen = 0, tool = "brush", last = null;

function show() {
  for (let k = 0; k < map.length; k++) pixels[k] = colourOf[map[k]];
  context.putImageData(shown, 0, 0);
}

function remember() {
  undone.push(map.slice());
  if (undone.length > MOST_UNDONE) undone.shift();
  find(".likeness-undo").disabled = false;
}

function undo() {
  if (!undone.length) return;
  map.set(undone.pop());
  find(".likeness-undo").disabled = !undone.length;
  changed();
}

const size = find(".likeness-size"), cursor = find(".likeness-cursor");
size.max = Math.round(Math.min(width, height) / 2);
function resize(value) {
  size.value = value;
  find(".likeness-tools output").textContent = size.value;
  cursor.style.width = `${100 * size.value / width}%`;
}
size.addEventListener("input", () => resize(size.value));
resize(Math.max(1, Math.round(Math.min(width, height) / 10)));

// A disc at every step of the way: pixels whose centre lies within the radius.
function stroke(from, to) {
  const radius = size.value / 2, steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)));
  for (let step = 0; step <= steps; step++) {
    const x = from.x + (to.x - from.x) * step / steps, y = from.y + (to.y - from.y) * step / steps;
    const top = Math.max(0, Math.floor(y - radius)), bottom = Math.min(height - 1, Math.ceil(y + radius));
    const left = Math.max(0, Math.floor(x - radius)), right = Math.min(width - 1, Math.ceil(x + radius));
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= radius) map[row * width + column] = ids[chosen];
      }
    }
    if (x >= 0 && y >= 0 && x < width && y < height) map[Math.floor(y) * width + Math.floor(x)] = ids[chosen];
  }
}

function fill(at) {
  const start = Math.floor(at.y) * width + Math.floor(at.x), from = map[start], to = ids[chosen];
  if (from === to) return;
  const waiting = [start];
  map[start] = to;
  while (waiting.length) {
    const place = waiting.pop(), column = place % width;
    const visit = (next) => { if (map[next] === from) { map[next] = to; waiting.push(next); } };
    if (column > 0) visit(place - 1);
    if (column < width - 1) visit(place + 1);
    if (place >= width) visit(place - width);
    if (place < map.length - width) visit(place + width);
  }
}

function position(event) {
  const box = canvas.getBoundingClientRect();
  return {x: (event.clientX - box.left) / box.width * width, y: (event.clientY - box.top) / box.height * height};
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  const at = position(event);
  const inside = at.x >= 0 && at.y >= 0 && at.x < width && at.y < height;
  if (tool === "pick" || event.altKey) {
    if (inside) choose(ids.indexOf(map[Math.floor(at.y) * width + Math.floor(at.x)]));
    return;
  }
  remember();
  if (tool === "fill") { if (inside) fill(at); } else {
    canvas.setPointerCapture(event.pointerId);
    last = at;
    stroke(at, at);
  }
  changed();
});
canvas.addEventListener("pointerleave", () => { cursor.hidden = true; });
canvas.addEventListener("pointermove", (event) => {
  const {x, y} = position(event);
  cursor.hidden = tool !== "brush";
  cursor.style.left = `${100 * x / width}%`;
  cursor.style.top = `${100 * y / height}%`;
  if (!last) return;
  // The browser gathers moves; each of them is drawn.
  const moves = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const move of moves.length ? moves : [event]) { const at = position(move); stroke(last, at); last = at; }
  changed();
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { last = null; });

function choose(number) {
  chosen = number;
  element.querySelectorAll(".likeness-palette button").forEach((button, k) => {
    button.setAttribute("aria-checked", k === chosen);
  });
}
names.forEach((name, k) => {
  const button = document.createElement("button"), swatch = document.createElement("i");
  button.setAttribute("role", "radio");
  button.title = `${name}, id ${ids[k]}`;
  swatch.style.background = `rgb(${colours[k].join(",")})`;
  button.append(swatch, name);
  button.addEventListener("click", () => {
    choose(k);
    if (tool === "pick") use("brush");
  });
  find(".likeness-palette").append(button);
});
choose(0);

function use(named) {
  tool = named;
  element.querySelectorAll("[data-tool]").forEach((b) => b.setAttribute("aria-pressed", b.dataset.tool === tool));
}
element.querySelectorAll("[data-tool]").forEach((b) => b.addEventListener("click", () => use(b.dataset.tool)));
find(".likeness-undo").addEventListener("click", undo);
find(".likeness-clear").addEventListener("click", () => { remember(); map.fill(ids[chosen]); changed(); });
find(".likeness-save").addEventListener("click", async () => save(await png(), "label.png", "image/png"));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea") && event.target.type !== "range") return;
  const key = event.key.toLowerCase();
  if ((event.ctrlKey || event.metaKey) && key === "z") { event.preventDefault(); undo(); }
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (key === "b") use("brush");
  else if (key === "f") use("fill");
  else if (key === "p") use("pick");
  else if (key === "[") resize(Number(size.value) - 1);
  else if (key === "]") resize(Number(size.value) + 1);
});

const crcTable = Uint32Array.from({length: 256}, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xEDB88320 ^ n >>> 1 : n >>> 1;
  return n;
});
function chunk(kind, data) {
  const bytes = new Uint8Array(12 + data.length), view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set([...kind].map((c) => c.charCodeAt(0)), 4);
  bytes.set(data, 8);
  let crc = 0xFFFFFFFF;
  for (const byte of bytes.subarray(4, 8 + data.length)) crc = crcTable[(crc ^ byte) & 255] ^ crc >>> 8;
  view.setUint32(8 + data.length, (crc ^ 0xFFFFFFFF) >>> 0);
  return bytes;
}
// Written here, because a canvas writes colours, not ids.
async function png() {
  const rows = new Uint8Array(height * (width + 1));
  for (let row = 0; row < height; row++) rows.set(map.subarray(row * width, (row + 1) * width), row * (width + 1) + 1);
  const packed = new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate")));
  const header = new Uint8Array(13), view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8;
  return new Blob([new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", header),
    chunk("IDAT", new Uint8Array(await packed.arrayBuffer())), chunk("IEND", new Uint8Array(0))]);
}

function take(drawing) {
  const bytes = atob(drawing.ids);
  for (let k = 0; k < map.length; k++) map[k] = bytes.charCodeAt(k);
}

async function drawn() {
  const bytes = new Uint8Array(await (await png()).arrayBuffer());
  let text = "";
  for (let k = 0; k < bytes.length; k += 4096) text += String.fromCharCode(...bytes.subarray(k, k + 4096));
  return btoa(text);
}
