r"""The public Python interface of a tree: names, signatures, constants.

An interface is `{module: {name: value}}`. The value is a `Signature` for a
function or method (`Class.method`), `CLASS` for a class, the value of a short
constant, and `ANY` for a name that only has to be there: a longer constant,
or a name that a package takes over from its modules. What a module only does
when it is run as a program is no part of it, nor are the names it imports.
"""
import ast
import importlib
import inspect
from pathlib import Path

from tools.literals import ANY, Symbol, evaluate, plain
from tools.signature import REQUIRED, Parameter, Signature

Interface = dict[str, dict[str, object]]

CLASS = Symbol('class')
_LONGEST_CONSTANT = 200


def recorded_interface(api: dict) -> Interface:
    r"""The interface in api.json."""
    out = {}
    for module, entry in api['modules'].items():
        names = {k: _constant_entry(v) for k, v in entry['constants'].items()}
        for function, record in entry['functions'].items():
            names[function] = _recorded_signature(record)
        for cls, record in entry['classes'].items():
            names[cls] = CLASS
            for method, signature in record['methods'].items():
                names[f'{cls}.{method}'] = _recorded_signature(signature)
            for attribute, value in record['class_attributes'].items():
                names[f'{cls}.{attribute}'] = _constant_entry(value)
        if entry['path'].endswith('__init__.py'):
            for _, imported in entry['imports_from_package']:
                names |= dict.fromkeys(imported, ANY)
        out[module] = names
    return _public(out)


def _constant_entry(record):
    if 'repr' not in record or 'note' in record:
        return ANY
    return _short(_literal(record['repr']))


def _recorded_signature(record) -> Signature:
    return Signature(
        tuple(
            Parameter(
                p['name'], p['kind'],
                _literal(p['default']) if 'default' in p else REQUIRED)
            for p in record['parameters']),
        _binding(record.get('decorators', ())))


def _literal(source: str):
    return evaluate(ast.parse(source, mode='eval').body)


def read_interface(root: Path) -> Interface:
    r"""The interface of generate.py and wan/ below `root`, by parsing only.

    Raises:
        SyntaxError: a file is not Python.
    """
    files = [root / 'generate.py', *sorted(root.glob('wan/**/*.py'))]
    out = {}
    for path in files:
        parts = path.relative_to(root).with_suffix('').parts
        package = parts[-1] == '__init__'
        module = '.'.join(parts[:-1] if package else parts)
        if path.exists():
            out[module] = _read_module(parse(path), package)
    return _public(out)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'), filename=path.name)


def _read_module(tree: ast.Module, package: bool) -> dict:
    names = {}
    for node in _statements(tree.body):
        match node:
            case ast.ClassDef():
                names[node.name] = CLASS
                inner = _definitions(_statements(node.body))
                names |= {f'{node.name}.{k}': v for k, v in inner.items()}
            case ast.ImportFrom() if package and (
                    node.level or (node.module or '').startswith('wan.')):
                names |= {a.asname or a.name: ANY for a in node.names}
    return names | _definitions(_statements(tree.body))


def _statements(body):
    r"""Statements of a body, and of its conditional and try blocks."""
    for node in body:
        if _only_as_program(node):
            yield from _statements(node.orelse)
        elif isinstance(node, (ast.If, ast.Try)):
            for block in ('body', 'handlers', 'orelse', 'finalbody'):
                yield from _statements(getattr(node, block, ()))
        elif isinstance(node, ast.ExceptHandler):
            yield from _statements(node.body)
        else:
            yield node


def _only_as_program(node) -> bool:
    r"""Whether a statement is `if __name__ == '__main__':`."""
    match node:
        case ast.If(test=ast.Compare(
                left=left, ops=[ast.Eq()], comparators=[right])):
            return {ast.unparse(left), ast.unparse(right)} == {
                '__name__', "'__main__'"}
    return False


def _definitions(statements) -> dict:
    r"""Functions and constants; a constant set twice has no one value."""
    names, imports = {}, set()
    for node in statements:
        match node:
            case ast.Import() | ast.ImportFrom():
                imports |= {a.asname or a.name for a in node.names}
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                decorators = [ast.unparse(d) for d in node.decorator_list]
                if not any(d.endswith('.setter') for d in decorators):
                    names[node.name] = Signature(
                        _parameters(node.args), _binding(decorators))
            case (ast.Assign(targets=[ast.Name(id=name)], value=value)
                  | ast.AnnAssign(target=ast.Name(id=name), value=value)):
                names[name] = ANY if value is None or name in names else (
                    _short(evaluate(value)))
    # `except ImportError: name = None` makes no constant of an import.
    return {k: v for k, v in names.items() if k not in imports}


def _parameters(args: ast.arguments) -> tuple[Parameter, ...]:
    positional = [(a, 'positional_only') for a in args.posonlyargs]
    positional += [(a, 'positional_or_keyword') for a in args.args]
    required = len(positional) - len(args.defaults)
    defaults = [None] * required + args.defaults
    found = list(zip(positional, defaults, strict=True))
    if args.vararg:
        found.append(((args.vararg, 'var_positional'), None))
    found += [((a, 'keyword_only'), d)
              for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        found.append(((args.kwarg, 'var_keyword'), None))
    return tuple(
        Parameter(a.arg, kind, REQUIRED if d is None else evaluate(d))
        for (a, kind), d in found)


def _binding(decorators) -> str:
    r"""Other decorators do not change how a function is called."""
    known = ('property', 'staticmethod', 'classmethod')
    return next((d for d in decorators if d in known), '')


def _short(value):
    r"""A constant worth comparing: not a table, a text or an expression."""
    long = isinstance(value, (dict, Symbol)) or (
        len(repr(value)) > _LONGEST_CONSTANT)
    return ANY if long else value


def _public(interface: Interface) -> Interface:
    r"""Without private names, and submodules named by their package."""

    def keep(module: str, name: str) -> bool:
        last = name.rpartition('.')[2]
        dunder_method = '.' in name and last.endswith('__')
        return (not any(p.startswith('_') for p in name.split('.'))
                or dunder_method) and f'{module}.{name}' not in interface

    return {
        module: {k: v for k, v in names.items() if keep(module, k)}
        for module, names in interface.items()
    }


def imported(module: str, name: str):
    r"""A name of ours as Python sees it, with all that it inherits.

    Returns:
        Its value in an `Interface`, or None where there is no such name.
    """
    try:
        found = importlib.import_module(module)
        for part in name.split('.'):
            fields = getattr(found, '__dataclass_fields__', ())
            if part in fields and not hasattr(found, part):
                return ANY  # a field without default is no attribute
            static = inspect.isclass(found)
            found = (inspect.getattr_static if static else getattr)(
                found, part)
    except (ModuleNotFoundError, AttributeError):
        return None
    return _describe(found, name.rpartition('.')[2])


def _describe(found, name: str):
    if inspect.isclass(found):
        return CLASS
    binding = type(found).__name__
    function = getattr(found, 'fget', getattr(found, '__func__', found))
    if not inspect.isroutine(function):
        return _short(plain(found))
    if function.__name__ != name:
        # torch.nn.Module.forward only stands for a missing method
        return None
    return Signature(
        tuple(
            Parameter(
                p.name, p.kind.name.lower(),
                REQUIRED if p.default is p.empty else plain(p.default))
            for p in inspect.signature(function).parameters.values()),
        _binding([binding]))
