"""torch.compile, per network, and what is said where it does not work."""

import sys
from collections.abc import Iterable

import torch
from torch import nn
from tqdm import tqdm


def compile_networks(networks: Iterable[nn.Module], device: torch.device) -> None:
    """Has every network compiled at its first call; names in state dicts stay what they are.

    Where the compiler does not work at all (most often for want of a C++ compiler or Triton), a warning says why and
    training goes on without it: the numbers are the same, only later. A part of a network that it cannot take runs
    as it is, too, and torch logs which.
    """
    reason = unable(device)
    if reason:
        tqdm.write(f"warning: speed.compile is on, but torch.compile does not work here: {reason}", file=sys.stderr)
        tqdm.write("warning: training goes on without it; results are the same, steps take longer", file=sys.stderr)
        return
    torch._dynamo.config.suppress_errors = True
    for network in networks:
        network.compile()


def unable(device: torch.device) -> str:
    """Why torch.compile does not work on a device; empty where it does."""
    torch._dynamo.reset()
    try:
        torch.compile(lambda x: torch.relu(x) * 2)(torch.ones(8, device=device))
    # The compiler has no common kind of error: missing tools, headers and drivers all raise their own.
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    return ""
