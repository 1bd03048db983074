r"""The weights of a network spread over processes, by torch's FSDP2.

Each block's weights are put together when it runs and let go after it. What
stays in float32, a small part, is whole in every process.
"""
import gc
from collections.abc import Callable, Iterator

import torch
import torch.nn as nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    set_model_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from .groups import from_first

# Called besides `forward`, of a block and of the network.
METHODS = ('keys_values', 'project_text')


def shard_model(
    model: nn.Module, mesh: DeviceMesh, sync_module_states: bool = False
) -> nn.Module:
    r"""Spread a network's weights; it is called as before.

    Args:
        model: the same weights in every process, or on the meta device.
        mesh: the processes, `Groups.weights`. Branch groups have their own,
            as they do not run the same blocks at the same time.
        sync_module_states: upstream's callers say False: the weights are
            there already. `load_sharded` sends them.

    Returns:
        The same network.

    Raises:
        ValueError: `sync_module_states` is true.
    """
    if sync_module_states:
        raise ValueError(
            'sync_module_states is true, shard_model takes weights that every '
            'process has; load_sharded reads them once.')
    fp32 = set(getattr(model, '_keep_in_fp32_modules', None) or ())
    rules = dict(
        mesh=mesh,
        # Timesteps and the residual stream come in float32 and stay so.
        mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False),
        reshard_after_forward=True,
        ignored_params={p for name, p in model.named_parameters()
                        if fp32 & set(name.split('.'))})
    model.requires_grad_(False)
    for module in (*_blocks(model), model):
        fully_shard(module, **rules)
        for name in METHODS:
            if hasattr(module, name):
                register_fsdp_forward_method(module, name)
    return model


def load_sharded(
    model: nn.Module,
    read: Callable[[], nn.Module],
    mesh: DeviceMesh,
    device: torch.device,
) -> nn.Module:
    r"""Read weights once, in rank 0, and spread them over all processes.

    Args:
        model: the network on the meta device.
        read: gives the same network with its weights, in any memory; called
            in rank 0 alone. If it raises, all processes raise the same.
        mesh: see `shard_model`.
        device: of this process.

    Returns:
        `model`, with its weights.
    """
    state: dict[str, torch.Tensor] = {}

    def dtypes():
        state.update(read().state_dict())
        return {name: value.dtype for name, value in state.items()}

    kept = from_first(dtypes)
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(kept[name])
    shard_model(model, mesh).to_empty(device=device)
    set_model_state_dict(model, state, options=StateDictOptions(
        full_state_dict=True, broadcast_from_rank0=True))
    return model.eval()


def free_model(model: nn.Module) -> None:
    r"""Give back the memory of weights that are spread; they are lost."""
    for parameter in model.parameters():
        local = getattr(parameter, 'to_local', lambda p=parameter: p)()
        storage = local.untyped_storage()
        if storage.resizable():
            storage.resize_(0)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    r"""The blocks of all lists of blocks."""
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from child
