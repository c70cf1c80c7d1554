"""Five lines for whoever decides: what ships, what it loses, what is gained, where to read on."""

from stages.plumbing import paths
from stages.plumbing.json_file import read_json
from stages.reporting.row import Row
from stages.settings.params import Params
from stages.variants import REFERENCE


def five_lines(task: str, params: Params) -> str:
    """Of the variant that stage export wrote, against the reference, on validation."""
    exported = read_json(paths.METRICS / task / "export.json")
    ours, fp32 = (
        Row.read(paths.metric(task, "compare", name)) for name in (exported["variant"], REFERENCE)
    )
    headline, decisive = ours.headline, ours.over_seeds["validation"]
    drop, cost, before = decisive.drop, ours.cost, fp32.cost
    confidence = f"{100 * params.compare.confidence:g} %"
    seeds = f", mean of {ours.seeds} seeds" if ours.seeds > 1 else ""
    group = f"batch {params.latency.batch_sizes[0]}, threads {params.latency.threads[0]}"
    loses = (
        f"{headline} {decisive.mean:.4f} instead of {fp32.over_seeds['validation'].mean:.4f}: a "
        f"drop of {drop.points:+.2f} points ({confidence}: {drop.low:+.2f} to {drop.high:+.2f})"
        f"{seeds}, {ours.verdict} (at most {params.compare.max_drop_points:g})"
    )
    if ours.verdict == "reference":
        loses = f"nothing: it is {REFERENCE} itself, {headline} {decisive.mean:.4f}{seeds}"
    note = {"random": " RANDOM WEIGHTS: the score means nothing."}.get(cost.weights, "")
    busy = " CONTENDED: other processes ran; do not quote it." if cost.contended else ""
    lines = {
        "ships": f"{exported['variant']} ({exported['reason']})",
        "loses": f"{loses}, on {ours.splits['validation'].n} texts.{note}",
        "faster": f"{cost.speedup_p90:.2f} times: {cost.p90_ms:.1f} ms instead of "
        f"{before.p90_ms:.1f} (p90, {group}).{busy}",
        "smaller": f"{cost.size_ratio:.2f} times: {cost.size_mb:.1f} MB instead of "
        f"{before.size_mb:.1f}",
        "read": f"{paths.REPORTS / task / 'index.html'}; the files are in {paths.EXPORTS / task}/",
    }
    return "\n".join(f"{task} {word + ':':9}{text}" for word, text in lines.items())
