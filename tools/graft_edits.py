r"""What the graft changes in Wan2.1's own files, as edits of syntax trees.

An edit finds the one place that it is for by the shape of the code, and
raises `Shape` naming what it has not found. Nothing else of a file changes.
"""
import ast
from collections.abc import Callable, Sequence

import libcst as cst
import libcst.matchers as m

from tools.checkout import Shape
from tools.graft_files import ROOT
from tools.graft_trees import (
    SPACED,
    after_imports,
    appended,
    forward_of,
    function,
    only,
    replaced,
    statement,
    with_ref,
    wrapped,
)

Edit = Callable[[cst.Module], cst.Module]

SELF_ATTENTION = ('self', 'x', 'seq_lens', 'grid_sizes', 'freqs')
BLOCK = ('self', 'x', 'e', 'seq_lens', 'grid_sizes', 'freqs', 'context',
         'context_lens')
MODEL = ('self', 'x', 't', 'context', 'seq_len', 'clip_fea', 'y')


def edited(path: str, source: str) -> str:
    r"""A file of Wan2.1 with the graft in it.

    Args:
        path: in the checkout, one of `EDITS`.

    Raises:
        Shape: its code is not as expected.
    """
    try:
        module = cst.parse_module(source)
        for edit in EDITS[path]:
            module = edit(module)
    except (cst.ParserSyntaxError, Shape) as error:
        raise Shape(f'{path}: {error}') from error
    return module.code


def read_reference(module: cst.Module) -> cst.Module:
    r"""WanSelfAttention: the slot, between the attention and the output."""
    forward = forward_of(module, 'WanSelfAttention', SELF_ATTENTION)
    rotated = m.Call(m.Name('rope_apply'), args=[
        m.Arg(m.Name()), m.ZeroOrMore()])
    attention = only(
        'x = flash_attention(q=rope_apply(...), k=rope_apply(...), v=...) in '
        'WanSelfAttention.forward',
        [line for line in forward.body.body if m.matches(
            line, m.SimpleStatementLine([m.Assign(
                [m.AssignTarget(m.Name())], m.Call(
                    m.Name('flash_attention'), args=[
                        m.Arg(rotated, m.Name('q')),
                        m.Arg(rotated, m.Name('k')),
                        m.Arg(m.Name(), m.Name('v')),
                        m.ZeroOrMore()]))]))])
    assign = attention.body[0]
    q, k, v = (arg.value for arg in assign.value.args[:3])
    x, code = assign.targets[0].target.value, module.code_for_node
    values = {
        'q': code(q.args[0].value), 'k': code(k.args[0].value),
        'v': code(v), 'x': x, 'q_rotated': f'{code(q)}.type_as({code(v)})',
        'k_rotated': f'{code(k)}.type_as({code(v)})'}
    call = wrapped(f'{x} = ref(', [values[n] for n in slot_arguments()], 12)
    slot = statement(module, f'if ref is not None:\n    {call}\n')
    module = replaced(module, attention, attention, slot)
    return with_ref(module, 'WanSelfAttention', SELF_ATTENTION)


def slot_arguments() -> list[str]:
    r"""What a slot is called with: what our own attention calls it with."""
    source = (ROOT / 'wan/modules/attention_layers.py').read_text('utf-8')
    calls = [node for node in ast.walk(ast.parse(source))
             if isinstance(node, ast.Call) and ast.unparse(node.func) == 'ref']
    return [argument.id for argument in calls[0].args]


def hand_down(module: cst.Module) -> cst.Module:
    r"""WanAttentionBlock: the slot goes on to the self-attention.

    It is left away where there is none: the attention of sequence
    parallelism, which is put in place of the module's, does not know it.
    """
    forward = forward_of(module, 'WanAttentionBlock', BLOCK)
    call = only(
        'self.self_attn(..., seq_lens, grid_sizes, freqs) in '
        'WanAttentionBlock.forward',
        m.findall(forward, m.Call(
            m.Attribute(m.Name('self'), m.Name('self_attn')), args=[
                m.Arg(keyword=None, star=''),
                *(m.Arg(m.Name(n), keyword=None) for n in SELF_ATTENTION[2:])
            ])))
    slot = cst.parse_expression('([] if ref is None else [ref])')
    args = appended(call.args, cst.Arg(slot, star='*'), SPACED)
    module = module.deep_replace(call, call.with_changes(args=args))
    return with_ref(module, 'WanAttentionBlock', BLOCK)


def hand_out(module: cst.Module) -> cst.Module:
    r"""WanModel: block i gets slot i."""
    forward = forward_of(module, 'WanModel', MODEL)
    loop = only(
        'for block in self.blocks: x = block(x, **kwargs) in '
        'WanModel.forward',
        m.findall(forward, m.For(
            m.Name(), m.Attribute(m.Name('self'), m.Name('blocks')),
            m.IndentedBlock([m.SimpleStatementLine([m.Assign(
                value=m.Call(m.Name(), args=[
                    m.Arg(m.Name(), star=''), m.Arg(m.Name(), star='**')])
            )])]))))
    assign = loop.body.body[0].body[0]
    call = assign.value
    args = appended(call.args, cst.Arg(
        cst.Name('slot'), cst.Name('ref'), equal=cst.AssignEqual(
            cst.SimpleWhitespace(''), cst.SimpleWhitespace(''))), SPACED)
    new = loop.deep_replace(call, call.with_changes(args=args)).with_changes(
        target=cst.Tuple(
            [cst.Element(loop.target), cst.Element(cst.Name('slot'))],
            lpar=[], rpar=[]),
        iter=cst.parse_expression(
            'zip(self.blocks, ref or [None] * len(self.blocks))'))
    module = module.deep_replace(loop, new)
    return with_ref(module, 'WanModel', MODEL)


def export(module: cst.Module) -> cst.Module:
    r"""wan: WanPVTT, beside the other pipelines."""
    return after_imports(
        module, m.ImportFrom(relative=[m.Dot()]), 'from . import ...',
        'from .grafted import WanPVTT')


def add_task(module: cst.Module) -> cst.Module:
    r"""generate: the tables that a task's name is looked up in."""
    for name in ('wan', 'SUPPORTED_SIZES', 'WAN_CONFIGS'):
        if not m.findall(module, m.ImportAlias(m.Name(name))):
            raise Shape(f'there is no import of {name}')
    table = only('EXAMPLE_PROMPT = {...}', [
        line for line in module.body if m.matches(
            line, m.SimpleStatementLine([m.Assign(
                [m.AssignTarget(m.Name('EXAMPLE_PROMPT'))], m.Dict())]))])
    return replaced(module, table, table, *(
        statement(module, line) for line in (
            'EXAMPLE_PROMPT["pvtt"] = {"prompt": None}\n',
            'SUPPORTED_SIZES["pvtt"] = SUPPORTED_SIZES["t2v-14B"]\n',
            'WAN_CONFIGS["pvtt"] = WAN_CONFIGS["t2v-14B"]\n')))


def add_flags(module: cst.Module) -> cst.Module:
    r"""generate: the task's flags, behind all others."""
    body = function(module.body, '_parse_args').body.body
    parsed = only('args = parser.parse_args() in _parse_args', [
        line for line in body if m.matches(
            line, m.SimpleStatementLine([m.Assign(value=m.Call(
                m.Attribute(m.Name(), m.Name('parse_args'))))]))])
    parser = parsed.body[0].value.func.value.value
    new = statement(module, f'wan.grafted.add_flags({parser})\n')
    return replaced(module, parsed, new, parsed)


def add_branch(module: cst.Module) -> cst.Module:
    r"""generate: the branch, which gives what the other branches give."""
    generate = function(module.body, 'generate')
    task = m.Attribute(m.Name('args'), m.Name('task'))
    pipeline = m.Call(m.OneOf(
        m.Name('WanT2V'), m.Attribute(attr=m.Name('WanT2V'))))
    chains = [node for node in m.findall(generate, m.If())
              if m.findall(node.test, task) and m.findall(node.body, pipeline)]
    if not chains:
        raise Shape('there is no `if ... in args.task:` with WanT2V in '
                    'generate')
    chain = chains[-1]  # the innermost
    made = m.findall(chain.body, m.Assign(
        [m.AssignTarget(m.Name())],
        m.Call(m.Attribute(attr=m.Name('generate')))))
    video = only('video = ....generate(...) behind WanT2V in generate', made
                  ).targets[0].target.value
    branch = statement(module, (
        f'if "pvtt" in args.task:\n'
        f'    {video} = wan.grafted.pvtt_video(args)\n'))

    def longer(node):
        if isinstance(node.orelse, cst.If):
            return node.with_changes(orelse=longer(node.orelse))
        return node.with_changes(
            orelse=branch.with_changes(orelse=node.orelse))

    return module.deep_replace(chain, longer(chain))


EDITS: dict[str, Sequence[Edit]] = {
    'wan/modules/model.py': (read_reference, hand_down, hand_out),
    'wan/__init__.py': (export,),
    'generate.py': (add_task, add_flags, add_branch),
}
