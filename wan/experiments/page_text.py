r"""The page of results, its style and its script."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #333; margin: 2rem auto;
  max-width: 1200px; padding: 0 1rem }}
h1 {{ margin: 0 }} h2 {{ font-size: 1.05rem; margin: 0 0 .6rem }}
h2, dd, td {{ overflow-wrap: anywhere }} td {{ min-width: 4.6rem }}
a {{ color: #07a }} section a {{ margin-right: 1rem }}
.wide {{ overflow-x: auto; margin: 1rem 0 }}
table {{ border-collapse: collapse; font-size: 13px;
  font-variant-numeric: tabular-nums }}
th, td {{ padding: .3rem .6rem; text-align: left; vertical-align: bottom;
  border-bottom: 1px solid #ddd; max-width: 20rem }}
td:first-child {{ min-width: 16rem }}
th {{ cursor: pointer; background: #f4f4f3 }}
section {{ border: 1px solid #ddd; border-radius: 8px; padding: 1rem;
  margin: 1.2rem 0 }}
img {{ max-width: 100%; display: block; border-radius: 4px }}
.done {{ color: #272 }} .failed {{ color: #b22 }} .waiting {{ color: #777 }}
.row {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: start }}
figure {{ flex: 1 1 130px; min-width: 0; max-width: 480px; margin: 0 }}
figure:last-child {{ flex-basis: 240px }}
@media (min-width: 700px) {{ figure:last-child {{ flex-basis: 130px }} }}
video {{ width: 100%; display: block; border-radius: 4px; background: #eee }}
figure img {{ width: 100% }} figcaption, .note {{ color: #777 }}
figcaption, .note, .told {{ font-size: 13px }}
p {{ margin: .5rem 0; overflow-wrap: anywhere }}
dl {{ font-size: 13px; display: flex; flex-wrap: wrap; gap: 0 1.4rem }}
dt, dd {{ display: inline; margin: 0 }} dt {{ color: #777 }}
</style>
<h1>{title}</h1><p>{counts}</p>{notes}
{parts}
<script>
// A click on a column's head sorts by it, a second one the other way round.
document.querySelectorAll('thead th').forEach((head, column) => {{
  let order = 1
  head.onclick = () => {{
    const body = document.querySelector('tbody')
    const text = row => row.cells[column]?.textContent ?? ''
    const sorted = [...body.rows].sort((a, b) => order * (
      text(a) - text(b) || text(a).localeCompare(text(b))))
    body.append(...sorted)
    order = -order
  }}
}})
</script>
</html>
"""

TABLE = """<div class="wide"><table><thead><tr>{head}</thead>
<tbody>
{rows}
</tbody></table></div>
"""
DETAILS = '<details><summary>{title}</summary>{content}</details>\n'
