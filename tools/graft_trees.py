r"""Finding places in syntax trees, and putting code there."""
from collections.abc import Sequence

import libcst as cst
import libcst.matchers as m

from tools.checkout import Shape

WIDTH = 79
SPACED = cst.Comma(whitespace_after=cst.SimpleWhitespace(' '))


def only(what: str, found: Sequence):
    if len(found) != 1:
        raise Shape(f'there is no {what}' if not found else
                    f'there are {len(found)} of {what}')
    return found[0]


def function(body, name: str) -> cst.FunctionDef:
    return only(f'function {name}', [
        node for node in body if m.matches(node, m.FunctionDef(m.Name(name)))])


def forward_of(module, cls: str, parameters: Sequence[str]) -> cst.FunctionDef:
    r"""The forward of a class, which must take these parameters."""
    found = only(f'class {cls}', [
        node for node in module.body
        if m.matches(node, m.ClassDef(m.Name(cls)))])
    forward = function(found.body.body, 'forward')
    names = tuple(p.name.value for p in forward.params.params)
    if names != tuple(parameters):
        raise Shape(f'there is no {cls}.forward({", ".join(parameters)}), but '
                    f'one of ({", ".join(names)})')
    return forward


def with_ref(module, cls: str, parameters: Sequence[str]) -> cst.Module:
    r"""The forward of a class takes `ref=None` too."""
    forward = forward_of(module, cls, parameters)
    params = appended(forward.params.params, cst.Param(
        cst.Name('ref'), default=cst.Name('None'), equal=cst.AssignEqual(
            cst.SimpleWhitespace(''), cst.SimpleWhitespace('')), star=''))
    return module.deep_replace(forward, forward.with_changes(
        params=forward.params.with_changes(params=params)))


def appended(items: Sequence, new, between: cst.Comma | None = None) -> list:
    r"""Parameters or arguments, and one more.

    Args:
        between: what stands before it; as between those that are there.
    """
    *rest, last = items
    between = between or rest[-1].comma
    return [*rest, last.with_changes(comma=between),
            new.with_changes(comma=last.comma)]


def statement(module: cst.Module, code: str):
    return cst.parse_statement(code, config=module.config_for_parsing)


def replaced(module: cst.Module, old, *new) -> cst.Module:
    r"""The module with statements in place of one."""
    return module.visit(_Replace(old, new))


class _Replace(cst.CSTTransformer):

    def __init__(self, old, new):
        super().__init__()
        self.old, self.new = old, new

    def on_leave(self, original, updated):
        if original is self.old:
            return cst.FlattenSentinel(self.new)
        return super().on_leave(original, updated)


def after_imports(module, kind, what: str, line: str) -> cst.Module:
    r"""A line behind the last import of a kind at the module's top."""
    imports = [node for node in module.body
               if m.matches(node, m.SimpleStatementLine([kind]))]
    if not imports:
        raise Shape(f'there is no {what}')
    return replaced(
        module, imports[-1], imports[-1], statement(module, line + '\n'))


def wrapped(start: str, arguments: Sequence[str], indent: int) -> str:
    r"""A call over as many lines as it takes, of code that is indented."""
    lines = [start]
    for n, argument in enumerate(arguments):
        end = ')' if n == len(arguments) - 1 else ','
        space = '' if lines[-1].endswith('(') else ' '
        if indent + len(f'{lines[-1]}{space}{argument}{end}') > WIDTH:
            lines.append(' ' * (4 + len(start) - 1))
        lines[-1] += f'{space}{argument}{end}'
    return '\n'.join(lines)
