r"""The benchmarks: what they count, and that what they compare is the same."""
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import dit, refdrop, vae

SMALL = (
    '--config', 't2v-tiny', '--dim', '48', '--ffn_dim', '64', '--num_heads',
    '4', '--size', '64*48', '--frames', '9', '--rounds', '1', '--dtype',
    'fp32')


@pytest.fixture
def argv(monkeypatch):
    r"""Set the command line's flags."""
    return lambda *flags: monkeypatch.setattr('sys.argv', ['', *flags])


def test_a_block_has_the_flops_that_are_reported(argv):
    argv(*SMALL, '--backend', 'matmul')
    args = dit.parse_args(dit.__doc__)
    tokens, counted, reported = 3 * 4 * 3, [], []
    for args.layers_limit in 1, 2:
        model = dit.build(args, torch.float32, 'cpu')
        text = model.project_text([torch.randn(5, model.text_dim)])
        with FlopCounterMode(display=False) as counter:
            model([torch.randn(16, 3, 8, 6)], torch.tensor([500.]), text,
                  tokens, attend=dit.attend_by(args))
        counted.append(counter.get_total_flops())
        reported.append(dit.flops(model, tokens))
    assert counted[1] - counted[0] == reported[1] - reported[0] > 0


def test_the_plain_transformer_is_ours(argv, capsys):
    r"""main() refuses outputs that differ."""
    argv(*SMALL)
    dit.main()
    assert '| straightforward, fp32 |' in capsys.readouterr().out


def test_the_plain_vae_is_ours(argv, capsys):
    argv('--dim', '8', '--size', '32*24', '--frames', '5', '--rounds', '1',
         '--tile', '3', '1', '--dtype', 'fp32')
    vae.main()
    assert '| decode fp32, tiled ' in capsys.readouterr().out


def test_outputs_that_differ_are_refused(argv, monkeypatch):
    argv(*SMALL)
    monkeypatch.setitem(dit.LIMITS, 'fp32', -1.)
    with pytest.raises(SystemExit, match='the outputs differ by'):
        dit.main()


def test_reading_adds_what_the_photo_has(argv, capsys):
    r"""Of 2 branches 1/T of the self-attention; a 16th of it with masks."""
    argv(*SMALL)
    refdrop.main()
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith('|')]
    added = {row[0]: row[-1] for row in rows if len(row) == 5}
    # 36 tokens of width 48, of which the photo has 12; 64 of text
    one = 2 * 36 * (6 * 48**2 + 2 * 48 * 64 + 2 * 48 * (36 + 64))
    extra = 2 * 4 * 36 * 12 * 48
    assert added['without, fp32'] == '+0.0%'
    assert added['with the photo, fp32'] == f'{extra / (3 * one):+.1%}'
    assert added['with masks, fp32'] == f'{extra / (48 * one):+.1%}'
    assert rows[-1][-1].endswith('(1/T = 33.3%)')
