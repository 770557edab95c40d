// Applies the rule of cladec_companion/evidence/claims.py to the comparisons of every claim, with numbers of the reader's.
const Verdicts = (() => {
  const HOLDS = "holds", FAILS = "does not hold", UNDECIDED = "undecided", NOT_COMPARABLE = "not comparable";

  // How many of m comparisons have to be for a claim.
  const needed = (takes, m, {every, nine, most}) => ({
    "every": Math.ceil(every * m - 1e-9), "nine in ten": Math.ceil(nine * m - 1e-9),
    "most": Math.min(m, Math.floor(most * m + 1e-9) + 1), "some": 1,
  })[takes] ?? takes;

  // p-value of "at least so many of these hypotheses are false" (Benjamini and Heller 2008, with Simes' inequality).
  function conjunction(p, count) {
    const ordered = [...p].sort((a, b) => a - b), m = p.length;
    if (count < 1 || count > m) return count > m ? 1 : 0;
    let smallest = 1;
    for (let rank = count; rank <= m; rank += 1)
      smallest = Math.min(smallest, (m - count + 1) / (rank - count + 1) * ordered[rank - 1]);
    return smallest;
  }

  function counted({takes, comparisons}, rule) {
    if (comparisons.every(([, , , , barred]) => barred === 2)) return {verdict: NOT_COMPARABLE, p: NaN};
    const m = comparisons.length, count = needed(takes, m, rule);
    const [inside, outside] = [2, 3].map((side) => comparisons.map((one) => one[4] ? 1 : one[side]));
    const holds = conjunction(inside, count), fails = conjunction(outside, m - count + 1);
    const verdict = holds <= rule.tail ? HOLDS : fails <= rule.tail ? FAILS : UNDECIDED;
    return {verdict, p: Math.min(1, 2 * Math.min(holds, fails))};
  }

  function joined(parts, rule) {
    const decided = parts.map((part) => of(part, rule)), kinds = new Set(decided.map(({verdict}) => verdict));
    const known = decided.map(({p}) => p).filter(Number.isFinite), largest = known.length ? Math.max(...known) : NaN;
    if (kinds.has(FAILS)) {
      const failing = decided.filter(({verdict}) => verdict === FAILS).map(({p}) => p);
      const smallest = Math.min(1, parts.length * Math.min(...failing));
      return {verdict: smallest <= rule.significant ? FAILS : UNDECIDED, p: smallest};
    }
    return {verdict: kinds.size === 1 ? decided[0].verdict : UNDECIDED, p: largest};
  }

  // The verdict on a claim and its p-value; what was not counted stays as it was.
  function of(claim, rule) {
    if (claim.parts) return joined(claim.parts, rule);
    if (claim.comparisons) return counted(claim, rule);
    return {verdict: claim.was, p: claim.p ?? NaN};
  }

  // All comparisons of a claim, each with what it speaks for under a rule.
  const comparisons = (claim, rule) => claim.parts
    ? claim.parts.flatMap((part) => comparisons(part, rule))
    : (claim.comparisons ?? []).map(([what, text, inside, outside, barred]) => ({
      what, text, p: Math.min(inside, outside), reading: barred ? "open" : inside <= rule.tail ? "for" : outside <= rule.tail ? "against" : "open",
    }));

  return {of, comparisons};
})();

document.addEventListener("DOMContentLoaded", () => {
  const root = document.querySelector(".what-if");
  if (!root) return;
  const {rules, states, symbols, marks, sources} = JSON.parse(root.querySelector("script").textContent);
  const form = root.querySelector("form"), table = root.querySelector("table"), list = root.querySelector("ul");
  const add = (parent, kind, text = "", values = {}) => {
    const made = Object.assign(document.createElement(kind), values);
    made.textContent = text;
    return parent.appendChild(made);
  };
  const NAMES = ["every", "nine", "most", "level"];
  const chosen = (place) => {
    const [every, nine, most, level] = NAMES.map((name) => rules[name].values[place(name)]);
    return {every, nine, most, ...level};
  };
  const OURS = chosen((name) => rules[name].start);
  for (const name of NAMES) {
    form[name].max = rules[name].values.length - 1;
    form[name].setAttribute("value", rules[name].start);
  }
  const mark = (parent, state) => add(parent, "span", `${symbols[state]} ${state}`, {className: `verdict ${marks[state]}`});

  function entry(claim, before, after, rule) {
    const row = add(list, "li"), told = Verdicts.comparisons(claim, rule);
    add(row, "a", claim.key, {href: `#claim-${claim.key.toLowerCase()}`});
    add(row, "span", ` ${claim.text}: `);
    mark(row, before);
    add(row, "span", " → ");
    mark(row, after);
    const details = add(row, "details"), counts = ["for", "against", "open"].map(
      (kind) => `${told.filter(({reading}) => reading === kind).length} ${kind}`);
    add(details, "summary", `${told.length === 1 ? "One comparison" : `${told.length} comparisons`}: ${counts.join(", ")}`);
    const lines = add(details, "ul");
    for (const {what, text, p, reading} of told) // an effect with its 95 % interval
      add(lines, "li", `${reading}: ${what ? `${what}, ` : ""}${text}, p = ${Number(p.toPrecision(2))}`);
  }

  function show() {
    const rule = chosen((name) => form[name].value), own = sources[form.source.value];
    const percent = (share) => `${Math.round(100 * share)} %`;
    const words = {every: percent(rule.every), nine: percent(rule.nine), most: percent(rule.most), level: rule.name};
    for (const name in words) {
      form[name].nextElementSibling.textContent = words[name];
      form[name].setAttribute("aria-valuetext", words[name]);
    }
    const decided = own.map((claim) => [claim, Verdicts.of(claim, OURS).verdict, Verdicts.of(claim, rule).verdict]);
    const body = table.tBodies[0];
    body.replaceChildren();
    for (const state of states) {
      const [before, after] = [1, 2].map((side) => decided.filter((one) => one[side] === state).length);
      const row = add(body, "tr");
      mark(add(row, "th", "", {scope: "row"}), state);
      add(row, "td", before);
      add(row, "td", after === before ? after : `${after} (${after > before ? "+" : "−"}${Math.abs(after - before)})`);
    }
    const changed = decided.filter(([, before, after]) => before !== after);
    root.querySelector("p[aria-live]").textContent = `${changed.length} of ${own.length} verdicts change`
      + (changed.length ? ":" : ".");
    list.replaceChildren();
    for (const [claim, before, after] of changed) entry(claim, before, after, rule);
  }

  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = table.hidden = false;
  root.querySelector(".what-if-absent").hidden = true;
  show();
});
