// The trajectory viewer. The fragment "#episode=<update>/<episode>" chooses an episode.
(function () {
  const data = dataOf("episodes-data");
  const root = document.getElementById("episode-viewer");
  if (!data || !root) return;
  const rows = data.rows;
  const NAMES = { none: "context", act: "act", edit: "edit (review)", select: "select" };
  const name = (row) => `${row.step}/${row.episode}`;
  const title = (row) => `update ${row.step}, ${row.episode}: ` +
    `${row.success ? "success" : "failure"} in ${row.turns} turns, ${row.goal || row.task}`;
  // One scale for the whole page, so that colours can be compared between episodes.
  const most = Math.max(1e-9, ...rows.flatMap((row) =>
    row.pieces.map((piece) => Math.abs(piece.advantage || 0))));

  const { label, select } = choice("episode", rows.map(name), go, rows.map(title));
  const back = el("button", { type: "button", onclick: () => step(-1) }, "Previous");
  const next = el("button", { type: "button", onclick: () => step(1) }, "Next");
  const trained = el("input", { type: "checkbox", onchange: () => show(select.selectedIndex) });
  const facts = el("div", { class: "facts", "aria-live": "polite" });
  const pieces = el("div", { class: "pieces" });
  root.append(
    el("div", { class: "controls" }, label, back, next,
      el("span", {}, trained, " hide context")),
    el("p", { class: "small" }, `advantage −${most.toFixed(2)}`,
      el("span", { class: "scale" }), `+${most.toFixed(2)}; stripe at the left: `,
      "green act, purple edit"),
    facts, pieces);
  trained.id = "hide-context";
  trained.setAttribute("aria-label", "hide context");

  function go(wanted) {
    history.replaceState(null, "", "#episode=" + encodeURIComponent(wanted));
    show(rows.findIndex((row) => name(row) === wanted));
  }

  function step(by) {
    const index = Math.max(0, Math.min(rows.length - 1, select.selectedIndex + by));
    go(name(rows[index]));
  }

  function show(index) {
    const row = rows[index];
    if (!row) return;
    select.selectedIndex = index;
    back.disabled = index === 0;
    next.disabled = index === rows.length - 1;
    const [act, edit] = row.rewards || [];
    const shown = [["task", row.task], ["goal", row.goal],
      ["outcome", `${row.success ? "success" : "failure"} in ${row.turns} of ${row.max_turns} turns`],
      ["reward act", signed(act)], ["reward edit", signed(edit)], ["bank", row.bank_version]];
    facts.replaceChildren(...shown.map(([key, value]) =>
      el("span", { class: "text" }, el("b", {}, key + " "), String(value))));
    pieces.replaceChildren(...row.pieces
      .filter((piece) => piece.trained || !trained.checked).map(draw));
  }

  function draw(piece) {
    const share = (piece.advantage || 0) / most;
    const colour = piece.trained && share
      ? `rgba(var(--${share > 0 ? "plus" : "minus"}), ${(0.08 + 0.54 * Math.abs(share)).toFixed(3)})`
      : "transparent";
    const role = Object.hasOwn(NAMES, piece.role) ? piece.role : "none";
    const worth = piece.trained ? `advantage ${signed(piece.advantage, 3)}` : "not trained";
    const text = el("div", { class: "text", title: worth }, piece.text);
    text.style.background = colour;
    return el("div", { class: `piece ${role} ${piece.trained ? "" : "untrained"}` },
      el("div", { class: "who" }, el("b", {}, NAMES[role]), `, ${piece.tokens} tokens`,
        piece.trained ? el("div", {}, worth) : null), text);
  }

  function follow() {
    const wanted = fragment("episode");
    const index = rows.findIndex((row) => name(row) === wanted);
    if (index < 0) return false;
    show(index);
    root.scrollIntoView();
    return true;
  }

  if (!follow()) show(0);
  addEventListener("hashchange", follow);
})();
