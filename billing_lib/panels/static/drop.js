// A place to drop files on, or to choose some: their bytes go to Python in pieces of 1 MiB, each
// after Python has said that it has the one before. JupyterLab ends a connection on which more than
// 10 MB come at once.
//
// It is sent:   {kind: "begin", name, size}, then {kind: "piece"} with the bytes, one at a time
// Python sends: {kind: "more", received}, at last {kind: "done"}; {kind: "refused", told}

const PIECE = 1024 * 1024;

function render({ model, el }) {
  const zone = document.createElement("div");
  zone.className = "billing-drop";
  zone.innerHTML = `<label><span></span> <input type="file" multiple></label>
    <div class="billing-going" hidden><progress max="1" value="0" aria-label="Upload"></progress>
    <span></span></div><div role="status"></div>`;
  zone.querySelector("label span").textContent = `${model.get("label")}:`;
  const input = zone.querySelector("input");
  input.accept = model.get("accept");
  const going = zone.querySelector(".billing-going");
  const bar = zone.querySelector("progress");
  const words = going.querySelector("span");
  const said = zone.querySelector("[role=status]");
  const waiting = [];
  let file = null;

  const say = (text, refused) => {
    said.textContent = text;
    said.className = refused ? "billing-refused" : "";
  };
  const next = () => {
    file = waiting.shift() || null;
    going.hidden = file === null;
    input.disabled = file !== null;
    if (file) {
      bar.value = 0;
      words.textContent = `${file.name} begins`;
      model.send({ kind: "begin", name: file.name, size: file.size });
    }
  };
  const take = files => {
    waiting.push(...files);
    if (!file && waiting.length) {
      say("", false);
      next();
    }
  };
  const megabytes = bytes => (bytes / 1048576).toLocaleString("en-US", { maximumFractionDigits: 1 });

  const heard = async message => {
    if (message.kind === "more" && file) {
      bar.value = file.size ? message.received / file.size : 1;
      words.textContent = `${file.name}: ${megabytes(message.received)} of ${megabytes(file.size)} MB`;
      const sent = file;
      try {
        const piece = await file.slice(message.received, message.received + PIECE).arrayBuffer();
        model.send({ kind: "piece" }, undefined, [piece]);
      } catch (error) {
        say(`${sent.name} cannot be read: ${error.message}`, true);
        next();
      }
    } else if (message.kind === "done" || message.kind === "refused") {
      say(message.told, message.kind === "refused");
      next();
    }
  };
  model.on("msg:custom", heard);
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = "";
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    zone.addEventListener(kind, event => {
      event.preventDefault();
      event.stopPropagation();
      zone.classList.toggle("billing-over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") take([...event.dataTransfer.files]);
    });
  }
  el.append(zone);
  return () => model.off("msg:custom", heard);
}

export default { render };
