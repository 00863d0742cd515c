"""The processes that train one network together: this one's number and part, and what they share.

If the hyperparameter sagemaker_torch_distributed_enabled is true, SageMaker's PyTorch containers start a
program through torchrun, one process per GPU (one per instance without GPUs). A program started alone joins
nothing; every function here is then trivial.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from entrypoints.program import fail

T = TypeVar("T")


def join() -> None:
    """Join torchrun's other processes, over NCCL on GPUs and gloo elsewhere.

    From then on only the first prints, so that each metric line is logged once. A job whose GPUs torch cannot
    use ends here: it would train on the CPU at a GPU's price.
    """
    # The training toolkit counts them with nvidia-smi (sagemaker_training.environment.num_gpus), which also
    # works with drivers that torch's CUDA refuses. Users can hide the GPUs.
    gpus = int(os.environ.get("SM_NUM_GPUS", "0"))
    if gpus and not torch.cuda.is_available() and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        fail(
            f"the instance has {gpus} GPUs and torch {torch.__version__} with CUDA {torch.version.cuda} can "
            "use none, perhaps since the driver is too old; choose another TrainingInstanceType or "
            "images.training_version, or, on your own machine, set CUDA_VISIBLE_DEVICES= to train on its CPU"
        )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    instances = len(json.loads(os.environ.get("SM_HOSTS", "[]")))
    if processes < instances:
        fail(
            f"the job has {instances} instances and each would train alone; set the hyperparameter "
            "sagemaker_torch_distributed_enabled to true, or the instance count to 1"
        )
    if processes == 1:
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if "SM_NETWORK_INTERFACE_NAME" in os.environ:  # the toolkit passes it only to NCCL
        os.environ.setdefault("GLOO_SOCKET_IFNAME", os.environ["SM_NETWORK_INTERFACE_NAME"])
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if rank():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  open until the process ends


def leave() -> None:
    """Wait for the others, above all for the first one's files, and leave the group."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def count() -> int:
    """The number of training processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number; the first, 0, prints and writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def count_here() -> int:
    """The number of processes that share this instance and its memory."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else 1


def part(items: list[T]) -> list[T]:
    """This process's items: always the same, so that results can be kept."""
    return items[rank() :: count()]


def whole(own: torch.Tensor) -> torch.Tensor:
    """The rows of all processes' parts, in the order before `part`, in the first process.

    An empty tensor in the others; every process calls it. Rows are in CPU memory.
    """
    if not dist.is_initialized():
        return own
    parts: list[torch.Tensor] = [own] * count()
    dist.gather_object(own, parts if rank() == 0 else None)
    if rank():
        return torch.empty(0)
    result = torch.empty(sum(map(len, parts)), *own.shape[1:], dtype=own.dtype)
    for number, rows in enumerate(parts):
        result[number :: count()] = rows
    return result


def total(value: float) -> float:
    """The sum of all processes' values, in each process."""
    return _totals([value])[0]


def shares(weights: Sequence[float]) -> list[float]:
    """Each of this process's weights as a share (0..1) of all processes' weights at its index."""
    return [own / whole for own, whole in zip(weights, _totals(weights), strict=True)]


def from_first(action: Callable[[], T]) -> T:
    """The result of `action`, which only the first process calls."""
    if not dist.is_initialized():
        return action()
    found: list[T | None] = [action() if rank() == 0 else None]
    dist.broadcast_object_list(found)
    return found[0]  # type: ignore[return-value]


def synchronize_batch_norm(network: nn.Module) -> nn.Module:
    """The network, with batch norm over all processes' pictures during training.

    torch has this for GPUs only. Elsewhere each process normalizes its own part of a batch, and
    `average_statistics` combines the statistics.
    """
    if count() == 1 or not torch.cuda.is_available():
        return network
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return converted


def average_gradients(network: nn.Module) -> nn.Module:
    """The network; its gradients become the mean over all processes as they are computed."""
    if count() == 1:
        return network
    with warnings.catch_warnings():
        # torch 2.14 prefers forward_sync_buffers, which earlier versions lack.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(network, broadcast_buffers=False, gradient_as_bucket_view=True)


def average_statistics(network: nn.Module) -> None:
    """Set the network's batch norm statistics, in all processes, to their mean."""
    for buffer in network.buffers():
        if count() > 1 and buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= count()


def _totals(values: Sequence[float]) -> list[float]:
    if not dist.is_initialized():
        return list(values)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(tensor)
    totals: list[float] = tensor.tolist()
    return totals
