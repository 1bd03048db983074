// What is wrong with a field is told below it, and beside the buttons, until
// the field is changed; the next press of a button tells what is wrong then.
(() => {
  const told = (within) => within.querySelectorAll('.problem')
  const changed = ({target}) => {
    const form = target.closest?.('.ask')
    if (!form || target.closest('.go')) return
    const own = [...told(form)].find((problem) =>
      problem.previousElementSibling?.contains(target))
    if (!own || !own.querySelector('[role=alert]')) return
    for (const problem of [own, ...told(form.querySelector('.go'))])
      problem.classList.add('stale')
  }
  // A file is also dropped, or taken away by a button of its field.
  for (const event of ['input', 'change', 'drop'])
    document.addEventListener(event, changed, true)
  // What is chosen from a list gives no event of its own.
  document.addEventListener('pointerdown', (event) => {
    if (event.target.closest?.('[role=option]')) changed(event)
  }, true)
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') changed(event)
  }, true)
  document.addEventListener('click', (event) => {
    if (event.target.closest?.('.go button'))
      for (const problem of told(event.target.closest('.ask')))
        problem.classList.remove('stale')
    else if (event.target.closest?.('button')) changed(event)
  }, true)
})()
