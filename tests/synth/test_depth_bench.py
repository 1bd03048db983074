r"""The benchmark in depth: pairs, measures against closed cases, its table."""
from dataclasses import replace

import pytest
import torch

from wan.synth.bench.depth import __main__ as program
from wan.synth.bench.depth.measures import Answer, light_error, measure_depth
from wan.synth.bench.depth.pairs import PHOTOS, make_depth_pair
from wan.synth.bench.depth.report import table, turn_is_right
from wan.synth.bench.depth.rows import BOUNDS
from wan.synth.bench.pairs import SEEDS
from wan.synth.depth import DepthMotion, Thing

PAIR = make_depth_pair(3, SEEDS['tune'], 64, 5)


@pytest.fixture(scope='module')
def answer():
    room = replace(PAIR.clip.room, things=(Thing('ball', 'navy', .1, .8, .2),))
    clip = replace(PAIR.clip, room=room, motion=DepthMotion(turn=.6))
    return Answer.of(replace(PAIR, clip=clip))


def test_pairs_are_fair():
    for number in range(12):
        pair = make_depth_pair(number, SEEDS['tune'])
        assert pair == make_depth_pair(number, SEEDS['tune'])
        products = pair.clip.product, pair.product, pair.wrong
        assert len({product.pattern for product in products}) == 3
        colours = [c for product in products for c in product.colours]
        assert len(set(colours)) == len(colours)
        same = pair.product.shape == pair.clip.product.shape
        assert same == (number % 2 == 1)
        assert (pair.wrong.shape, pair.wrong.slim) == (
            pair.product.shape, pair.product.slim)
        yaw = pair.clip.motion.stand(pair.anchor, pair.clip.frames).yaw
        assert abs(pair.stands[0][0].yaw - yaw) < .18
    assert [len(PAIR.photos(kind)) for kind in PHOTOS[:2]] == [1, 1]
    assert len(PAIR.photos('views')) in (3, 4)


def test_prompts_hide_the_appearance():
    source, target = PAIR.prompts('hidden')
    assert PAIR.clip.product.pattern in source
    assert PAIR.product.pattern not in target
    assert PAIR.words[1] in target


def test_the_truth_is_right_and_a_copy_is_not(answer):
    right = measure_depth(answer.truth, answer)
    for name in ('product_error', 'phase_free', 'light_error',
                 'occlusion_error'):
        assert right[name] == 0
    assert right['structure'] == pytest.approx(1)
    assert right['motion'] == 1
    copy = measure_depth(answer.source, answer)
    assert copy['product_error'] > .1
    assert copy['occlusion_error'] < .1


def test_a_skin_turned_about_its_body_is_phase_free(answer):
    found = measure_depth(answer.shifted[6], answer)
    assert found['phase_free'] == 0 < found['product_error']


def test_light_is_what_is_slow(answer):
    wave = .2 * (-1) ** torch.arange(64.)
    assert light_error(answer.truth + wave, answer.truth, answer) < .01
    assert light_error(answer.truth + .2, answer.truth, answer) \
        == pytest.approx(.1, abs=1e-4)


def test_what_stands_in_front_counts(answer):
    painted = torch.where(answer.hidden > .5, 1., answer.truth)
    assert measure_depth(painted, answer)['occlusion_error'] > .2


@pytest.mark.parametrize('turn, right', [(.1, True), (.119, True),
                                         (.13, False), (0., False)])
def test_a_turn_within_a_fifth_is_right(turn, right):
    assert turn_is_right({'turn': turn, 'true_turn': .1}) == right


def test_rows_run_and_the_table_tells_them(tmp_path, monkeypatch):
    monkeypatch.setattr(program, 'make_depth_pair',
                        lambda number, seeds: PAIR)
    args = ['--pairs', '1', '--photos', 'anchored', '--out', str(tmp_path)]
    assert program.main(args) == 0
    first = (tmp_path / 'results.csv').read_bytes()
    text = (tmp_path / 'table.md').read_text()
    for bound in BOUNDS:
        assert bound.title in text
    monkeypatch.setattr(program, 'results', None)  # what is there is kept
    assert program.main(args) == 0
    assert (tmp_path / 'results.csv').read_bytes() == first
    assert (tmp_path / 'table.md').read_text() == text


def test_no_pairs_are_refused(tmp_path, capsys):
    assert program.main(['--pairs', '0', '--out', str(tmp_path)]) == 2
    assert '--pairs is 0, allowed is 1 or more.' in capsys.readouterr().err


def test_a_table_of_results_with_gaps():
    line = {'photo': 'any', 'pair': 0, 'true_turn': 0., 'turn': 0.}
    values = dict.fromkeys((
        'product_error', 'phase_free', 'structure', 'light_error',
        'background_psnr', 'motion'), .5)
    lines = [line | values | {'row': bound.name, 'which': which}
             for bound in BOUNDS for which in ('right', 'wrong')]
    assert '+0.000 [+0.000, +0.000]' in table(lines, 'tune')
