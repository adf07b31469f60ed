"use strict";

// Makes an element. Children that are strings become text nodes: nothing that comes from
// a run is ever parsed as HTML.
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function signed(value, digits = 2) {
  if (value == null) return "–";
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value > 0 ? "+" : "−") + text;
}

function choice(label, values, onchange, names = values) {
  const select = el("select", { onchange: () => onchange(select.value) },
    ...values.map((value, i) => el("option", { value }, names[i])));
  return { label: el("label", {}, label, select), select };
}

// Data of a section, null where the section has none.
function dataOf(id) {
  const node = document.getElementById(id);
  return node ? JSON.parse(node.textContent) : null;
}

// "#episode=3/g0.1" -> "3/g0.1" for the name "episode"; null for another fragment.
function fragment(name) {
  const [key, ...rest] = location.hash.slice(1).split("=");
  if (key !== name) return null;
  try { return decodeURIComponent(rest.join("=")); } catch { return null; }
}
