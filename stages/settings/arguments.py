"""What a stage is run for, as its command line says it: also by hand, where DVC does not."""

from stages import tasks
from stages.plumbing.command import UserError
from stages.settings.params import Params, load_params


def params_for(task: str, seed: str = "0", variant: str = "") -> Params:
    """params.yaml, once it is clear that it has settings for these.

    Raises:
        UserError: there is no such task or seed, no such variant, or it is not listed; or see
            `load_params`.
    """
    params = load_params()
    tasks.module_of(task, params.csv)
    if not (seed.isascii() and seed.isdigit()):
        seeds = ", ".join(map(str, params.finetune.seeds))
        raise UserError(f"the seed '{seed}' is no whole number; params.yaml lists {seeds}")
    params.training(task)
    if variant:
        params.variant(variant)
    return params
