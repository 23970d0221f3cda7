"use strict";
// Headers of the table of cases become buttons that sort it. Without this script the table is as it was written.
(() => {
  const table = document.getElementById("cases");
  const body = table.tBodies[0];
  const headers = Array.from(table.tHead.rows[0].cells);

  function sort(header) {
    const ascending = header.getAttribute("aria-sort") !== "ascending";
    const column = header.cellIndex;
    const value = (row) => row.cells[column].dataset.sort;
    const compare = header.dataset.kind === "number"
      ? (one, other) => Number(value(one)) - Number(value(other))
      : (one, other) => value(one).localeCompare(value(other), undefined, { numeric: true });
    const rows = Array.from(body.rows).sort((one, other) => (ascending ? 1 : -1) * compare(one, other));
    body.append(...rows);
    for (const other of headers) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  }

  for (const header of headers.filter((one) => one.dataset.kind)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.addEventListener("click", () => sort(header));
    header.replaceChildren(button);
  }
})();
