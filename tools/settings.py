r"""Command-line flags, configuration tables and checkpoint keys of a tree.

Each is read into the form of `tools.interface`, `{group: {name: value}}`:
`cli` holds one `Flag` per flag, `configs.<table>` and
`configs.WAN_CONFIGS.<task>` plain values, `state_dicts.<model>` one shape per
key.
"""
import argparse
import ast
import importlib
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from tools.interface import Interface, imported, parse
from tools.literals import evaluate, plain
from tools.recorded import expected_state

_SIZE_TABLES = ('SIZE_CONFIGS', 'MAX_AREA_CONFIGS', 'SUPPORTED_SIZES')


@dataclass(frozen=True, repr=False)
class Flag:
    r"""What a command line may say, and what it means when it does not."""

    option_strings: tuple[str, ...]
    dest: str
    action: str
    type: str | None
    default: object
    choices: tuple | None
    required: bool
    nargs: object

    def __repr__(self):
        shown = {'type': self.type, 'default': self.default,
                 'choices': self.choices}
        return f'{self.action}, ' + ', '.join(
            f'{k} {v!r}' for k, v in shown.items() if v is not None)

    def changes(self, ours: 'Flag') -> tuple[list[str], list[str]]:
        r"""As `Signature.changes`: further choices and names are no break."""
        broken, new = [], []
        mine = asdict(ours)
        for field, value in asdict(self).items():
            if value == mine[field]:
                continue
            wider = field in ('option_strings', 'choices') and value and (
                mine[field] is None or set(value) <= set(mine[field]))
            (new if wider else broken).append(
                f'{field} {value!r} -> {mine[field]!r}')
        return broken, new


def recorded_flags(cli: dict) -> Interface:
    r"""The flags in cli.json."""
    return _by_name(Flag(**plain(record)) for record in cli['flags'])


def read_flags(root: Path) -> Interface:
    r"""The flags of the `add_argument` calls in generate.py below `root`."""
    tables = _read_config_module(root / 'wan/configs/__init__.py', {})
    parser = argparse.ArgumentParser(add_help=False)
    flags = []
    for node in ast.walk(parse(root / 'generate.py')):
        match node:
            case ast.Call(func=ast.Attribute(attr='add_argument')):
                fields = {
                    k.arg: evaluate(k.value, tables)
                    for k in node.keywords if k.arg not in (None, 'help')
                }
                kind = fields.pop('type', None)
                flags.append(_flag(
                    # argparse itself fills in what the call leaves out
                    parser.add_argument(
                        *(evaluate(x) for x in node.args), **fields),
                    kind))
    return _by_name(flags)


def our_flags() -> Interface:
    r"""The flags of `generate.build_parser()`."""
    parser = importlib.import_module('generate').build_parser()
    return _by_name(
        _flag(action, getattr(action.type, '__name__', action.type))
        for action in parser._actions if action.dest != 'help')


def _flag(action: argparse.Action, kind: str | None) -> Flag:
    name = type(action).__name__
    store = name == '_StoreAction'
    values = {
        k: plain(getattr(action, k))
        for k in Flag.__dataclass_fields__ if k not in ('action', 'type')
    }
    return Flag(
        action={'_StoreAction': 'store',
                '_StoreTrueAction': 'store_true'}.get(name, name),
        type='str' if store and kind is None else kind and str(kind),
        **values)


def _by_name(flags) -> Interface:
    return {'cli': {max(f.option_strings, key=len): f for f in flags}}


def recorded_configs(configs: dict) -> Interface:
    r"""The tables in configs.json."""
    return _tables(plain(configs))


def our_configs() -> Interface:
    r"""The tables of `wan.configs`."""
    return _tables(plain(vars(importlib.import_module('wan.configs'))))


def read_configs(root: Path) -> Interface:
    r"""The tables of wan/configs below `root`, by reading its assignments."""
    return _tables(_read_config_module(root / 'wan/configs/__init__.py', {}))


def _tables(configs: dict) -> Interface:
    tasks = configs['WAN_CONFIGS'].items()
    return {f'configs.WAN_CONFIGS.{task}': dict(c) for task, c in tasks} | {
        f'configs.{name}': configs[name] for name in _SIZE_TABLES
    }


def _read_config_module(path: Path, seen: dict) -> dict:
    r"""Names and values of a configuration file, `seen` for those read."""
    if path in seen:
        return seen[path]
    names = seen[path] = {}
    for node in parse(path).body:
        match node:
            case ast.ImportFrom(level=1, module=str() as module):
                found = _read_config_module(
                    path.parent / f'{module}.py', seen)
                for alias in node.names:
                    if alias.name in found:
                        names[alias.asname or alias.name] = found[alias.name]
            case ast.Assign(targets=[ast.Name(id=name)]):
                names[name] = evaluate(node.value, names)
            case ast.Assign(targets=[
                    ast.Attribute(value=ast.Name(id=name), attr=field)
            ]) if name in names:
                names[name][field] = evaluate(node.value, names)
            case ast.Expr(value=ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id=name), attr='update'),
                    args=[argument])) if name in names:
                names[name].update(evaluate(argument, names))
    return names


def recorded_keys(models: dict) -> Interface:
    r"""The keys and shapes in state_dicts.json."""
    return {
        f'state_dicts.{name}': {
            k: tuple(v) for k, v in expected_state(name).items()
        }
        for name in models
    }


def our_keys(models: dict) -> Interface:
    r"""The keys and shapes of our models, built without memory."""
    out = {}
    for name, entry in models.items():
        module, _, cls = entry['class'].rpartition('.')
        if imported(module, cls) is None:
            continue
        network = getattr(importlib.import_module(module), cls)
        with torch.device('meta'):
            state = network(**_arguments(entry)).state_dict()
        out[f'state_dicts.{name}'] = {
            k: tuple(v.shape) for k, v in state.items()
        }
    return out


def _arguments(entry: dict) -> dict:
    kwargs = plain(entry['constructor_kwargs'])
    if entry['class'].endswith('.T5Encoder'):
        # recorded as the arguments of the whole encoder-decoder model
        kwargs['vocab'] = kwargs.pop('vocab_size')
        kwargs['num_layers'] = kwargs.pop('encoder_layers')
        del kwargs['decoder_layers']
    if entry['class'].endswith('.XLMRobertaCLIP'):
        # recorded with the text tower, which is not built here
        kwargs = {k: v for k, v in kwargs.items() if not k.startswith(
            ('vocab', 'max_text', 'type_size', 'pad_id', 'text_'))}
    return kwargs
