r"""The benchmark's plots; they need matplotlib (the extra `bench`)."""
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from wan.utils.record import atomic_write

from .report import COLUMNS, CONTROL, Score
from .rows import ABLATIONS, FAMILIES, MAIN
from .stats import Interval

# One colour a family, told apart by the colour-blind too (Okabe and Ito).
COLOURS = {'bound': '#777777', 'paste': '#cc79a7', 'text': '#0072b2',
           'attempt': '#d55e00', 'reference': '#009e73'}
WRONG = '#999999'
INK, FAINT = '#333333', '#e2e2e2'
# The ablations of a number, drawn as a curve; the others are drawn by name.
CURVES = ('c', 'c_clean', 'c_found', 'c_collage', 'pull', 'pull_alone',
          'guidance', 'guidance_best')
SHOWN = ('product_error', CONTROL, 'checkerboard', 'background_psnr')
STYLE = {
    'font.size': 9, 'axes.titlesize': 10, 'axes.titlelocation': 'left',
    'axes.edgecolor': INK, 'axes.labelcolor': INK, 'text.color': INK,
    'xtick.color': INK, 'ytick.color': INK, 'axes.spines.top': False,
    'axes.spines.right': False, 'axes.grid': True, 'grid.color': FAINT,
    'axes.axisbelow': True, 'legend.frameon': False,
    'figure.constrained_layout.use': True, 'savefig.dpi': 150,
}


def require_matplotlib() -> None:
    r"""Check that plots can be drawn.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "The plots need matplotlib: pip install -e '.[bench]'."
        ) from error


def write_plots(out: Path, scores: Sequence[Score]) -> None:
    r"""Draw what the rows that were run can show.

    fidelity.png has the product's error against the background's (not of the
    copy, which has none), and AXIS.png each ablation of which at least two
    rows were run.
    """
    by_name = {s.row.name: s for s in scores}

    def known(rows):
        return [by_name[row.name] for row in rows if row.name in by_name]

    plots = {'fidelity': ((6.8, 5), _fidelity, known(
        row for row in MAIN if row.kind != 'copy'))}
    for axis, rows in ABLATIONS.items():
        plots[axis] = ((9.6, 2.9), partial(_ablation, axis), known(rows))
    for name, (size, drawing, shown) in plots.items():
        path = out / f'{name}.png'
        if len(shown) > 1:
            draw(path, size, drawing, shown)
        else:  # an older one would be of another report
            path.unlink(missing_ok=True)


def draw(path: Path, size, drawing: Callable, scores) -> None:
    r"""Write what `drawing(figure, scores)` draws.

    Args:
        size: in inches.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE), atomic_write(path) as temporary:
        figure = Figure(size)
        FigureCanvasAgg(figure)
        drawing(figure, scores)
        # No date in the file: the same numbers are the same bytes.
        figure.savefig(temporary, metadata={'Software': None})


def _fidelity(figure, scores: Sequence[Score]) -> None:
    axes = figure.subplots()
    points = []
    for s in scores:
        x, y = s.right['background_psnr'], s.right['product_error']
        axes.errorbar(
            x.mean, y.mean, _ends([y]), _ends([x]), fmt='o', ms=6,
            elinewidth=1, color=COLOURS[s.row.family])
        points.append((x.mean, y.mean, s.row))
    axes.invert_yaxis()
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.3 * (high - low))  # for the names
    axes.set_xlabel('background PSNR against the template, dB')
    axes.set_ylabel('product error (better is up)')
    axes.set_title('New product against kept background, 95 % intervals')
    _name_points(figure, axes, points)
    families = dict.fromkeys(s.row.family for s in scores)
    axes.legend(
        handles=[axes.plot([], [], 'o', color=COLOURS[family],
                           label=FAMILIES[family])[0] for family in families],
        loc='upper center', bbox_to_anchor=(0.5, -0.12), ncols=len(families))


def _name_points(figure, axes, points) -> None:
    r"""Names to the right of points, none over another."""
    figure.draw_without_rendering()
    height = 11 * figure.dpi / 72  # of a line of text, in pixels
    placed: list[tuple[float, float]] = []
    for x, y, row in sorted(points, key=lambda point: point[:2]):
        px, py = axes.transData.transform((x, y))
        width = 0.55 * height * len(row.name)
        shift = 0.
        while any(abs(py + shift - other_y) < height and
                  abs(px - other_x) < width for other_x, other_y in placed):
            shift = -shift if shift > 0 else -shift + height
        placed.append((px, py + shift))
        axes.annotate(
            row.name, (x, y), (12, shift * 72 / figure.dpi), fontsize=8,
            textcoords='offset points', va='center',
            color=COLOURS[row.family], bbox={
                'fc': 'white', 'ec': 'none', 'alpha': 0.8, 'pad': 0.5},
            arrowprops={
                'arrowstyle': '-', 'lw': 0.5, 'relpos': (0, 0.5),
                'color': COLOURS[row.family]})


def _ablation(axis: str, figure, scores: Sequence[Score]) -> None:
    r"""A panel for each measure: right photo and, in grey, the wrong one.

    The control is of both photos: rows without a wrong one have no panel of it.
    """
    labels = [s.row.name.partition('=')[2] for s in scores]
    curve = axis in CURVES
    places = [*map(float, labels)] if curve else [*range(len(labels))]
    shown = [name for name in SHOWN if all(name in s.right for s in scores)]
    for panel, name in zip(figure.subplots(1, len(shown)), shown, strict=True):
        for kind, colour, shift in (('right', COLOURS['reference'], -0.12),
                                    ('wrong', WRONG, 0.12)):
            values = [getattr(s, kind).get(name) for s in scores]
            if None in values:  # rows without a wrong photo
                continue
            beside = 0 if curve or name == CONTROL else shift
            panel.errorbar(
                [x + beside for x in places], [v.mean for v in values],
                _ends(values), fmt='o-' if curve else 'o', ms=4,
                elinewidth=1, lw=1.2, color=colour, label=f'{kind} photo')
        title, _, better = COLUMNS[name]
        panel.set_title(f'{title} {better}'.rstrip())
        if name in (CONTROL, 'checkerboard'):
            panel.axhline(0, color=INK, lw=0.8)
        panel.set_xlabel(axis)
        if not curve:
            panel.set_xticks(places, labels, rotation=40, ha='right')
    if any(s.wrong for s in scores):  # else nothing to tell apart
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(),
            loc='outside upper right', ncols=2, fontsize=8)


def _ends(values: Sequence[Interval]) -> list[list[float]]:
    r"""Lengths of the bars below and above each mean."""
    return [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
