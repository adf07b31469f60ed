// Pointer and arrow keys show the values of a chart at one x.
for (const chart of document.querySelectorAll(".chart")) {
  const data = JSON.parse(chart.dataset.chart);
  const svg = chart.querySelector("svg.plot");
  const cursor = chart.querySelector(".cursor");
  const readout = chart.querySelector(".readout");
  const last = data.x.length - 1;
  let at = last;

  function show(index, pointing) {
    at = Math.max(0, Math.min(last, index));
    cursor.setAttribute("transform", `translate(${data.px[at]} 0)`);
    cursor.toggleAttribute("hidden", !pointing);
    readout.textContent = pointing
      ? `${data.title} ${data.x[at]}: ${data.rows[at].join(", ")}` : "";
  }

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    let best = 0;
    data.px.forEach((px, i) => {
      if (Math.abs(px - x) < Math.abs(data.px[best] - x)) best = i;
    });
    show(best, true);
  });
  svg.addEventListener("pointerleave", () => show(last, false));
  svg.addEventListener("focus", () => show(at, true));
  svg.addEventListener("blur", () => show(last, false));
  svg.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    show(at + move, true);
  });
}
