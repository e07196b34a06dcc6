// A button in each head of a .sortable table sorts the rows of each of its groups; without this script the table is as it was.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  // "99.32", "-1.20" with a real minus, "0.13 (3)", "≤ 2.5 (1)", "1,234"; anything else sorts as text
  const value = (row, i) => {
    const text = (row.cells[i]?.innerText ?? "").trim();
    const numeric = /^≤?\s*[-\u2212+]?[\d,]+(\.\d+)?(e[-+]?\d+)?(\s*[%(–].*)?$/.test(text); // not 1.2.3, dates or digests
    const number = numeric ? parseFloat(text.replace("\u2212", "-").replace("≤", "").replaceAll(",", "")) : NaN;
    return { text, number };
  };
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = `Sort by ${head.textContent.trim()}`;
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.matches(".band, .missing"));
        const rest = [...body.rows].filter((row) => row.matches(".missing"));
        rows.sort((a, b) => {
          const [x, y] = [value(a, i), value(b, i)];
          const numbers = !isNaN(x.number) && !isNaN(y.number);
          const order = numbers ? x.number - y.number : isNaN(x.number) && isNaN(y.number)
            ? y.text.localeCompare(x.text) : isNaN(x.number) ? -1 : 1;
          return down ? -order : order;
        });
        body.append(...rows, ...rest);
      }
    });
  });
}
