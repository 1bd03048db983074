r"""A Wan2.1 checkout of empty functions, written from the recorded tables.

It has upstream's names, signatures, flags and configuration values in the
kinds of statement upstream uses, so reading it must give the tables back.
"""
from pathlib import Path

from tools.recorded import table

_STARS = {'var_positional': '*', 'var_keyword': '**'}
_FILES = {
    'shared_config': 'wan_shared_cfg',
    'wan_t2v_14B': 't2v_14B',
    'wan_t2v_1_3B': 't2v_1_3B',
    'wan_i2v_14B': 'i2v_14B',
}
# What upstream's files hold besides, and what is no part of the tables.
_NO_INTERFACE = {
    # a checkout is read and never run
    'wan/__init__.py': 'raise SystemExit("imported")\n',
    'wan/utils/prompt_extend.py': """
try:
    from flash_attn import flash_attn_varlen_func
except ModuleNotFoundError:
    flash_attn_varlen_func = None
if __name__ == "__main__":
    seed = 100
    prompt, en_prompt = "one", "two"
    qwen_model_name: str = "a model"
    qwen_result = QwenPromptExpander(model_name=qwen_model_name)(prompt)
    if seed:
        image = "a picture"
""",
    'generate.py': """
if __name__ == "__main__":
    args = _parse_args()
    generate(args)
""",
}


def write_checkout(root: Path) -> Path:
    for entry in table('api')['modules'].values():
        path = root / entry['path']
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_module(entry), encoding='utf-8')
    _write_configs(root / 'wan/configs')
    with (root / 'generate.py').open('a', encoding='utf-8') as f:
        f.write(_flags(table('cli')['flags']))
    for file, source in _NO_INTERFACE.items():
        with (root / file).open('a', encoding='utf-8') as f:
            f.write(source)
    return root


def _module(entry: dict) -> str:
    lines = [f'from {module} import {", ".join(names)}'
             for module, names in entry['imports_from_package']]
    lines += [line for name, value in entry['constants'].items()
              for line in _constant(name, value)]
    for name, record in entry['functions'].items():
        lines += _function(name, record)
    for name, record in entry['classes'].items():
        lines.append(f'class {name}({", ".join(record["bases"])}):')
        body = [line for attribute, value in record['class_attributes'].items()
                for line in _constant(attribute, value)]
        for method, signature in record['methods'].items():
            body += _function(method, signature)
        lines += [f'    {line}' for line in body or ['pass']]
    return '\n'.join(lines) + '\n'


def _constant(name: str, value: dict) -> list[str]:
    if 'try block' in value.get('note', ''):
        return ['try:', f'    {name} = {value["repr"]}', 'except ImportError:',
                f'    {name} = None']
    if 'annotation' in value:
        return [f'{name}: {value["annotation"]}']
    return [f'{name} = {value.get("repr", "make_it()")}']


def _function(name: str, record: dict) -> list[str]:
    parameters, starred = [], False
    for p in record['parameters']:
        if p['kind'] == 'keyword_only' and not starred:
            parameters.append('*')
        starred |= p['kind'] in ('var_positional', 'keyword_only')
        parameters.append(
            _STARS.get(p['kind'], '') + p['name']
            + (f': {p["annotation"]}' if 'annotation' in p else '')
            + (f'={p["default"]}' if 'default' in p else ''))
    lines = [f'@{d}' for d in record.get('decorators', ())]
    return lines + [f'def {name}({", ".join(parameters)}):', '    pass']


def _write_configs(folder: Path) -> None:
    configs = table('configs')
    models = configs['WAN_CONFIGS']
    shared = {k: models['t2v-14B'][k] for k in (
        't5_model', 't5_dtype', 'text_len', 'param_dtype',
        'num_train_timesteps', 'sample_fps', 'sample_neg_prompt')}
    tasks = {'wan_shared_cfg': shared} | {
        name: models[name.replace('_14B', '-14B').replace('_1_3B', '-1.3B')]
        for name in list(_FILES.values())[1:]
    }
    for file, name in _FILES.items():
        lines = ['import torch', 'from easydict import EasyDict']
        if name == 'wan_shared_cfg':
            lines.append(f'{name} = EasyDict()')
        else:
            lines += ['from .shared_config import wan_shared_cfg',
                      f'{name} = EasyDict(__name__="to be replaced")',
                      f'{name}.update(wan_shared_cfg)']
        lines += _fields(name, tasks[name])
        (folder / f'{file}.py').write_text('\n'.join(lines), encoding='utf-8')
    lines = ['import copy', 'import os']
    lines += [f'from .{f} import {n}' for f, n in list(_FILES.items())[1:]]
    lines.append('os.environ["TOKENIZERS_PARALLELISM"] = "false"')
    for name, source, task in (('t2i_14B', 't2v_14B', 't2i-14B'),
                               ('flf2v_14B', 'i2v_14B', 'flf2v-14B')):
        lines.append(f'{name} = copy.deepcopy({source})')
        lines += _fields(name, models[task])
    of_task = {'vace-14B': 't2v_14B', 'vace-1.3B': 't2v_1_3B'}
    lines.append('WAN_CONFIGS = {' + ', '.join(
        f'{task!r}: ' + of_task.get(
            task, task.replace('-', '_').replace('.', '_'))
        for task in models) + '}')
    lines.append(f'SIZE_CONFIGS = {configs["SIZE_CONFIGS"]}')
    lines.append('MAX_AREA_CONFIGS = {' + ', '.join(
        f'{size!r}: {size}' for size in configs['MAX_AREA_CONFIGS']) + '}')
    lines.append(f'SUPPORTED_SIZES = {configs["SUPPORTED_SIZES"]}')
    (folder / '__init__.py').write_text('\n'.join(lines), encoding='utf-8')


def _fields(name: str, values: dict) -> list[str]:
    return [
        f'{name}.{k} = ' + (
            v if k.endswith('_dtype') else repr(v)) for k, v in values.items()
    ]


def _flags(flags: list[dict]) -> str:
    lines = ['def _parse_args():', '    parser = argparse.ArgumentParser()']
    tables = {'--task': 'list(WAN_CONFIGS.keys())',
              '--size': 'list(SIZE_CONFIGS.keys())'}
    for flag in flags:
        name = flag['option_strings'][0]
        if flag['action'] == 'store':
            rest = (f'type={flag["type"]}, default={flag["default"]!r}, '
                    f'choices={tables.get(name, flag["choices"])}')
        else:
            rest = f'action={flag["action"]!r}, default={flag["default"]!r}'
        lines.append(f'    parser.add_argument({name!r}, {rest}, help="...")')
    return '\n'.join(lines) + '\n'
