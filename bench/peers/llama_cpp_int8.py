"""llama.cpp's BERT encoder in q8_0; embeddings, pooler and classifier around it in numpy.

llama.cpp knows token type 0 alone. So it is given vectors in place of token ids, each the sum of a
token's and its type's; its own table of tokens has one row, and no room is kept for logits over a
vocabulary. Rows of a batch are sequences of one call, without padding; since each token is compared
with all of the call, and masked, a call of few rows is the faster one. Its gelu is by tanh.
"""

import ctypes
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from bench.isa import Isa
from bench.peers import fastest
from stages.model.tokens import Predict
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json

LIBRARY, REQUIRES, BITS = "llama_cpp", ("llama_cpp", "gguf"), 8
# pip compiles it, for this CPU.
REQUIREMENTS = (
    "llama-cpp-python==0.3.36",
    "gguf==0.19.0",
    "--config-settings=cmake.define.GGML_NATIVE=ON",
    "--config-settings=cmake.define.LLAVA_BUILD=OFF",
)
LICENCE, TELEMETRY = "MIT", "none"
LEAVES_PADDING_OUT = True
# Threads meet after each operation: on a busy machine one that spins waits out its turn there.
SWITCHES = {"GOMP_SPINCOUNT": "10000"}
ENCODER, AROUND, CHOSEN = "encoder.gguf", "around.safetensors", "chosen.json"
SILENT: list[Any] = []  # what it calls in place of printing; must not be collected
ROWS = (1, 2, 4, 8)  # of a batch in one call
LAYER = {
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    from safetensors.numpy import load_file, save_file

    from stages.model.artifact import WEIGHTS

    weights = load_file(checkpoint / WEIGHTS)
    config = read_json(checkpoint / "config.json")
    write_encoder(weights, config, folder / ENCODER)
    words = weights["bert.embeddings.word_embeddings.weight"]
    scales = np.abs(words).max(axis=1, keepdims=True) / 127
    around = {
        "words": np.rint(words / np.maximum(scales, 1e-12)).astype(np.int8),
        "scales": scales,
        "types": weights["bert.embeddings.token_type_embeddings.weight"],
        "pooler.weight": weights["bert.pooler.dense.weight"],
        "pooler.bias": weights["bert.pooler.dense.bias"],
        "classifier.weight": weights["classifier.weight"],
        "classifier.bias": weights["classifier.bias"],
    }
    save_file(around, folder / AROUND)
    ways = {
        f"flash attention {'on' if flash else 'off'}, rows in a call {rows}": (flash, rows)
        for flash, rows in itertools.product((False, True), ROWS)
    }
    candidates = {way: predictor(folder, *how, 1)[0] for way, how in ways.items()}
    best = fastest(candidates)
    print("fastest:", best, flush=True)
    write_json(folder / CHOSEN, dict(zip(("flash", "rows"), ways[best], strict=True)))
    return [ENCODER, AROUND]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    chosen = read_json(folder / CHOSEN)
    return predictor(folder, chosen["flash"], chosen["rows"], threads)


def write_encoder(weights: dict[str, np.ndarray], config: dict[str, Any], file: Path) -> None:
    """As llama.cpp's own converter would, but for the tokens and for keys beside queries."""
    import gguf

    writer = gguf.GGUFWriter(file, "bert")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.CLS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(1)
    writer.add_token_type_count(1)

    def add(name: str, weight: np.ndarray, bias: np.ndarray) -> None:
        if weight.ndim == 2:
            q8_0 = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(f"{name}.weight", gguf.quantize(weight, q8_0), raw_dtype=q8_0)
        else:
            writer.add_tensor(f"{name}.weight", weight)
        writer.add_tensor(f"{name}.bias", bias)

    writer.add_tensor("token_embd.weight", np.zeros((1, config["hidden_size"]), np.float32))
    positions = weights["bert.embeddings.position_embeddings.weight"]
    writer.add_tensor("position_embd.weight", positions)
    norm = "bert.embeddings.LayerNorm"
    add("token_embd_norm", weights[f"{norm}.weight"], weights[f"{norm}.bias"])
    for i in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{i}"
        parts = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
        together = [
            np.concatenate([weights[f"{part}.{kind}"] for part in parts])
            for kind in ("weight", "bias")
        ]
        add(f"blk.{i}.attn_qkv", together[0], together[1])
        for theirs, name in LAYER.items():
            whole = f"{layer}.{theirs}"
            add(f"blk.{i}.{name}", weights[f"{whole}.weight"], weights[f"{whole}.bias"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def predictor(folder: Path, flash: bool, rows: int, threads: int) -> tuple[Predict, int]:
    import llama_cpp
    from safetensors.numpy import load_file

    SILENT.append(llama_cpp.llama_log_callback(lambda *_: None))
    llama_cpp.llama_log_set(SILENT[-1], None)
    model = llama_cpp.llama_model_load_from_file(
        str(folder / ENCODER).encode(), llama_cpp.llama_model_default_params()
    )
    settings = llama_cpp.llama_context_default_params()
    longest = llama_cpp.llama_model_n_ctx_train(model)
    settings.n_ctx = settings.n_batch = settings.n_ubatch = rows * longest
    settings.n_seq_max = rows
    settings.n_threads = settings.n_threads_batch = threads
    settings.flash_attn_type = int(flash)
    settings.embeddings = True
    context = llama_cpp.llama_init_from_model(model, settings)
    around = load_file(folder / AROUND)
    width, integers = around["words"].shape[1], ctypes.POINTER(ctypes.c_int32)

    def first_tokens(batch: dict[str, np.ndarray]) -> np.ndarray:
        """What the encoder makes of the first token of each of up to `rows` rows."""
        row, position = np.nonzero(batch["attention_mask"])
        ids, types = batch["input_ids"][row, position], batch["token_type_ids"][row, position]
        vectors = around["words"][ids] * around["scales"][ids] + around["types"][types]
        sequences, positions = row.astype(np.int32), position.astype(np.int32)
        starts = sequences.ctypes.data + sequences.itemsize * np.arange(len(row), dtype=np.intp)
        ones, yes = np.ones(len(row), np.int32), np.ones(len(row), np.int8)
        tokens = llama_cpp.llama_batch(
            n_tokens=len(row),
            embd=vectors.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            pos=positions.ctypes.data_as(integers),
            n_seq_id=ones.ctypes.data_as(integers),
            seq_id=starts.ctypes.data_as(ctypes.POINTER(integers)),
            logits=yes.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
        if failed := llama_cpp.llama_encode(context, tokens):
            raise RuntimeError(f"llama_encode: {failed}")
        found = [
            llama_cpp.llama_get_embeddings_seq(context, i) for i in range(len(batch["input_ids"]))
        ]
        return np.array([np.ctypeslib.as_array(one, (width,)) for one in found])

    def predict(batch):  # type: ignore[no-untyped-def]
        parts = [
            first_tokens({name: array[start : start + rows] for name, array in batch.items()})
            for start in range(0, len(batch["input_ids"]), rows)
        ]
        pooled = np.concatenate(parts) @ around["pooler.weight"].T + around["pooler.bias"]
        return np.tanh(pooled) @ around["classifier.weight"].T + around["classifier.bias"]

    return predict, llama_cpp.llama_n_threads_batch(context)
