"""What ships, as the comparison argues: among what production can run."""

from collections.abc import Mapping

from stages import variants
from stages.measure.selection import Choice, choose
from stages.plumbing import paths
from stages.reporting.row import Row
from stages.settings.params import Params

# export.needs -> what a variant may need; fp32 is always there to fall back on.
ADMITTED = {
    "any": (variants.TORCH, variants.ONNX_RUNTIME, variants.OWN_LIBRARY),
    "onnx": (variants.ONNX_RUNTIME,),
    "no-compiler": (variants.TORCH, variants.ONNX_RUNTIME),
}
AMONG = {
    "any": "",
    "onnx": "of what ONNX Runtime runs, ",
    "no-compiler": "of what never needs a compiler, ",
}


def rows_of(task: str) -> dict[str, Row]:
    """By variant, as stage compare left them."""
    files = sorted((paths.METRICS / task / "compare").glob("*.json"))
    return {path.stem: Row.read(path) for path in files}


def auto_choice(rows: Mapping[str, Row], params: Params) -> Choice:
    """What `export.variant: auto` ships."""
    headline, needs = next(iter(rows.values())).headline, params.export.needs
    contenders = {
        name: row.contender
        for name, row in rows.items()
        if name == variants.REFERENCE
        or (variants.get(name).ships and variants.get(name).needs in ADMITTED[needs])
    }
    budget = params.compare.max_drop_points
    choice = choose(contenders, variants.REFERENCE, headline, budget)
    return Choice(choice.variant, AMONG[needs] + choice.reason)
