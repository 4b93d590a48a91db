// A heading that opens and closes what stands below it; the page shows and hides that.

function render({ model, el }) {
  const heading = document.createElement("button");
  heading.className = "billing-fold";
  const show = () => {
    heading.textContent = model.get("title");
    heading.setAttribute("aria-expanded", model.get("opened"));
  };
  heading.addEventListener("click", () => {
    model.set("opened", !model.get("opened"));
    model.save_changes();
  });
  model.on("change:title change:opened", show);
  show();
  el.append(heading);
  return () => model.off("change:title change:opened", show);
}

export default { render };
