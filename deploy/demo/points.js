// The label map as points that are dragged: 68 landmarks of a face or 18 keypoints of a body.
// `element`, `props`, `trigger` and `watch` are what Gradio hands to a custom HTML component.
const {width, height, member, unit, lowest, highest, decimals, radius, hidden, forehead} = props.spec;
const {lines, colours, parts} = props.spec;
const find = (selector) => element.querySelector(selector);
const WIDE = 1000, HIGH = WIDE * height / width, REACH = 45;
const stage = find(".likeness-stage"), svg = find("svg"), under = find(".likeness-stage img");
stage.style.aspectRatio = `${width} / ${height}`;
svg.setAttribute("viewBox", `0 0 ${WIDE} ${HIGH}`);
const rounded = (value) => Math.round(10 ** decimals * value) / 10 ** decimals;
const undone = [], MOST_UNDONE = 100;
const dots = [], strokes = [];
let points = [], tool = "point", dragged = null, hovered = -1;

const there = (point) => !hidden || point[2] > 0;
const place = (point) => [point[0] / unit * WIDE, point[1] / unit * HIGH];
const partOf = (number) => parts.find((part) => part.points.includes(number));
const rgb = (colour) => `rgb(${colour.join(",")})`;

function make(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  svg.append(made);
  return made;
}

// The forehead is the jaw mirrored upward and flattened, as the sketch that the model reads.
function withForehead(given) {
  if (!forehead) return given;
  const both = given[0][1] + given[16][1];
  return [...given, ...given.slice(1, 16).reverse().map(([x, y]) => [x, both / 2 + (both - 2 * y) / 3])];
}

lines.forEach((_, k) => strokes.push(make("polyline", {stroke: rgb(colours[k]), class: "likeness-line"})));

function show() {
  const every = withForehead(points);
  lines.forEach((line, k) => {
    const drawable = line.every((number) => number >= points.length || there(points[number]));
    const way = drawable ? line.map((number) => place(every[number]).map((v) => v.toFixed(1)).join(",")) : [];
    strokes[k].setAttribute("points", way.join(" "));
  });
  while (dots.length < points.length) dots.push(make("circle", {r: radius}));
  const moving = dragged ? dragged.moves : hovered < 0 ? [] : moved(hovered, tool);
  points.forEach((point, k) => {
    const [x, y] = place(point);
    dots[k].setAttribute("cx", x);
    dots[k].setAttribute("cy", y);
    const classes = ["likeness-dot", there(point) ? "" : "likeness-off", moving.includes(k) ? "likeness-moving" : ""];
    dots[k].setAttribute("class", classes.join(" "));
  });
}

function moved(number, how) {
  if (how === "all") return points.map((_, k) => k);
  return how === "part" ? [...partOf(number).points] : [number];
}

function remember() {
  undone.push(points.map((point) => [...point]));
  if (undone.length > MOST_UNDONE) undone.shift();
  find(".likeness-undo").disabled = false;
}

function undo() {
  if (!undone.length) return;
  points = undone.pop();
  find(".likeness-undo").disabled = !undone.length;
  changed();
}

function position(event) {
  const box = svg.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * WIDE, (event.clientY - box.top) / box.height * HIGH];
}

// Points of an eye lie close together: the nearest is meant, not the topmost.
function nearest([x, y]) {
  let best = -1, least = REACH;
  points.forEach((point, k) => {
    const [px, py] = place(point), distance = Math.hypot(px - x, py - y);
    if (distance < least) { best = k; least = distance; }
  });
  return best;
}

function say(number) {
  const toggle = hidden ? " · double-click: hide or show a keypoint" : "";
  const named = number < 0 ? "Drag the points" : `${partOf(number).name} (${number})`;
  find(".likeness-hint").textContent = `${named} · hold Shift to move a whole part${toggle}`;
}

svg.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  const at = position(event), number = nearest(at);
  if (number < 0) return;
  event.preventDefault();
  svg.setPointerCapture(event.pointerId);
  remember();
  const moves = moved(number, event.shiftKey && tool === "point" ? "part" : tool);
  dragged = {from: at, moves, start: points.map((point) => [...point])};
  show();
});
svg.addEventListener("pointermove", (event) => {
  const at = position(event);
  if (!dragged) {
    const number = nearest(at);
    if (number !== hovered) { hovered = number; say(number); show(); }
    svg.style.cursor = number < 0 ? "default" : "grab";
    return;
  }
  svg.style.cursor = "grabbing";
  const [right, down] = [0, 1].map((axis) => {
    // A part that meets the border stops as a whole: it keeps its shape.
    const held = dragged.moves.map((k) => dragged.start[k][axis]);
    const shift = (at[axis] - dragged.from[axis]) / (axis ? HIGH : WIDE) * unit;
    return Math.min(Math.max(0, highest - Math.max(...held)), Math.max(Math.min(0, lowest - Math.min(...held)), shift));
  });
  for (const k of dragged.moves) {
    const [x, y, ...rest] = dragged.start[k];
    points[k] = [rounded(x + right), rounded(y + down), ...rest];
  }
  changed();
});
for (const end of ["pointerup", "pointercancel"]) {
  svg.addEventListener(end, () => { if (dragged) { dragged = null; show(); } });
}
svg.addEventListener("pointerleave", () => { hovered = -1; say(-1); show(); });
svg.addEventListener("dblclick", (event) => {
  const number = nearest(position(event));
  if (!hidden || number < 0) return;
  remember();
  points[number] = [...points[number].slice(0, 2), there(points[number]) ? 0 : 1];
  changed();
});

function use(named) {
  tool = named;
  element.querySelectorAll("[data-tool]").forEach((b) => b.setAttribute("aria-pressed", b.dataset.tool === tool));
}
element.querySelectorAll("[data-tool]").forEach((b) => b.addEventListener("click", () => use(b.dataset.tool)));
find(".likeness-undo").addEventListener("click", undo);
find(".likeness-save").addEventListener("click", async () => {
  save(new Blob([await drawn()]), "label.json", "application/json");
});
find(".likeness-under").addEventListener("change", (event) => { under.hidden = !event.target.checked; });
document.addEventListener("keydown", (event) => {
  if (event.target.matches("textarea, input:not([type=checkbox])")) return;
  const how = {1: "point", 2: "part", 3: "all"}[event.key];
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); undo(); }
  else if (how && !event.ctrlKey && !event.metaKey && !event.altKey) use(how);
});

// The picture that was made last lies behind the points. Gradio may mount its place after this one, and anew.
new MutationObserver(() => {
  const made = document.querySelector("#likeness-picture img");
  if (!made) under.removeAttribute("src");
  else if (under.src !== made.src) under.src = made.src;
}).observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ["src"]});

function take(drawing) {
  const middle = (point) => hidden && !(point[2] > 0) && !point[0] && !point[1] ? [0.5, 0.5, 0] : [...point];
  points = drawing.points.map(middle);
}

const drawn = async () => JSON.stringify({[member]: points});
say(-1);
