// A table that shows some rows of very many: it asks Python for those in sight and draws them.
//
// Python sends: {kind: "page", request, first, rows, names, matched, told, ticked, selected},
//               {kind: "refused", request, told, selected}   a filter cannot be read
//               {kind: "ready"}                   other rows or ticks can be asked for now
// It is sent:   {kind: "page", request, first, count, search, filters, sort},
//               {kind: "action", name}            the row's button was pressed
//               {kind: "tick", name, ticked}      the row's box was
//               {kind: "range", from, name, ticked, search, filters, sort}
//               {kind: "all", ticked}             all that match are selected, or none
//
// The scroll bar is the browser's own, on a box as high as all rows together would be, or as high
// as a browser can make one; where it stands says which row is the first in sight.

const ROW = 26;
const HIGHEST = 8_000_000; // px; browsers stop somewhere between 17 and 33 million
const TYPING = 250; // ms without a key until what was typed is asked for
const RESTING = 100; // ms on a row until it is gone to

const HINTS = {
  text: "laser: has it, whatever its case · = p1: just this · =: is empty",
  number: "> 100 · <= 5 · 3 .. 10 · 7",
  money: "> 100 · <= 5 · 3 .. 10 · 7.50",
  date: "2020-04-06 · >= 2020-04-06 · 2020-04-01 .. 2020-04-15",
};

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") for (const [kind, call] of Object.entries(value)) made.addEventListener(kind, call);
    else if (name in made && name !== "role") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function render({ model, el }) {
  // A number by chance: each table loads this module anew, and other pages are in the document, too.
  const id = `billing-table-${Math.random().toString(36).slice(2)}`;
  const columns = model.get("columns");
  const action = model.get("action");
  const label = model.get("label");
  const ticks = model.get("ticks");
  const follow = model.get("follow"); // going to a row is what its button would be
  const visible = model.get("visible"); // rows in sight
  const state = {
    first: 0, // row in sight
    active: 0, // row of the keyboard
    sought: false, // whether the row that Python names is gone to
    going: false, // whether Python is told of the row gone to
    from: "", // name of the row ticked last, where a range begins
    matched: 0,
    most: 0, // rows that ever matched: a table of few is low, and a filter does not shrink it
    search: "",
    filters: {},
    sort: [],
    block: { first: 0, rows: [], names: [], ticked: [] },
    asked: 0,
    waiting: false,
    again: false,
  };

  // --- what Python is asked -------------------------------------------------------------------

  const question = () => ({ search: state.search, filters: state.filters, sort: state.sort });

  function ask(now = false) {
    if (state.waiting && !now) {
      state.again = true; // only the last of several wishes is asked for
      return;
    }
    state.waiting = true;
    state.again = false;
    state.asked += 1;
    model.send({
      kind: "page",
      request: `${id}/${state.asked}`,
      first: Math.max(0, state.first - visible),
      count: 3 * visible,
      ...question(),
    });
  }

  function askAnew(now = false) {
    model.set("question", question()); // another view of the same table asks the same
    model.save_changes();
    state.first = state.active = 0;
    scroller.scrollTop = 0;
    ask(now);
  }

  function take(page) {
    state.waiting = false;
    state.block = page;
    state.matched = page.matched;
    status.textContent = page.told;
    status.classList.remove("billing-refused");
    selected.textContent = page.selected ?? "";
    const current = state.sought ? page.names.indexOf(model.get("current")) : -1;
    state.active = current < 0 ? Math.min(state.active, Math.max(0, state.matched - 1)) : page.first + current;
    state.sought = false;
    draw();
    go();
    if (state.again) ask();
  }

  function onMessage(message) {
    if (message.request !== undefined && message.request !== `${id}/${state.asked}`) return; // asked otherwise since
    if (message.kind === "page") take(message);
    if (message.kind === "ready") {
      state.sought = true;
      ask();
    }
    if (message.kind === "refused") {
      state.waiting = false;
      status.textContent = message.told;
      status.classList.add("billing-refused");
      selected.textContent = message.selected;
      state.block.ticked = [];
      draw();
      if (state.again) ask();
    }
  }

  // --- what is drawn --------------------------------------------------------------------------

  const search = element("input", {
    type: "search",
    placeholder: "Search all columns of text",
    ariaLabel: `Search ${label}`,
    on: { input: () => typed(() => (state.search = search.value)), change: settle },
  });
  const status = element("span", { role: "status", className: "billing-status" });
  const clear = element("button", { type: "button", on: { click: clearAll } }, "Clear the filter");
  const selected = element("span", { role: "status", className: "billing-selected" });
  const choosing = element("div", { className: "billing-bar" },
    element("button", { type: "button", on: { click: () => tickAll(true) } }, "Select all that match"),
    element("button", { type: "button", on: { click: () => tickAll(false) } }, "Select none"),
    selected);

  let timer = null;
  function typed(change) {
    change();
    clearTimeout(timer);
    timer = setTimeout(settle, TYPING);
  }

  // What was typed is asked for before the button that one leaves the field for is heard of.
  function settle() {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    askAnew(true);
  }

  function clearAll() {
    Object.assign(state, { search: "", filters: {} });
    fill();
    askAnew(true);
  }

  function fill() {
    search.value = state.search;
    for (const { column, cell, mark, filter } of headers) {
      const [by] = state.sort;
      const its = by && by[0] === column.name;
      filter.value = state.filters[column.name] ?? "";
      mark.textContent = its ? (by[1] ? " ▼" : " ▲") : "";
      cell.setAttribute("aria-sort", its ? (by[1] ? "descending" : "ascending") : "none");
    }
  }

  function adopt() { // unless something is being typed here
    if (timer !== null || JSON.stringify(model.get("question")) === JSON.stringify(question())) return;
    Object.assign(state, model.get("question"));
    fill();
    askAnew(true);
  }

  const headers = columns.map((column) => {
    const mark = element("span", { ariaHidden: "true" });
    const button = element("button", { type: "button", title: column.label, on: { click: () => sortBy(column.name) } }, column.label, mark);
    const filter = element("input", {
      type: "text",
      placeholder: column.kind === "text" ? "has …" : column.kind === "date" ? "from .. to" : "> 100",
      ariaLabel: `Filter ${column.label}`,
      title: HINTS[column.kind],
      on: { input: () => typed(() => (state.filters = { ...state.filters, [column.name]: filter.value })), change: settle },
    });
    const offers = element("datalist", { id: `${id}-${column.name}` });
    filter.setAttribute("list", offers.id);
    const cell = element("div", { role: "columnheader", className: `billing-${column.kind}` }, button, filter, offers);
    return { column, cell, mark, filter, offers };
  });

  function offer() {
    const offered = model.get("offers");
    for (const { column, offers } of headers)
      offers.replaceChildren(...(offered[column.name] ?? []).map((value) => element("option", { value })));
  }

  function sortBy(name) {
    const [now] = state.sort;
    const falls = now && now[0] === name ? !now[1] : false;
    state.sort = now && now[0] === name && now[1] ? [] : [[name, falls]];
    fill();
    askAnew();
  }

  const lines = Array.from({ length: visible }, (_, place) => {
    const cells = columns.map((column) => element("div", { role: "gridcell", className: `billing-${column.kind}` }));
    const row = element("div", { role: "row", id: `${id}-${place}`, className: "billing-row" }, ...cells);
    let box = null;
    if (ticks) {
      box = element("input", { type: "checkbox", tabIndex: -1, on: { click: (event) => tick(state.first + place, box.checked, event) } });
      row.prepend(element("div", { role: "gridcell", className: "billing-tick" }, box));
    }
    let button = null;
    if (action) {
      button = element("button", { type: "button", tabIndex: -1, on: { click: (event) => act(place, event) } }, action);
      row.append(element("div", { role: "gridcell", className: "billing-action" }, button));
    }
    row.addEventListener("click", () => moveTo(state.first + place));
    return { row, cells, button, box };
  });

  function act(place, event) {
    event?.stopPropagation();
    const index = state.first + place;
    const name = state.block.names[index - state.block.first];
    state.active = index;
    draw();
    if (name !== undefined) model.send({ kind: "action", name });
  }

  function tick(index, ticked, event) {
    event.stopPropagation();
    const place = index - state.block.first;
    const name = state.block.names[place];
    state.active = index;
    if (name !== undefined) {
      state.block.ticked[place] = ticked; // seen at once; Python says the same soon
      if (event.shiftKey) model.send({ kind: "range", from: state.from, name, ticked, ...question() });
      else model.send({ kind: "tick", name, ticked });
      state.from = name;
      ask(true); // a page that was asked for before does not know of it
    }
    draw();
  }

  const rows = element("div", { role: "rowgroup", className: "billing-rows" }, ...lines.map(({ row }) => row));
  const spacer = element("div", { className: "billing-spacer" });
  const scroller = element("div", { className: "billing-scroller" }, spacer, rows);
  const head = element("div", { role: "rowgroup" }, element("div", { role: "row", className: "billing-head" },
    ...(ticks ? [element("div", { role: "columnheader", ariaLabel: "Selected", className: "billing-tick" })] : []),
    ...headers.map(({ cell }) => cell), ...(action ? [element("div", { role: "columnheader", className: "billing-action" }, action)] : [])));
  const grid = element("div", { role: "grid", tabIndex: 0, ariaLabel: label, className: follow ? "billing-grid billing-follow" : "billing-grid", on: { keydown: onKey } }, head, scroller);
  if (ticks) grid.setAttribute("aria-multiselectable", "true");

  // Headings, the name of a row and numbers are seen whole; other texts share what is left.
  function size() {
    const letters = model.get("letters");
    const widths = columns.map(({ kind, label: heading }, at) => {
      const least = Math.max(4, 0.68 * heading.length + 0.3, kind === "text" && at ? 0 : 0.65 * letters[at]);
      return `minmax(${least}em, ${kind === "text" ? letters[at] : 1}fr)`;
    });
    grid.style.setProperty("--billing-columns", [...(ticks ? ["1.4em"] : []), ...widths, ...(action ? ["6.5em"] : [])].join(" "));
  }

  function draw() {
    spacer.style.height = `${Math.min(state.matched * ROW, HIGHEST)}px`;
    state.most = Math.max(state.most, state.matched);
    scroller.style.height = `${ROW * Math.max(1, Math.min(state.most, visible))}px`;
    grid.setAttribute("aria-rowcount", state.matched + 1);
    head.style.paddingRight = `${scroller.offsetWidth - scroller.clientWidth}px`; // the scroll bar's
    const here = state.active - state.first;
    const stop = here >= 0 && here < visible ? here : 0;
    lines.forEach(({ row, cells, button, box }, place) => {
      const index = state.first + place;
      const texts = state.block.rows[index - state.block.first];
      const ticked = isTicked(index);
      row.style.visibility = index < state.matched ? "visible" : "hidden";
      row.setAttribute("aria-rowindex", index + 2);
      row.classList.toggle("billing-active", index === state.active);
      row.setAttribute("aria-selected", ticks ? ticked : index === state.active);
      cells.forEach((cell, at) => {
        const text = texts ? texts[at] : "…";
        if (cell.textContent !== text) cell.textContent = cell.title = text;
      });
      if (button) {
        button.ariaLabel = `${action} ${texts ? texts[0] : ""}`;
        button.tabIndex = place === stop ? 0 : -1; // Tab leads from the rows to one button, not to all
      }
      if (box) {
        box.checked = ticked;
        box.ariaLabel = `Select ${texts ? texts[0] : ""}`;
        box.tabIndex = place === stop ? 0 : -1;
      }
      if (!button && !box) row.tabIndex = place === stop ? 0 : -1; // what scrolls is reached by Tab
      if (index === state.active) grid.setAttribute("aria-activedescendant", row.id);
    });
    grid.dataset.drawn = state.block.rows.length ? "yes" : "no"; // rows are in sight
  }

  // --- where in all rows one is ---------------------------------------------------------------

  const last = () => Math.max(0, state.matched - visible);
  const travel = () => Math.max(1, Math.min(state.matched * ROW, HIGHEST) - ROW * visible);
  let scrolledTo = 0; // by the keyboard, whose rows a rounded scroll bar must not shift

  function show(first) {
    state.first = Math.max(0, Math.min(first, last()));
    draw();
    const { block } = state;
    const missing = state.first < block.first || Math.min(state.first + visible, state.matched) > block.first + block.rows.length;
    if (missing) ask();
  }

  scroller.addEventListener("scroll", () => {
    if (Math.abs(scroller.scrollTop - scrolledTo) < 1) return;
    scrolledTo = -1;
    show(Math.round((scroller.scrollTop / travel()) * last()));
  });

  let rest = null;
  function moveTo(index) {
    state.active = Math.max(0, Math.min(index, state.matched - 1));
    let first = state.first;
    if (state.active < first) first = state.active;
    if (state.active >= first + visible) first = state.active - visible + 1;
    if (first !== state.first) {
      const top = last() ? (Math.min(first, last()) / last()) * travel() : 0;
      scroller.scrollTop = top;
      scrolledTo = scroller.scrollTop;
    }
    show(first);
    if (document.activeElement?.parentElement === rows) lines[state.active - state.first]?.row.focus({ preventScroll: true });
    state.going = follow;
    clearTimeout(rest);
    rest = setTimeout(go, RESTING);
  }

  function go() {
    const name = state.block.names[state.active - state.block.first];
    if (!state.going || name === undefined) return; // or it is told as soon as it is known
    state.going = false;
    model.send({ kind: "action", name });
  }

  function tickAll(ticked) {
    model.send({ kind: "all", ticked });
    ask(true);
  }

  const isTicked = (index) => Boolean(state.block.ticked?.[index - state.block.first]);

  function onKey(event) {
    if (event.target.matches("input, button")) return; // in a filter, keys are for the text
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: visible, PageUp: -visible, Home: -state.matched, End: state.matched };
    if (event.key in steps) moveTo(state.active + steps[event.key]);
    else if (event.key === "Enter" && action) act(state.active - state.first);
    else if (event.key === " " && ticks) tick(state.active, event.shiftKey || !isTicked(state.active), event);
    else if (event.key === "a" && ticks && (event.ctrlKey || event.metaKey)) tickAll(true);
    else if (event.key in model.get("shortcuts") && !event.ctrlKey && !event.metaKey && !event.altKey) model.send({ kind: "key", key: event.key });
    else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab would go to another cell
  }

  el.classList.add("billing-table");
  el.append(element("div", { className: "billing-bar" }, search, clear, status), grid, ...(ticks ? [choosing] : []));
  offer();
  size();
  model.on("change:question", adopt);
  model.on("change:offers", offer);
  model.on("change:letters", size);
  model.on("msg:custom", onMessage);
  Object.assign(state, model.get("question"));
  fill();
  take(structuredClone(model.get("opening")));
  ask(); // what Python has by now, which may be more than it opened with
  return () => {
    model.off("change:question", adopt);
    model.off("change:offers", offer);
    model.off("change:letters", size);
    model.off("msg:custom", onMessage);
  };
}

export default { render };
