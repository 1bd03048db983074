r"""Signatures, and whether a call written for one is valid for another."""
from dataclasses import dataclass

from tools.literals import Symbol

REQUIRED = Symbol('(required)')


@dataclass(frozen=True)
class Parameter:
    r"""`kind` is the lower-case name of an `inspect.Parameter` kind."""

    name: str
    kind: str
    default: object = REQUIRED

    def __str__(self):
        stars = {'var_positional': '*', 'var_keyword': '**'}
        text = stars.get(self.kind, '') + self.name
        return text + (
            '' if self.default is REQUIRED else f'={self.default!r}')


@dataclass(frozen=True)
class Signature:
    r"""Parameters, and `property`, `staticmethod`, `classmethod` or ''."""

    parameters: tuple[Parameter, ...]
    binding: str = ''

    def __repr__(self):
        return f'({", ".join(map(str, self.parameters))})'

    def changes(self, ours: 'Signature') -> tuple[list[str], list[str]]:
        r"""What breaks a call written for this signature, and what is new.

        A parameter may gain a default, and new parameters may follow when
        they have one. Everything else is a breaking change.
        """
        broken, new, matched = [], [], []
        if self.binding != ours.binding:
            broken.append(f'{self.binding or "function"} -> '
                          f'{ours.binding or "function"}')
        for place, theirs in enumerate(self.parameters):
            mine = _counterpart(theirs, place, ours.parameters)
            matched.append(mine)
            if mine is None:
                broken.append(f'`{theirs}` is not there')
            elif theirs.default != mine.default:
                gained = theirs.default is REQUIRED
                (new if gained else broken).append(f'`{theirs}` is `{mine}`')
        takes_more = any(p.kind == 'var_positional' for p in self.parameters)
        for mine in ours.parameters:
            if mine not in matched:
                in_the_way = mine.default is REQUIRED or (
                    takes_more and mine.kind == 'positional_or_keyword')
                in_the_way &= not mine.kind.startswith('var_')
                (broken if in_the_way else new).append(f'`{mine}` is new')
        return broken, new


def _counterpart(theirs: Parameter, place: int, parameters):
    r"""The parameter of ours that a call's argument for `theirs` reaches."""
    for i, mine in enumerate(parameters):
        if theirs.kind.startswith('var_'):
            reached = mine.kind == theirs.kind
        else:
            reached = (
                mine.name == theirs.name
                and mine.kind in (theirs.kind, 'positional_or_keyword')
                and (theirs.kind == 'keyword_only' or i == place))
        if reached:
            return mine
    return None
