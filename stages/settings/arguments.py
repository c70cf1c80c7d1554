"""What a stage is run for, as its command line says it: also by hand, where DVC does not."""

from stages import tasks
from stages.settings.params import Params, load_params


def params_for(task: str, variant: str = "") -> Params:
    """params.yaml, once it is clear that it has settings for these.

    Raises:
        UserError: there is no such task, no such variant, or it is not listed; or see
            `load_params`.
    """
    params = load_params()
    tasks.module_of(task, params.csv)
    params.training(task)
    if variant:
        params.variant(variant)
    return params
