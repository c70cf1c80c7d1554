"""Running such a graph: the options that a server with one request at a time would set."""

from pathlib import Path

import onnxruntime
from onnx import ModelProto

# It would turn `Add` and `LayerNormalization` back into the fused operator, also where choice.py
# has found that to be the slower one.
UNWANTED = "SkipLayerNormFusion"


def session(
    model: ModelProto | Path, threads: int, optimized: Path | None = None
) -> onnxruntime.InferenceSession:
    """A session on the CPU.

    Args:
        optimized: where to write the graph as it runs, after all of the session's own changes.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL  # one node after another
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = False  # planned per shape of a batch, of which there are many
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("optimization.disable_specified_optimizers", UNWANTED)
    # Threads spin within a call, where the next node comes at once; behind it they would take a
    # core from whoever has the next turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
