// The forms and tables of a price book, drawn from its fields (pricing/book_fields.py).
//
// Python sends: sections, content, mistakes [{place, text}], reading (nothing can be changed).
// It is sent:   content, whole, whenever a field is left.
//
// A field without a value is left out of its entry, or null if it must be there. The arrow keys go
// from row to row in a column, as in a spreadsheet.

const PAGE = 100; // rows that are drawn at once
const COLUMNS = 6; // fields beside each other; the others are below the row
const SINGLE = ["text", "long", "date", "choice", "list", "lists"];

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") for (const [kind, call] of Object.entries(value)) made.addEventListener(kind, call);
    else if (name in made && name !== "role" && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const empty = value =>
  value === undefined || value === null || value === "" ||
  (typeof value === "object" && Object.keys(value).length === 0);

// ["ann", "bob"] ↔ "ann, bob"; [["ann", "bob"], "eve"] ↔ "ann, bob; eve"
const written = (field, value) => {
  if (empty(value)) return "";
  if (field.kind === "list") return [].concat(value).join(", ");
  if (field.kind === "lists") return value.map(part => [].concat(part).join(", ")).join("; ");
  return String(value);
};
const parts = (text, mark) => text.split(mark).map(part => part.trim()).filter(Boolean);
const read = (field, text) => {
  if (field.kind === "list") return parts(text, ",");
  if (field.kind === "lists")
    return parts(text, ";").map(part => parts(part, ",")).map(part => (part.length > 1 ? part : part[0]));
  return field.kind === "long" ? text : text.trim();
};

const nameOf = entry =>
  [entry.code ?? entry.name ?? [entry.item, entry.group, entry.valid_from].filter(Boolean).join(" ")]
    .concat(entry.expense_code ?? [])
    .filter(Boolean)
    .join(" ");

const inOrder = fields => [true, false].flatMap(single => fields.filter(it => SINGLE.includes(it.kind) === single));
const YES_NO = { true: "yes", false: "no" };
const named = option => YES_NO[option] ?? option.replaceAll("_", " ");

// All that is below a row, in a few words.
const told = value => {
  if (empty(value)) return "";
  if (Array.isArray(value)) return value.map(told).filter(Boolean).join("; ");
  if (typeof value === "object") return Object.values(value).map(told).filter(Boolean).join(" ");
  return String(value);
};

function render({ model, el }) {
  const id = `billing-book-${Math.random().toString(36).slice(2)}`; // the module is loaded anew each time
  let content = structuredClone(model.get("content"));
  let current = model.get("sections")[0]?.name;
  let shown = PAGE;
  let sought = "";
  const opened = new Set(); // rows whose other fields are shown

  const keep = () => {
    model.set("content", structuredClone(content));
    model.save_changes();
    labels();
  };

  const put = (owner, field, value) => {
    if (!empty(value)) owner[field.name] = value;
    else if (field.required && field.nullable) owner[field.name] = null;
    else if (field.required && field.kind === "rows") owner[field.name] = [];
    else delete owner[field.name];
  };

  const offers = field => {
    if (!field.offered) return [];
    const [section, key] = field.offered;
    return [...new Set((content[section] || []).map(entry => entry[key]).filter(Boolean))];
  };

  // One field; `owner()` gives its entry, which is made once something is written.
  const entry = (field, place, owner, make, where) => {
    const value = written(field, owner()?.[field.name]);
    const label = where ? `${field.label}, ${where}` : field.label;
    const common = {
      "aria-label": label, title: field.help, disabled: model.get("reading"),
      "data-place": JSON.stringify([...place, field.name]),
    };
    const changed = event => {
      put(make(), field, read(field, event.target.value));
      keep();
    };
    if (field.kind === "choice") {
      const none = field.default ? `${named(field.default)} (unless told)` : "";
      const choices = field.required && value ? [] : [element("option", { value: "" }, none)];
      const known = field.options.includes(value) || !value ? field.options : [value, ...field.options];
      const made = element("select", { ...common, on: { change: changed } },
        ...choices, ...known.map(option => element("option", { value: option }, named(option))));
      made.value = value;
      return made;
    }
    if (field.kind === "long") return element("textarea", { ...common, rows: 3, value, on: { change: changed } });
    const made = element("input", {
      ...common, value, type: field.kind === "date" ? "date" : "text",
      placeholder: field.default && !place.includes("journal") ? field.default : "",
      on: { change: changed },
    });
    const offered = offers(field);
    if (offered.length) {
      const list = `${id}-${[...place, field.name].join("-")}`;
      made.setAttribute("list", list);
      return element("span", {}, made, element("datalist", { id: list }, ...offered.map(it => element("option", { value: it }))));
    }
    return made;
  };

  // The fields of one entry, with their labels.
  const form = (fields, place, owner, make, where) =>
    element("div", { className: "fields" }, ...inOrder(fields).map(field => {
      if (SINGLE.includes(field.kind))
        return element("label", { className: field.kind },
          element("span", {}, field.label + (field.required ? " *" : "")), entry(field, place, owner, make, where));
      return element("fieldset", {}, element("legend", { title: field.help }, field.label), nested(field, place, owner, make, where));
    }));

  const nested = (field, place, owner, make, where) => {
    const here = [...place, field.name];
    const own = () => owner()?.[field.name];
    const name = where ? `${field.label}, ${where}` : place.length || field.kind === "rows" ? field.label : "";
    if (field.kind === "rows")
      return rows(field, here, () => own() || [], () => (make()[field.name] ??= []), value => put(make(), field, value), name);
    if (field.kind === "map") return map(field, here, own, () => (make()[field.name] ??= {}), value => put(make(), field, value), name);
    const made = form(field.fields, here, own, () => (make()[field.name] ??= {}), name);
    made.addEventListener("change", () => empty(own()) && put(make(), field, undefined), true);
    return made;
  };

  // Texts by key, such as business hours by day.
  const map = (field, place, own, make, set, where) => {
    const box = element("div");
    const draw = () => {
      const pairs = Object.entries(own() || {});
      const store = () => {
        set(Object.fromEntries(pairs.filter(([key]) => key)));
        keep();
      };
      const line = (pair, at) => {
        const cell = (part, label, path) => element("input", {
          value: pair[part], "aria-label": `${label} ${at + 1}, ${where}`, disabled: model.get("reading"),
          "data-place": JSON.stringify(path),
          on: { change: event => { pair[part] = event.target.value.trim(); store(); } },
        });
        return element("tr", {}, element("td", {}, cell(0, "Key", [...place, pair[0], "key"])),
          element("td", {}, cell(1, "Value", [...place, pair[0]])),
          element("td", {}, button("Delete", `Delete ${pair[0] || at + 1}, ${where}`, () => { pairs.splice(at, 1); store(); draw(); })));
      };
      const add = button("Add", `Add to ${where}`, () => {
        pairs.push(["", ""]);
        body.append(line(pairs.at(-1), pairs.length - 1));
        body.querySelector("tr:last-child input").focus();
      });
      const body = element("tbody", {}, ...pairs.map(line));
      box.replaceChildren(element("table", { "aria-label": where }, body), add);
    };
    draw();
    return box;
  };

  const button = (text, label, call) =>
    element("button", { type: "button", "aria-label": label, disabled: model.get("reading"), on: { click: call } }, text);

  // Entries, one a row; fields that do not fit beside each other are below their row.
  const rows = (field, place, list, make, set, where) => {
    const box = element("div");
    const top = place.length === 1;
    const draw = focus => {
      const all = list();
      const used = field.fields.filter(it => SINGLE.includes(it.kind) && it.kind !== "long");
      const wanted = used.filter(it => it.required || all.some(entry => !empty(entry[it.name])));
      const columns = (top ? wanted : used).slice(0, COLUMNS);
      const others = field.fields.filter(it => !columns.includes(it));
      const words = sought.toLowerCase();
      const matching = [...all.keys()].filter(at => !top || !words || JSON.stringify(all[at]).toLowerCase().includes(words));
      const body = element("tbody");
      const change = call => {
        call(make());
        set(list());
        keep();
      };
      for (const at of matching.slice(0, top ? shown : undefined)) {
        const here = [...place, at];
        const key = JSON.stringify(here);
        const who = () => `${where.toLowerCase()} ${at + 1}${nameOf(all[at]) ? ` (${nameOf(all[at])})` : ""}`;
        const cells = columns.map(it => element("td", { className: it.kind }, entry(it, here, () => all[at], () => all[at], who())));
        const more = element("tr", { className: "more", hidden: !opened.has(key), "data-row": key });
        const fill = () => !more.hidden && !more.firstChild && more.append(
          element("td", { colSpan: columns.length + 2 }, form(others, here, () => all[at], () => all[at], who())));
        const summary = () => others.map(it => told(all[at][it.name])).filter(Boolean).join(" · ") || "More";
        const open = element("button", {
          type: "button", className: "open", "aria-expanded": String(!more.hidden), "aria-label": `More of ${who()}`,
          on: { click: () => {
            more.hidden = !more.hidden;
            opened[more.hidden ? "delete" : "add"](key);
            open.setAttribute("aria-expanded", String(!more.hidden));
            fill();
          } },
        }, summary());
        more.addEventListener("change", () => (open.textContent = summary()));
        fill();
        if (others.length) cells.push(element("td", { className: "rest" }, open));
        cells.push(element("td", { className: "acts" },
          button("Copy", `Copy ${who()}`, () => { change(it => it.splice(at + 1, 0, structuredClone(it[at]))); opened.clear(); draw(at + 1); }),
          button("Delete", `Delete ${who()}`, () => { change(it => it.splice(at, 1)); opened.clear(); draw(Math.min(at, list().length - 1)); })));
        body.append(element("tr", { "data-row": key }, ...cells));
        if (others.length) body.append(more);
      }
      const head = columns.map(it => element("th", { scope: "col", title: it.help }, it.label + (it.required ? " *" : "")));
      if (others.length) head.push(element("th", { scope: "col" }, "More"));
      head.push(element("td"));
      const add = button("Add", `Add to ${where.toLowerCase()}`, () => {
        sought = "";
        shown = Math.max(shown, list().length + 1);
        change(it => it.push({}));
        draw(list().length - 1);
      });
      const after = [add];
      const left = matching.length - shown;
      if (top && left > 0) after.push(element("button", { type: "button", on: { click: () => { shown += PAGE; draw(); } } }, `Show more (${left.toLocaleString("en")} left)`));
      const parts = [element("table", { "aria-label": where }, element("thead", {}, element("tr", {}, ...head)), body), element("p", {}, ...after)];
      if (!all.length) parts.shift();
      if (top && all.length > 12) {
        const search = element("input", { type: "search", value: sought, placeholder: "Search", "aria-label": `Search in ${where.toLowerCase()}` });
        search.addEventListener("change", () => { sought = search.value; draw(); box.querySelector("input[type=search]").focus(); });
        parts.unshift(element("p", {}, search));
      }
      box.replaceChildren(...parts);
      if (focus !== undefined) box.querySelectorAll(":scope > table > tbody > tr:not(.more)")[focus]?.querySelector("input, select")?.focus();
      mark();
    };
    draw();
    return box;
  };

  const nav = element("nav", { "aria-label": "Sections of the price book" });
  const wrong = element("div", { role: "alert", className: "wrong" });
  const page = element("div", { className: "section" });

  const mistakesOf = name => model.get("mistakes").filter(it => (it.place[0] ?? "facility") === name);
  const labels = () => {
    nav.replaceChildren(...model.get("sections").map(field => {
      const count = Array.isArray(content[field.name]) ? ` ${content[field.name].length.toLocaleString("en")}` : "";
      const amiss = mistakesOf(field.name).length;
      const made = element("button", { type: "button", on: { click: () => go(field.name) } },
        element("span", {}, field.label), element("small", {}, count), amiss ? element("b", {}, ` ${amiss} to correct`) : "");
      if (field.name === current) made.setAttribute("aria-current", "true");
      return made;
    }));
  };

  const go = name => {
    if (name !== current) [shown, sought] = [PAGE, ""];
    current = name;
    const field = model.get("sections").find(it => it.name === name);
    if (!field) return;
    const parts = [nested(field, [], () => content, () => content, "")];
    if (field.help) parts.unshift(element("p", {}, field.help));
    page.replaceChildren(element("h3", {}, field.label), ...parts);
    labels();
    mark();
  };

  // The field of a mistake: the one with its keys, or the first below or above them.
  const fieldOf = place => {
    const all = [...page.querySelectorAll("[data-place]")].map(it => [it, JSON.parse(it.dataset.place)]);
    const starts = (long, short) => short.every((part, at) => String(part) === String(long[at]));
    for (let known = place; known.length > 1; known = known.slice(0, -1)) {
      const found = all.find(([, path]) => path.length >= known.length && starts(path, known));
      if (found) return found[0];
    }
    return null;
  };

  const mark = () => {
    page.querySelectorAll("[aria-invalid]").forEach(it => {
      it.removeAttribute("aria-invalid");
      it.removeAttribute("aria-describedby");
    });
    page.querySelectorAll(".mistake").forEach(it => it.remove());
    mistakesOf(current).forEach((it, at) => {
      const field = reveal(it.place);
      if (!field) return;
      const told = element("p", { className: "mistake", id: `${id}-mistake-${at}` }, it.text);
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-describedby", told.id);
      field.parentElement.append(told);
    });
  };

  // The field, with the fields below its row shown if it is one of them.
  const reveal = place => {
    const key = JSON.stringify(place.slice(0, 2));
    const more = [...page.querySelectorAll("tr.more")].find(row => row.dataset.row === key);
    const direct = [...page.querySelectorAll("[data-place]")].find(it => it.dataset.place === JSON.stringify(place));
    if (!direct && more?.hidden && place.length > 2) more.previousElementSibling.querySelector(".open").click();
    return fieldOf(place);
  };

  const tell = () => {
    wrong.replaceChildren(...(model.get("mistakes").length ? [element("p", {}, "To correct before this can be saved:"),
      element("ul", {}, ...model.get("mistakes").map(it => element("li", {},
        element("button", { type: "button", on: { click: () => { go(it.place[0] ?? "facility"); reveal(it.place)?.focus(); } } }, it.where),
        ` ${it.text}`)))] : []));
    labels();
    mark();
  };

  const root = element("div", { className: "billing-book", "data-lm-suppress-shortcuts": "true" }, nav, wrong, page);
  root.addEventListener("keydown", event => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const cell = event.target.closest("td");
    const row = cell?.parentElement;
    if (!row?.dataset.row || row.classList.contains("more") || event.target.tagName !== "INPUT" || event.target.type === "date") return;
    const all = [...row.parentElement.children].filter(it => !it.classList.contains("more"));
    const next = all[all.indexOf(row) + (event.key === "ArrowDown" ? 1 : -1)];
    const field = next?.children[cell.cellIndex]?.querySelector("input, select");
    if (field && !event.target.getAttribute("list")) {
      event.preventDefault();
      field.focus();
    }
  });
  el.append(root);
  go(current);
  tell();

  const renew = () => {
    content = structuredClone(model.get("content"));
    opened.clear();
    if (!model.get("sections").some(it => it.name === current)) current = model.get("sections")[0]?.name;
    go(current);
    tell();
  };
  model.on("change:version", renew);
  model.on("change:mistakes", tell);
  model.on("change:reading", renew);
}

export default { render };
