// What both ways of drawing share: they define show(), take(drawing), drawn() and remember().
function save(blob, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([blob], {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// While the model is busy Gradio keeps only that something changed, and reads the newest value when it is done.
const PAUSE = 40;
let sending = false, newer = false;
function changed() {
  show();
  newer = true;
  if (!sending) { sending = true; setTimeout(send, PAUSE); }
}

async function send() {
  newer = false;
  props.value = {drawn: await drawn()};
  trigger("draw");
  if (newer) setTimeout(send, PAUSE); else sending = false;
}

watch("value", () => {
  if (!props.value.drawing) return;
  remember();
  take(props.value.drawing);
  changed();
});
take(props.value.drawing);
changed();
