// The table of edits: search, filters, sorting, pages, probes on demand. The fragment
// "#edit=12" opens row 12 of the data.
(function () {
  const data = dataOf("edits-data");
  const root = document.getElementById("edit-table");
  if (!data || !root) return;
  const PAGE = 20;
  const t = (i) => data.texts[i];
  const rows = data.rows.map((r, index) => {
    const edit = {};
    for (const [name, value] of Object.entries(r[8])) edit[t(name)] = t(value);
    const row = { index, step: r[0], kind: t(r[1]), status: t(r[2]), family: t(r[3]),
      task: t(r[4]), source: r[5], utility: r[6], committed: r[7], edit,
      before: t(r[9]), after: t(r[10]), pairs: r[11] };
    row.text = [edit.title, edit.principle].filter(Boolean).join(": ");
    row.search = [row.text, edit.when_to_apply, edit.reason, edit.skill_id, row.task,
      row.status, row.before, row.after].join(" ").toLowerCase();
    return row;
  });
  const view = { search: "", kind: "", status: "", family: "", committed: "",
    sort: "step", down: false, page: 0, open: null };

  const distinct = (name) => [...new Set(rows.map((row) => row[name]))].filter(Boolean).sort();
  const set = (name) => (value) => { view[name] = value; view.page = 0; draw(); };
  const filter = (label, name, values = distinct(name), names = values) =>
    choice(label, ["", ...values], set(name), ["all", ...names]).label;
  const search = el("input", { type: "search", placeholder: "text, task, hash",
    oninput: () => set("search")(search.value.toLowerCase()) });
  const count = el("p", { class: "small", "aria-live": "polite" });
  const body = el("tbody");
  const back = el("button", { type: "button", onclick: () => turn(-1) }, "Previous");
  const next = el("button", { type: "button", onclick: () => turn(1) }, "Next");
  const heads = [["step", "update"], ["kind", "kind"], ["text", "edit", "wide"],
    ["status", "status"], ["task", "source task"], ["utility", "U"]];
  const headCells = heads.map(([name, title, style]) => el("th",
    { scope: "col", class: style },
    el("button", { type: "button", onclick: () => sort(name) }, title)));
  root.append(
    el("div", { class: "controls" }, el("label", {}, "search", search),
      filter("kind", "kind"), filter("status", "status"), filter("family", "family"),
      filter("in the bank", "committed", ["true", "false"], ["committed", "not committed"])),
    count,
    el("div", { class: "scroll" }, el("table", { class: "edits" },
      el("thead", {}, el("tr", {}, ...headCells)), body)),
    el("div", { class: "controls" }, back, next));

  function sort(name) {
    view.down = view.sort === name ? !view.down : name === "utility";
    view.sort = name;
    view.page = 0;
    draw();
  }

  function turn(by) { view.page += by; draw(); }

  function chosen() {
    const order = view.down ? -1 : 1;
    const value = (row) => row[view.sort] ?? -Infinity;
    return rows
      .filter((row) => row.search.includes(view.search))
      .filter((row) => ["kind", "status", "family", "committed"].every(
        (name) => view[name] === "" || String(row[name]) === view[name]))
      .sort((a, b) => (value(a) < value(b) ? -order : value(a) > value(b) ? order : 0));
  }

  function draw() {
    const found = chosen();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    view.page = Math.max(0, Math.min(pages - 1, view.page));
    const shown = found.slice(view.page * PAGE, (view.page + 1) * PAGE);
    count.textContent = `${found.length} of ${rows.length} edits, page ${view.page + 1} of ${pages}`;
    back.disabled = view.page === 0;
    next.disabled = view.page === pages - 1;
    headCells.forEach((cell, i) => cell.setAttribute("aria-sort", heads[i][0] !== view.sort
      ? "none" : view.down ? "descending" : "ascending"));
    body.replaceChildren(...shown.flatMap(lines));
  }

  function lines(row) {
    const open = view.open === row.index;
    const fallback = { null: "content-free advice", audit: "retire one skill, to test it",
      confirm: "a retirement, tested again" };
    const label = row.text || row.edit.kind || fallback[row.kind] || "no text recorded";
    const toggle = el("button", { type: "button", class: "open text", id: `edit-${row.index}`,
      "aria-expanded": String(open), onclick: () => {
        view.open = open ? null : row.index;
        history.replaceState(null, "", open ? "#edits" : `#edit=${row.index}`);
        draw();
        document.getElementById(`edit-${row.index}`).focus();
      } }, label);
    const source = row.source == null ? "" : row.source ? " (success)" : " (failure)";
    const line = el("tr", {},
      el("td", { class: "num" }, String(row.step)), el("td", {}, row.kind),
      el("td", { class: "wide" }, toggle),
      el("td", {}, row.status || "–", " ",
        row.committed ? el("span", { class: "chip good" }, "committed") : null),
      el("td", {}, el("code", {}, row.task), source),
      el("td", { class: "num " + tone(row.utility) }, signed(row.utility)));
    return open ? [line, el("tr", { class: "detail" }, el("td", { colspan: "6" }, detail(row)))]
      : [line];
  }

  function tone(value) { return value > 0 ? "up" : value < 0 ? "down" : ""; }

  function detail(row) {
    const facts = [["category", row.edit.category], ["skill", row.edit.skill_id],
      ["when to apply", row.edit.when_to_apply], ["reason", row.edit.reason],
      ["family", row.family], ["bank", `${row.before} → ${row.after}`]];
    return el("div", {},
      ...facts.filter(([, value]) => value).map(([name, value]) =>
        el("div", { class: "text" }, el("b", {}, name + ": "), value)),
      row.pairs.length ? probes(row) : el("p", { class: "absent" }, "No probes."));
  }

  function probes(row) {
    const side = ([success, turns, score]) =>
      `${success ? "success" : "failure"}, ${turns} turns, score ${score ?? "–"}`;
    const lines = row.pairs.map(([task, before, after, ran]) => {
      const delta = ran && before[2] != null && after[2] != null ? after[2] - before[2] : null;
      return el("tr", {}, el("td", {}, el("code", {}, t(task))),
        ...(ran ? [el("td", {}, side(before)), el("td", {}, side(after)),
          el("td", { class: "num " + tone(delta) }, signed(delta))]
          : [el("td", { colspan: "2", class: "absent" },
            "not run: the prompt is the same before and after"),
          el("td", { class: "num" }, "0")]));
    });
    return el("table", {}, el("thead", {}, el("tr", {}, ...["probe task", "before", "after",
      "change of score"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...lines));
  }

  function follow() {
    const wanted = Number(fragment("edit"));
    if (fragment("edit") === null || !rows[wanted]) return;
    Object.assign(view, { sort: "step", down: false, open: wanted });
    const place = chosen().findIndex((row) => row.index === wanted);
    view.page = Math.max(0, Math.floor(place / PAGE));
    draw();
    document.getElementById(`edit-${wanted}`)?.scrollIntoView({ block: "center" });
  }

  draw();
  follow();
  addEventListener("hashchange", follow);
})();
