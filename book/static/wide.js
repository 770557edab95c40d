// A table, listing or picture that is wider than the text takes the margin beside it, too; the contents there step aside.
document.addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector(".bd-article"), contents = document.querySelector(".bd-sidebar-secondary");
  if (!article) return;
  const GAP = 24;  // pixels that stay free at the window's right edge
  const scrolling = "table.dataframe, .pst-scrollable-table-container, div.highlight pre";
  const box = (part) => part.closest("div.highlight") ?? part;
  const beside = new Set(), notes = [...article.querySelectorAll("aside.margin")];
  const watch = new IntersectionObserver((entries) => {
    for (const {target, isIntersecting} of entries) beside[isIntersecting ? "add" : "delete"](target);
    contents?.classList.toggle("stepped-aside", beside.size > 0);
  });

  function widen() {
    watch.disconnect();
    beside.clear();
    contents?.classList.remove("stepped-aside");
    for (const wide of article.querySelectorAll(".wide")) wide.classList.remove("wide", "tight");
    for (const moved of article.querySelectorAll(".below-notes")) moved.classList.remove("below-notes");
    const room = document.documentElement.clientWidth - article.getBoundingClientRect().right - GAP;
    if (room < 2 * GAP || matchMedia("print").matches) return;
    for (const part of article.querySelectorAll(scrolling)) {
      if (part.scrollWidth <= part.clientWidth + 1 || part.closest("aside, details, .admonition")) continue;
      const wide = box(part), inset = article.getBoundingClientRect().right - wide.getBoundingClientRect().right;
      wide.style.setProperty("--room", `${room + inset}px`);
      wide.classList.add("wide");
      wide.classList.toggle("tight", part.scrollWidth > part.clientWidth + 1);  // not even the margin is enough
      watch.observe(wide);
    }
    for (const picture of article.querySelectorAll("img")) {
      if (picture.style.width || picture.naturalWidth <= picture.clientWidth + 1) continue;
      if (picture.closest("aside, details, .admonition, table")) continue;
      const inset = article.getBoundingClientRect().right - picture.parentElement.closest("figure, li, div").getBoundingClientRect().right;
      picture.style.setProperty("--room", `${room + inset}px`);
      picture.classList.add("wide");
      watch.observe(picture);
    }
    clearNotes();
  }

  // What is wide begins below a note in the margin that it would cover.
  function clearNotes() {
    const box = (part) => part.getBoundingClientRect();
    for (const wide of article.querySelectorAll(".wide")) {
      const {top, bottom, right} = box(wide);  // of what stands here now, as those before may have moved it
      if (notes.map(box).some((note) => note.left < right && note.top < bottom && top < note.bottom))
        (wide.closest(".cell, figure, .opening") ?? wide).classList.add("below-notes");
    }
  }

  // Where something goes on to the right, its edge fades. A formula scrolls within its box, and gets its width late.
  const fade = (part) => {
    const inner = part.matches("div.math") ? part.querySelector("mjx-container") : part;
    inner?.classList.toggle("more", inner.scrollLeft + inner.clientWidth < inner.scrollWidth - 2);
  };
  const owners = new Map();  // what changes its size -> what scrolls; a formula in a note makes the note longer
  const sized = new ResizeObserver((all) => all.forEach(({target}) => owners.has(target) ? fade(owners.get(target)) : clearNotes()));
  for (const part of article.querySelectorAll(`${scrolling}, div.math`)) {
    part.addEventListener("scroll", () => fade(part), {passive: true, capture: true});
    for (const seen of [part, ...part.children]) {
      owners.set(seen, part);
      sized.observe(seen);
    }
  }
  notes.forEach((note) => sized.observe(note));

  // On a phone a cell stands below the name of its column.
  for (const table of article.querySelectorAll("table.wrapped:not(.compact)")) {
    const names = [...table.querySelectorAll("thead tr:first-child > *")].map((cell) => cell.textContent.trim());
    for (const row of table.querySelectorAll("tbody tr"))
      [...row.children].forEach((cell, place) => { if (names[place]) cell.dataset.label = names[place]; });
  }

  widen();
  addEventListener("load", widen);
  let settled = 0;  // only when a new layout stands does a table say how wide it is
  addEventListener("resize", () => { clearTimeout(settled); settled = setTimeout(widen, 150); });
  addEventListener("beforeprint", () => article.querySelectorAll(".wide, .more").forEach((wide) => wide.classList.remove("wide", "more")));
  addEventListener("afterprint", widen);
  for (const folded of article.querySelectorAll("details")) folded.addEventListener("toggle", widen);
});
