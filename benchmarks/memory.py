"""Peak memory: resident set on Linux, allocated memory on CUDA."""

from __future__ import annotations

from pathlib import Path

import torch

__all__ = ["mark", "peak", "resident"]


def mark(device: str) -> float:
    """Forget the peak so far; the memory in use now, MiB."""
    import ctypes
    import gc

    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError as error:
        raise SystemExit(f"Measuring peak memory on the CPU needs Linux: {error}") from error
    return _status("VmRSS")


def peak(device: str) -> float:
    """The largest since `mark`, MiB."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 2**20
    return _status("VmHWM")


def resident() -> float:
    """Memory of this process in use now, MiB; nothing is given back first."""
    return _status("VmRSS")


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"/proc/self/status has no {field}")
