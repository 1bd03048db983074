r"""The files of ours that the method needs and Wan2.1 lacks."""
import ast
from collections.abc import Iterator
from pathlib import Path

from tools.checkout import Shape

ROOT = Path(__file__).resolve().parent.parent
# Lies among the tools, as it is of use in a grafted checkout only.
ENTRY = 'wan/grafted.py'
_SOURCES = {ENTRY: ROOT / 'tools/grafted.py'}


def files_to_copy(checkout: Path) -> dict[str, Path]:
    r"""Path in the checkout -> our file, for all that `ENTRY` needs.

    Imports are followed through our files. Where the checkout has a file of
    that path, it is used as it is, and must have the names.

    Raises:
        Shape: it lacks a name.
    """
    found, todo = {}, [ENTRY]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found[path] = _source(path)
        todo += [file for file in _run_by_path(path)
                 if not (checkout / file).exists()]
        for module, name in _imports(path):
            wanted = _file(f'{module}.{name}') or _file(module)
            if wanted is None:
                raise Shape(f'{path} imports {module}, which is no file.')
            # A package runs before what is in it.
            above = [str(p / '__init__.py') for p in Path(wanted).parents
                     if p.name and (ROOT / p / '__init__.py').exists()]
            todo += [file for file in (*above, wanted)
                     if not (checkout / file).exists()]
            if wanted not in todo and wanted == _file(module) \
                    and name not in names_of(checkout / wanted):
                raise Shape(
                    f'{wanted} has no {name}, which our {path} imports.')
    return dict(sorted(found.items()))


def _source(path: str) -> Path:
    return _SOURCES.get(path, ROOT / path)


def _file(module: str) -> str | None:
    r"""The path of a module of ours, None if there is none."""
    path = module.replace('.', '/')
    for file in (f'{path}.py', f'{path}/__init__.py'):
        if _source(file).is_file():
            return file
    return None


def _imports(path: str) -> Iterator[tuple[str, str]]:
    r"""(module, name) of what a file of ours imports from `wan`."""
    parts = Path(path).with_suffix('').parts
    package = parts if parts[-1] == '__init__' else parts[:-1]
    package = tuple(p for p in package if p != '__init__')
    for node in ast.walk(ast.parse(_source(path).read_text('utf-8'))):
        if isinstance(node, ast.ImportFrom):
            above = package[:len(package) + 1 - node.level] \
                if node.level else ()
            module = '.'.join([*above, *filter(None, [node.module])])
            # Several processes are Wan2.1's own affair.
            if module.partition('.')[0] == 'wan' \
                    and not module.startswith('wan.distributed.'):
                yield from ((module, alias.name) for alias in node.names)


def _run_by_path(path: str) -> Iterator[str]:
    r"""Programs that a file of ours starts, as the files beside it."""
    for node in ast.walk(ast.parse(_source(path).read_text('utf-8'))):
        match node:
            case ast.Call(func=ast.Attribute(attr='with_name'),
                          args=[ast.Constant(value=str() as name)]):
                file = str(Path(path).with_name(name))
                if name.endswith('.py') and (ROOT / file).is_file():
                    yield file


def names_of(file: Path) -> set[str]:
    r"""What may be imported from a file: all that it binds at its top."""
    names = set()
    for node in _bodies(ast.parse(file.read_text('utf-8')).body):
        match node:
            case (ast.FunctionDef(name=name) | ast.ClassDef(name=name)
                  | ast.Assign(targets=[ast.Name(id=name)])
                  | ast.AnnAssign(target=ast.Name(id=name))):
                names.add(name)
            case ast.Import() | ast.ImportFrom():
                names |= {a.asname or a.name for a in node.names}
    return names


def _bodies(body) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            for part in ('body', 'orelse', 'handlers', 'finalbody'):
                yield from _bodies(getattr(node, part, ()))
        elif isinstance(node, ast.ExceptHandler):
            yield from _bodies(node.body)
