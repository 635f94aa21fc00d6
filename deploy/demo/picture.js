// The label map as a picture that is uploaded: shown, sent and saved as it is.
// `element`, `props`, `trigger` and `watch` are what Gradio hands to a custom HTML component.
const {width, height} = props.spec;
const find = (selector) => element.querySelector(selector);
const stage = find(".likeness-stage"), shown = stage.querySelector("img");
stage.style.aspectRatio = `${width} / ${height}`;
let picture = "";

const show = () => { shown.src = `data:image/png;base64,${picture}`; };
const remember = () => {};
const take = (drawing) => { picture = drawing.picture; };
const drawn = async () => picture;

find(".likeness-save").addEventListener("click", () => {
  save(Uint8Array.from(atob(picture), (character) => character.charCodeAt(0)), "label.png", "image/png");
});
