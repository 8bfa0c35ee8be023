"use strict";
(() => {
  const root = document.documentElement;
  const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const store = (name) => { try { localStorage.setItem("theme", name); } catch { /* a private window */ } };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  if (stored() === "light" || stored() === "dark") root.dataset.theme = stored();

  const say = (text) => { document.getElementById("said").textContent = text; };

  function toggle() {
    const button = document.getElementById("theme");
    const name = () => { button.textContent = theme() === "dark" ? "Light" : "Dark"; };
    button.setAttribute("aria-label", "Change between light and dark");
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = theme() === "dark" ? "light" : "dark";
      store(root.dataset.theme);
      name();
      say("Colours: " + theme());
    });
    dark.addEventListener("change", name);
    name();
  }

  async function put(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* not allowed here; the old way may be */ }
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "unseen";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }

  function copies() {
    for (const button of document.querySelectorAll("button.copy")) {
      const text = () => document.getElementById(button.dataset.copy).textContent;
      button.setAttribute("aria-label", "Copy: " + text());
      button.hidden = false;
      button.addEventListener("click", async () => {
        const done = await put(text());
        button.focus();
        button.textContent = done ? "Copied" : "Not allowed";
        say(button.textContent);
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
    }
  }

  function key(row, column) {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  }

  function before(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, undefined, { numeric: true });
  }

  function sorts(table) {
    const heads = [...table.tHead.rows[0].cells];
    if (table.tBodies[0].rows.length < 2) return;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => (up ? 1 : -1) * before(key(a, column), key(b, column)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  function filters(table) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 12) return;
    const field = document.createElement("input");
    field.type = "search";
    field.className = "filter";
    field.placeholder = "Filter rows";
    field.setAttribute("aria-label", "Filter rows");
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
      say(rows.filter((row) => !row.hidden).length + " rows");
    });
    table.parentElement.before(field);
  }

  function slash(event) {
    const typing = event.target.closest("input, textarea, select");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const field = [...document.querySelectorAll("input.filter")].find((one) => one.offsetParent);
    if (!field) return;
    event.preventDefault();
    field.focus();
  }

  function meshes() {
    const found = [...document.querySelectorAll("model-viewer")];
    const tell = (mesh, text) => {
      const note = document.createElement("p");
      note.className = "notice warn";
      note.textContent = text;
      mesh.replaceWith(note);
    };
    const draws = () => Boolean(document.createElement("canvas").getContext("webgl2"));
    if (found.length && !draws()) {
      for (const mesh of found) tell(mesh, "This browser draws no meshes: WebGL 2 is switched off.");
    }
    for (const mesh of found) {
      mesh.addEventListener("error", () => tell(mesh, "This mesh cannot be drawn here."));
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    meshes();
    toggle();
    copies();
    for (const table of document.querySelectorAll("table.sortable")) {
      sorts(table);
      filters(table);
    }
    document.addEventListener("keydown", slash);
  });
})();
