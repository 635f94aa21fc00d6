// What pages on which people rate pictures share: requests, the head of the page, a rater's name, keys.
// A page has the elements main, #problem, #start with the form #name and its #rater, #who, #count and #bar.
"use strict";
const byId = (id) => document.getElementById(id);
let rater = "", busy = false, preloaded = [];

// Raises an error in words, with the status of the answer where there is one.
async function ask(path, body) {
  const failed = body === undefined ? "Not loaded" : "Not saved";
  const options = body === undefined ? {} :
    {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)};
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw new Error(`${failed}: the server does not answer. Is it running? Try again, or reload the page.`);
  }
  if (response.ok) return response.json();
  const told = await response.json().catch(() => ({}));
  const reason = typeof told.detail === "string" ? told.detail : `the server answered ${response.status}`;
  throw Object.assign(new Error(`${failed}: ${reason}.`), {status: response.status});
}

// One request at a time: a key that is held down must not answer pairs that nobody has seen.
async function once(action) {
  if (busy) return;
  busy = true;
  byId("main").setAttribute("aria-busy", true);
  try {
    await action();
    byId("problem").hidden = true;
  } catch (error) {
    byId("problem").textContent = error.message;
    byId("problem").hidden = false;
  } finally {
    busy = false;
    byId("main").setAttribute("aria-busy", false);
  }
}

// Returns when all pictures are there to be seen. images: [element, address] each.
async function loaded(images) {
  for (const [image, address] of images) image.src = address;
  try {
    await Promise.all(images.map(([image]) => image.decode()));
  } catch (error) {
    throw new Error("Not loaded: a picture cannot be shown. Is the server running? Reload the page to try again.");
  }
}

function preload(addresses) {
  preloaded = addresses.map((address) => Object.assign(new Image(), {src: address}));
}

function head(state, done) {
  byId("start").hidden = true;
  byId("who").textContent = rater;
  byId("count").textContent = `${state.done} of ${state.total} ${done}`;
  byId("bar").max = state.total;
  byId("bar").value = state.done;
}

// show: shows a state, once a rater has a name. pressed: takes a key, and says whether it meant anything.
function ratingPage({show, pressed}) {
  const begin = (name) => once(async () => {
    const state = await ask(`state?rater=${encodeURIComponent(name)}`);
    rater = name;
    history.replaceState(null, "", `?rater=${encodeURIComponent(name)}`);
    document.activeElement.blur();
    await show(state);
  });
  byId("name").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("rater").value.trim();
    if (name) begin(name);
  });
  document.addEventListener("keydown", (event) => {
    if (!rater || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.repeat) {
      // Enter, held down, would press a button again and again.
      if (event.key === "Enter") event.preventDefault();
      return;
    }
    // A button that has the focus takes the space bar for itself.
    if (event.key === " " && event.target instanceof HTMLButtonElement) return;
    if (pressed(event.key.length === 1 ? event.key.toLowerCase() : event.key)) event.preventDefault();
  });
  const known = new URLSearchParams(location.search).get("rater");
  if (known) begin(known);
}
