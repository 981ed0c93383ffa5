"""Which GPUs an engine uses, as its owner names them, and how its process is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rowen.gpu.base import GpuInfo
from rowen.protocol.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Choice:
    """GPUs of one engine.

    Attributes:
        uuids: Those whose leases it needs; empty for all that are lent.
        visible: What CUDA calls them: UUIDs, of slices too; empty to leave that to the engine.
    """

    uuids: tuple[str, ...] = ()
    visible: tuple[str, ...] = ()

    def environment(self, owners: Mapping[str, str], where: str) -> dict[str, str]:
        """What the engine's process is told, beside its owner's own variables.

        Raises:
            UserError: Both name GPUs.
        """
        if not self.visible:
            return dict(owners)
        if VISIBLE in owners:
            raise UserError(f"{where}: {VISIBLE} contradicts `gpus`: leave it to `gpus`")
        return {**owners, VISIBLE: ",".join(self.visible)}


def choose(where: str, named: Sequence[str], lent: Sequence[GpuInfo], *, is_part: bool) -> Choice:
    """The GPUs that an engine's owner means.

    Args:
        where: The setting, for messages.
        named: Each the driver's index of a GPU, or the beginning of the UUID of a GPU or of a
            slice of one (MIG); none for all.
        lent: Known GPUs; none where no GPU is watched: then nothing is leased by GPU.
        is_part: Whether there are more than these, which the engine must not see.

    Raises:
        UserError: A name fits none of them, or more than one.
    """
    if not lent:
        return Choice(visible=tuple(named))
    if not named:
        return Choice(visible=tuple(gpu.uuid for gpu in lent) if is_part else ())
    found = [_one(where, name, lent) for name in named]
    # In the order in which they are named, which is the order in which CUDA counts them.
    return Choice(
        uuids=tuple(dict.fromkeys(gpu.uuid for gpu, _ in found)),
        visible=tuple(dict.fromkeys(visible for _, visible in found)),
    )


def _one(where: str, name: str, lent: Sequence[GpuInfo]) -> tuple[GpuInfo, str]:
    if name.isdecimal():
        found = [(gpu, gpu.uuid) for gpu in lent if gpu.index == int(name)]
    else:
        found = [(gpu, gpu.uuid) for gpu in lent if name and gpu.uuid.startswith(name)]
        found += [
            (gpu, part.uuid)
            for gpu in lent
            for part in gpu.mig_devices or ()
            if name and part.uuid.startswith(name)
        ]
    if len(found) != 1:
        known = ", ".join(f"{gpu.index} is {gpu.uuid}" for gpu in lent)
        many = "more than one" if found else "none"
        raise UserError(f"{where}: {name!r} is {many} of the GPUs that are lent: {known}")
    return found[0]
