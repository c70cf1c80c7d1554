"""What BERT and its kin call their layers: all that our encoders know of them."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Family:
    """Names of weights in a checkpoint, without `.weight` and `.bias`; {i} is the layer's number.

    Attributes:
        after_attention, after_ffn: layer norms.
        head: Linear layers on the first token, each with the function behind it; the last one
            gives the logits and stays in fp32.
        padded_positions: positions count from behind the padding id, as RoBERTa's do.
        projection: what leads from the embeddings to the layers, where they are of another width.
        stored_layers: its name in config.json, where several layers in a row share their weights;
            {i} is then the number of what is stored.
        distances: the table of what is added to a score by the distance of two tokens, one for all
            layers, in a module that has `compute_position_bias`; empty where there is none.
        ffn, ffn_act, heads, layers, eps: their names in config.json.
    """

    embeddings: str
    query: str
    key: str
    value: str
    attention_out: str
    after_attention: str
    ffn_in: str
    ffn_out: str
    after_ffn: str
    head: tuple[tuple[str, str], ...]
    padded_positions: bool = False
    projection: str = ""
    stored_layers: str = ""
    distances: str = ""
    ffn: str = "intermediate_size"
    ffn_act: str = "hidden_act"
    heads: str = "num_attention_heads"
    layers: str = "num_hidden_layers"
    eps: str = "layer_norm_eps"

    def of_layer(self, i: int) -> dict[str, str]:
        """Attribute -> name, of what each layer has."""
        attributes = ["query", "key", "value", "attention_out", "after_attention"]
        attributes += ["ffn_in", "ffn_out", "after_ffn"]
        return {name: getattr(self, name).format(i=i) for name in attributes}


def bert_like(prefix: str, head: tuple[tuple[str, str], ...], padded: bool = False) -> Family:
    layer = f"{prefix}.encoder.layer.{{i}}"
    return Family(
        embeddings=f"{prefix}.embeddings",
        query=f"{layer}.attention.self.query",
        key=f"{layer}.attention.self.key",
        value=f"{layer}.attention.self.value",
        attention_out=f"{layer}.attention.output.dense",
        after_attention=f"{layer}.attention.output.LayerNorm",
        ffn_in=f"{layer}.intermediate.dense",
        ffn_out=f"{layer}.output.dense",
        after_ffn=f"{layer}.output.LayerNorm",
        head=head,
        padded_positions=padded,
    )


ROBERTA = bert_like(
    "roberta", (("classifier.dense", "tanh"), ("classifier.out_proj", "none")), padded=True
)
ALBERT_LAYER = "albert.encoder.albert_layer_groups.{i}.albert_layers.0"
MPNET_LAYER = "mpnet.encoder.layer.{i}.attention"
DISTILBERT_LAYER = "distilbert.transformer.layer.{i}"
FAMILIES = {
    "bert": bert_like("bert", (("bert.pooler.dense", "tanh"), ("classifier", "none"))),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "data2vec-text": bert_like("data2vec_text", ROBERTA.head, padded=True),
    "ernie": bert_like("ernie", (("ernie.pooler.dense", "tanh"), ("classifier", "none"))),
    "mpnet": replace(
        bert_like("mpnet", ROBERTA.head, padded=True),
        query=f"{MPNET_LAYER}.attn.q",
        key=f"{MPNET_LAYER}.attn.k",
        value=f"{MPNET_LAYER}.attn.v",
        attention_out=f"{MPNET_LAYER}.attn.o",
        after_attention=f"{MPNET_LAYER}.LayerNorm",
        distances="mpnet.encoder.relative_attention_bias",
    ),
    "electra": replace(
        bert_like("electra", (("classifier.dense", "gelu"), ("classifier.out_proj", "none"))),
        projection="electra.embeddings_project",
    ),
    "albert": Family(
        embeddings="albert.embeddings",
        query=f"{ALBERT_LAYER}.attention.query",
        key=f"{ALBERT_LAYER}.attention.key",
        value=f"{ALBERT_LAYER}.attention.value",
        attention_out=f"{ALBERT_LAYER}.attention.dense",
        after_attention=f"{ALBERT_LAYER}.attention.LayerNorm",
        ffn_in=f"{ALBERT_LAYER}.ffn",
        ffn_out=f"{ALBERT_LAYER}.ffn_output",
        after_ffn=f"{ALBERT_LAYER}.full_layer_layer_norm",
        head=(("albert.pooler", "tanh"), ("classifier", "none")),
        projection="albert.encoder.embedding_hidden_mapping_in",
        stored_layers="num_hidden_groups",
    ),
    "distilbert": Family(
        embeddings="distilbert.embeddings",
        query=f"{DISTILBERT_LAYER}.attention.q_lin",
        key=f"{DISTILBERT_LAYER}.attention.k_lin",
        value=f"{DISTILBERT_LAYER}.attention.v_lin",
        attention_out=f"{DISTILBERT_LAYER}.attention.out_lin",
        after_attention=f"{DISTILBERT_LAYER}.sa_layer_norm",
        ffn_in=f"{DISTILBERT_LAYER}.ffn.lin1",
        ffn_out=f"{DISTILBERT_LAYER}.ffn.lin2",
        after_ffn=f"{DISTILBERT_LAYER}.output_layer_norm",
        head=(("pre_classifier", "relu"), ("classifier", "none")),
        ffn="hidden_dim",
        ffn_act="activation",
        heads="n_heads",
        layers="n_layers",
        eps="",  # always 1e-12
    ),
}
