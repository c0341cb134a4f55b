"""Where an encoder runs: the GPU where torch has one, otherwise the CPU."""

from ur4rec_recbole.core.errors import InputError


def torch_device(name: str) -> str:
    """Return torch's name of the device, or raise `InputError` where there is none of that name.

    Parameters
    ----------
    name
        "auto", or torch's own: "cpu", "cuda", "cuda:1", "mps".
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name).cpu()
    except Exception as error:  # RuntimeError, AssertionError, NotImplementedError by device
        raise InputError(
            "--device", "must be auto, cpu, or a device that torch has here, such as cuda:0",
            f"{name!r}: {(str(error).splitlines() or [''])[0]}", "Leave it out.",
        ) from error  # fmt: skip
    return name
