// Search: without this script all texts are simply there.
const search = document.getElementById("search");
const rows = [...document.querySelectorAll(".texts tbody tr")];
const contents = rows.map((row) => row.textContent.toLowerCase());
search.addEventListener("input", () => {
  const wanted = search.value.toLowerCase().trim();
  rows.forEach((row, i) => { row.hidden = !contents[i].includes(wanted); });
  for (const group of document.querySelectorAll(".group")) {
    const left = group.querySelectorAll(".texts tbody tr:not([hidden])").length;
    group.querySelector(".matching").textContent = wanted ? `, ${left} of those shown match` : "";
    if (wanted) { group.open = left > 0; }
  }
  const left = rows.filter((row) => !row.hidden).length;
  document.getElementById("found").textContent = wanted ? `${left} of ${rows.length} match` : "";
});
