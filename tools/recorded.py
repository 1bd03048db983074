r"""The recorded tables of Wan2.1, as they lie in tests/data."""
import json
from pathlib import Path

DATA = Path(__file__).parents[1] / 'tests/data'


def table(name: str) -> dict:
    r"""One of the recorded JSON tables: api, cli, configs, state_dicts."""
    return json.loads((DATA / f'{name}.json').read_text('utf-8'))


def expected_state(name: str) -> dict[str, list[int]]:
    r"""key -> shape of a full-size checkpoint, in state_dict order.

    Args:
        name: of a network in state_dicts.json.
    """
    out = {}
    for item in table('state_dicts')['models'][name]['items']:
        if isinstance(item, list):
            out[item[0]] = item[1]
            continue
        for i in item['indices']:
            for suffix, shape in item['keys']:
                out[f'{item["prefix"]}{i}.{suffix}'] = shape
    return out
