// Filters the table of claims; without a script the whole table stands there.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".claims-filter");
  if (!form) return;
  form.hidden = false;
  const groups = [...document.querySelectorAll(".claims-matrix tbody")];
  const show = () => {
    let shown = 0, all = 0;
    for (const group of groups) {
      const rows = [...group.querySelectorAll("tr[data-ours]")];
      for (const row of rows) {
        row.hidden = Boolean(form.paper.value && form.paper.value !== group.dataset.paper)
          || Boolean(form.chapter.value && form.chapter.value !== group.dataset.chapter)
          || Boolean(form.ours.value && form.ours.value !== row.dataset.ours)
          || (form.disagree.checked && row.dataset.disagree !== "yes")
          || (form.comparable.checked && ["not comparable", "not recorded"].includes(row.dataset.ours));
        all += 1;
        shown += row.hidden ? 0 : 1;
      }
      group.hidden = rows.every((row) => row.hidden);
    }
    form.querySelector("output").textContent = `${shown} of ${all} claims`;
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
});
