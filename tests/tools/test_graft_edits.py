r"""The edits of Wan2.1's files: they want the shapes that they are for."""
import re

import pytest

from tests.tools.standin import STANDIN
from tools.checkout import Shape
from tools.graft_edits import edited
from tools.graft_trees import wrapped

MODEL = 'wan/modules/model.py'


@pytest.mark.parametrize('path, old, new, missing', [
    (MODEL, 'class WanSelfAttention(', 'class Attention(',
     'there is no class WanSelfAttention'),
    (MODEL, 'seq_lens, grid_sizes, freqs):', 'grid_sizes, freqs):',
     'there is no WanSelfAttention.forward(self, x, seq_lens, grid_sizes, '
     'freqs), but one of (self, x, grid_sizes, freqs)'),
    (MODEL, 'q=rope_apply(q, grid_sizes, freqs),', 'q=q,',
     'there is no x = flash_attention(q=rope_apply'),
    (MODEL, '            freqs)', '            freqs=freqs)',
     'there is no self.self_attn(..., seq_lens'),
    (MODEL, '        for block in self.blocks:',
     '        for block in list(self.blocks):',
     'there is no for block in self.blocks'),
    (MODEL, '        y=None,\n    ):', '        y=None,\n    ]:',
     'Syntax Error'),
    ('wan/__init__.py', 'from .', 'import wan # ',
     'there is no from . import'),
    ('generate.py', 'EXAMPLE_PROMPT = {', 'EXAMPLES = {',
     'there is no EXAMPLE_PROMPT = {...}'),
    ('generate.py', 'import wan\n', '', 'there is no import of wan'),
    ('generate.py', 'args = parser.parse_args()', 'args = parse()',
     'there is no args = parser.parse_args()'),
    ('generate.py', 'wan.WanT2V(', 'wan.Other(',
     'there is no `if ... in args.task:`'),
    ('generate.py', 'video = wan_t2v.generate(', 'wan_t2v.generate(',
     'there is no video = ....generate(...)'),
])
def test_code_of_another_shape_is_none(path, old, new, missing):
    text = (STANDIN / path).read_text()
    assert old in text
    with pytest.raises(Shape) as error:
        edited(path, text.replace(old, new))
    assert str(error.value).startswith(f'{path}: {missing}')


def test_lines_are_laid_out_as_they_are():
    r"""Parameters side by side, and calls that grow too long."""
    text = (STANDIN / MODEL).read_text()
    one_line = re.sub(
        r'forward\(\n\s+([^)]*?),\n    \)',
        lambda found: f'forward({" ".join(found[1].split())})', text)
    assert 'forward(self, x, t, context, seq_len, clip_fea=None, y=None):' \
        in one_line
    assert 'clip_fea=None, y=None, ref=None):' in edited(
        MODEL, one_line)
    assert wrapped('x = f(', ['a' * 40, 'b' * 30, 'c'], 12) == (
        f'x = f({"a" * 40},\n          {"b" * 30}, c)')
