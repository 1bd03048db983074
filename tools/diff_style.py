r"""Style and script of the report in tools/diff_html.py."""

STYLE = """
:root { --back: #fff; --text: #1f2328; --dim: #59636e; --line: #d8dee4;
  --same: #8c959f; --added: #1a7f37; --changed: #9a6700;
  --left-out: #0969da; --bad: #cf222e; --head: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --back: #0d1117;
  --text: #e6edf3; --dim: #9198a1; --line: #30363d; --same: #6e7681;
  --added: #3fb950; --changed: #d29922; --left-out: #58a6ff;
  --bad: #ff7b72; --head: #161b22; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem;
  margin: 0 auto; padding: 1rem; color: var(--text);
  background: var(--back); }
code, summary b { font: 13px/1.5 ui-monospace, monospace;
  overflow-wrap: anywhere; }
.dim, small { color: var(--dim); }
small { display: block; }
.headline { font-size: 1.15rem; margin-bottom: .5rem; }
.headline strong { font-size: 2.4rem; line-height: 1; }
.bar { display: flex; height: .8rem; border-radius: .4rem; overflow: hidden; }
.bar i { min-width: 3px; background: currentColor; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-top: 1px solid var(--line); }
th { font-weight: normal; color: var(--dim); }
.counts { max-width: 46rem; }
.counts td, .counts tr:first-child th { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.sides { table-layout: fixed; }
.sides td { border-left: 3px solid transparent; }
.sides td:first-child { border-left-color: currentColor; }
.sides td:not(:first-child), .sides code { color: var(--text); }
.sides td:first-child small { color: inherit; }
.sides th:first-child { width: 24%; }
details { border: 1px solid var(--line); border-radius: 6px;
  margin: .4rem 0; }
details.same { border-width: 1px 0 0; border-radius: 0; margin: 0; }
summary { cursor: pointer; padding: .45rem .7rem; overflow-wrap: anywhere; }
summary:hover { background: var(--head); }
summary span { margin-left: .8rem; white-space: nowrap; }
details.same p { margin: 0; padding: 0 .7rem .6rem; max-height: 24rem;
  overflow: auto; }
details.same code { margin-right: .6rem; color: var(--text); }
.same { color: var(--same); } .added { color: var(--added); }
.changed { color: var(--changed); } .left-out { color: var(--left-out); }
.bad { color: var(--bad); font-weight: 600; }
#controls { position: sticky; top: 0; display: flex; flex-wrap: wrap;
  gap: .4rem .8rem; align-items: center; padding: .5rem 0;
  background: var(--back); z-index: 1; }
#search { flex: 1 1 14rem; font: inherit; padding: .3rem .5rem;
  color: inherit; background: var(--head); border: 1px solid var(--line);
  border-radius: 6px; }
button { font: inherit; padding: .2rem .6rem; color: inherit;
  background: var(--head); border: 1px solid var(--line);
  border-radius: 6px; cursor: pointer; }
[hidden] { display: none !important; }
@media (max-width: 40rem) {
  body { padding: .6rem; }
  .counts { font-size: .8rem; }
  .counts th, .counts td { padding: .3rem .25rem; }
  .sides, .sides tbody, .sides tr, .sides td { display: block; }
  .sides tr:first-child { display: none; }
  .sides td { border-top: 0; padding: .1rem .6rem; }
  .sides td:first-child { border-top: 1px solid var(--line);
    padding-top: .4rem; }
  .sides td:empty { display: none; }
  .sides td:not(:first-child)::before { content: attr(data-label) ": ";
    color: var(--dim); }
  summary span { margin-left: .5rem; }
}
@media print {
  :root { --back: #fff; --text: #000; --dim: #444; --line: #bbb; }
  body { max-width: none; font-size: 9pt; }
  #controls { display: none; }
  .bar { print-color-adjust: exact; }
  tr, summary { break-inside: avoid; }
  details.same p { max-height: none; }
}
"""

# Sections are shown by what matches in them. Printing opens what differs.
SCRIPT = """
const all = query => [...document.querySelectorAll(query)];
const modules = all('details.module');
const search = document.getElementById('search');
const states = all('#controls [type=checkbox]');
function apply() {
  const text = search.value.trim().toLowerCase();
  const on = new Set(states.filter(s => s.checked).map(s => s.value));
  let found = false;
  for (const module of modules) {
    const named = module.querySelector('b').textContent
      .toLowerCase().includes(text);
    let any = false;
    const show = (node, state) => {
      const fits = on.has(state) && (named ||
        node.textContent.toLowerCase().includes(text));
      node.hidden = !fits;
      any ||= fits;
      return fits;
    };
    for (const row of module.querySelectorAll('.sides tr[class]'))
      show(row, row.className);
    const same = module.querySelector('details.same');
    if (same) {
      let some = false;
      for (const name of same.querySelectorAll('code'))
        some = show(name, 'same') || some;
      same.hidden = !some;
      same.open = some && text !== '' && !named;
    }
    module.hidden = !any;
    if (text) module.open = any;
    found ||= any;
  }
  document.getElementById('none').hidden = found;
}
document.getElementById('controls').hidden = false;
search.addEventListener('input', apply);
states.forEach(s => s.addEventListener('change', apply));
const openAll = on => modules.forEach(m => { m.open = on; });
document.getElementById('open').onclick = () => openAll(true);
document.getElementById('close').onclick = () => openAll(false);
addEventListener('beforeprint', () => modules.forEach(m => {
  if (m.querySelector('.sides')) m.open = true;
}));
"""
