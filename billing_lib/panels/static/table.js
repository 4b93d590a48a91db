// A table that shows some rows of very many: it asks Python for those in sight and draws them.
//
// Python sends: {kind: "page", request, first, rows, at, matched, told}, {kind: "refused", told},
//               {kind: "ready"}                           all rows can be asked for now
// It is sent:   {kind: "page", request, first, count, search, filters, sort},
//               {kind: "action", at}                      the row's button was pressed
//
// The scroll bar is the browser's own, on a box as high as all rows together would be, or as high
// as a browser can make one; where it stands says which row is the first in sight.

const ROW = 26;
const VISIBLE = 18;
const HIGHEST = 8_000_000; // px; browsers stop somewhere between 17 and 33 million
const TYPING = 250; // ms without a key until what was typed is asked for

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
  const columns = model.get("columns");
  const action = model.get("action");
  const label = model.get("label");
  const state = {
    first: 0, // row in sight
    active: 0, // row of the keyboard
    matched: 0,
    most: 0, // rows that ever matched: a table of few is low, and a filter does not shrink it
    search: "",
    filters: {},
    sort: [],
    block: { first: 0, rows: [], at: [] },
    asked: 0,
    waiting: false,
    again: false,
  };

  // --- what Python is asked -------------------------------------------------------------------

  function ask() {
    if (state.waiting) {
      state.again = true; // only the last of several wishes is asked for
      return;
    }
    state.waiting = true;
    state.again = false;
    state.asked += 1;
    model.send({
      kind: "page",
      request: state.asked,
      first: Math.max(0, state.first - VISIBLE),
      count: 3 * VISIBLE,
      search: state.search,
      filters: state.filters,
      sort: state.sort,
    });
  }

  function askAnew() {
    state.first = state.active = 0;
    scroller.scrollTop = 0;
    ask();
  }

  function take(page) {
    state.waiting = false;
    state.block = page;
    state.matched = page.matched;
    status.textContent = page.told;
    status.classList.remove("billing-refused");
    state.active = Math.min(state.active, Math.max(0, state.matched - 1));
    draw();
    if (state.again) ask();
  }

  function onMessage(message) {
    if (message.kind === "page") take(message);
    if (message.kind === "ready") ask();
    if (message.kind === "refused") {
      state.waiting = false;
      status.textContent = message.told;
      status.classList.add("billing-refused");
      if (state.again) ask();
    }
  }

  // --- what is drawn --------------------------------------------------------------------------

  const search = element("input", {
    type: "search",
    placeholder: "Search all columns of text",
    ariaLabel: `Search ${label}`,
    on: { input: () => typed(() => (state.search = search.value)) },
  });
  const status = element("span", { role: "status", className: "billing-status" });

  let timer = null;
  function typed(change) {
    change();
    clearTimeout(timer);
    timer = setTimeout(askAnew, TYPING);
  }

  const headers = columns.map((column) => {
    const mark = element("span", { ariaHidden: "true" });
    const button = element("button", { type: "button", on: { click: () => sortBy(column.name) } }, column.label, mark);
    const filter = element("input", {
      type: "text",
      placeholder: column.kind === "text" ? "has …" : column.kind === "date" ? "from .. to" : "> 100",
      ariaLabel: `Filter ${column.label}`,
      on: { input: () => typed(() => (state.filters = { ...state.filters, [column.name]: filter.value })) },
    });
    const cell = element("div", { role: "columnheader", className: `billing-${column.kind}` }, button, filter);
    return { column, cell, mark };
  });

  function sortBy(name) {
    const [now] = state.sort;
    const falls = now && now[0] === name ? !now[1] : false;
    state.sort = now && now[0] === name && now[1] ? [] : [[name, falls]];
    for (const { column, cell, mark } of headers) {
      const [by] = state.sort;
      const its = by && by[0] === column.name;
      mark.textContent = its ? (by[1] ? " ▼" : " ▲") : "";
      cell.setAttribute("aria-sort", its ? (by[1] ? "descending" : "ascending") : "none");
    }
    askAnew();
  }

  const lines = Array.from({ length: VISIBLE }, (_, place) => {
    const cells = columns.map((column) => element("div", { role: "gridcell", className: `billing-${column.kind}` }));
    const row = element("div", { role: "row", id: `${model.model_id ?? "table"}-${place}`, className: "billing-row" }, ...cells);
    let button = null;
    if (action) {
      button = element("button", { type: "button", tabIndex: -1, on: { click: (event) => act(place, event) } }, action);
      row.append(element("div", { role: "gridcell", className: "billing-action" }, button));
    }
    row.addEventListener("click", () => moveTo(state.first + place));
    return { row, cells, button };
  });

  function act(place, event) {
    event?.stopPropagation();
    const index = state.first + place;
    const at = state.block.at[index - state.block.first];
    state.active = index;
    draw();
    if (at !== undefined) model.send({ kind: "action", at });
  }

  const rows = element("div", { role: "rowgroup", className: "billing-rows" }, ...lines.map(({ row }) => row));
  const spacer = element("div", { className: "billing-spacer" });
  const scroller = element("div", { className: "billing-scroller" }, spacer, rows);
  if (!action) scroller.tabIndex = 0; // what scrolls can be reached by the keyboard
  const head = element("div", { role: "rowgroup" }, element("div", { role: "row", className: "billing-head" },
    ...headers.map(({ cell }) => cell), ...(action ? [element("div", { role: "columnheader", className: "billing-action" }, action)] : [])));
  const grid = element("div", { role: "grid", tabIndex: 0, ariaLabel: label, className: "billing-grid", on: { keydown: onKey } }, head, scroller);
  const widths = columns.map(({ kind, wide }) => (kind === "text" ? `minmax(0, ${wide}fr)` : kind === "date" ? "6.2em" : "minmax(6.2em, 0.6fr)"));
  grid.style.setProperty("--billing-columns", [...widths, ...(action ? ["6.5em"] : [])].join(" "));

  function draw() {
    spacer.style.height = `${Math.min(state.matched * ROW, HIGHEST)}px`;
    state.most = Math.max(state.most, state.matched);
    scroller.style.height = `${ROW * Math.max(1, Math.min(state.most, VISIBLE))}px`;
    grid.setAttribute("aria-rowcount", state.matched + 1);
    head.style.paddingRight = `${scroller.offsetWidth - scroller.clientWidth}px`; // the scroll bar's
    const here = state.active - state.first;
    const stop = here >= 0 && here < VISIBLE ? here : 0;
    lines.forEach(({ row, cells, button }, place) => {
      const index = state.first + place;
      const texts = state.block.rows[index - state.block.first];
      row.style.visibility = index < state.matched ? "visible" : "hidden";
      row.setAttribute("aria-rowindex", index + 2);
      row.setAttribute("aria-selected", index === state.active);
      cells.forEach((cell, at) => {
        const text = texts ? texts[at] : "…";
        if (cell.textContent !== text) cell.textContent = cell.title = text;
      });
      if (button) {
        button.ariaLabel = `${action} ${texts ? texts[0] : ""}`;
        button.tabIndex = place === stop ? 0 : -1; // Tab leads from the rows to one button, not to all
      }
      if (index === state.active) grid.setAttribute("aria-activedescendant", row.id);
    });
    grid.dataset.drawn = state.block.rows.length ? "yes" : "no"; // rows are in sight
  }

  // --- where in all rows one is ---------------------------------------------------------------

  const last = () => Math.max(0, state.matched - VISIBLE);
  const travel = () => Math.max(1, Math.min(state.matched * ROW, HIGHEST) - ROW * VISIBLE);
  let scrolledTo = 0; // by the keyboard, whose rows a rounded scroll bar must not shift

  function show(first) {
    state.first = Math.max(0, Math.min(first, last()));
    draw();
    const { block } = state;
    const missing = state.first < block.first || Math.min(state.first + VISIBLE, state.matched) > block.first + block.rows.length;
    if (missing) ask();
  }

  scroller.addEventListener("scroll", () => {
    if (Math.abs(scroller.scrollTop - scrolledTo) < 1) return;
    scrolledTo = -1;
    show(Math.round((scroller.scrollTop / travel()) * last()));
  });

  function moveTo(index) {
    state.active = Math.max(0, Math.min(index, state.matched - 1));
    let first = state.first;
    if (state.active < first) first = state.active;
    if (state.active >= first + VISIBLE) first = state.active - VISIBLE + 1;
    if (first !== state.first) {
      const top = last() ? (Math.min(first, last()) / last()) * travel() : 0;
      scroller.scrollTop = top;
      scrolledTo = scroller.scrollTop;
    }
    show(first);
  }

  function onKey(event) {
    if (event.target !== grid && event.target !== scroller) return; // in a filter, keys are for the text
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: VISIBLE, PageUp: -VISIBLE, Home: -state.matched, End: state.matched };
    if (event.key in steps) moveTo(state.active + steps[event.key]);
    else if (event.key === "Enter" && action) act(state.active - state.first);
    else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab would go to another cell
  }

  el.classList.add("billing-table");
  el.append(element("div", { className: "billing-bar" }, search, status), grid);
  model.on("msg:custom", onMessage);
  take({ ...model.get("opening"), kind: "page" });
  ask(); // what Python has by now, which may be more than it opened with
  return () => model.off("msg:custom", onMessage);
}

export default { render };
