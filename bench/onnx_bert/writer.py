"""Nodes and constants of an ONNX graph, collected while it is written."""

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

# Where ONNX Runtime keeps the operators of its own ("contrib operators").
MICROSOFT = "com.microsoft"
OPSETS = {"": 18, MICROSOFT: 1}
# Lengths of the axes, or their names where they vary.
Shape = tuple[int | str, ...]


class Writer:
    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def op(self, kind: str, inputs: list[str], output: str, domain: str = "", **more: Any) -> str:
        """Append a node; returns `output`, its one result's name. An input called "" is left out.

        Args:
            more: attributes.
        """
        return self.several(kind, inputs, [output], domain, **more)[0]

    def several(
        self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **more: Any
    ) -> list[str]:
        """`op` with several results."""
        node = helper.make_node(kind, inputs, outputs, name=outputs[0], domain=domain, **more)
        self.nodes.append(node)
        return outputs

    def constant(self, name: str, value: np.ndarray) -> str:
        """A tensor of the graph, stored once under its name; returns that."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def model(
        self, inputs: dict[str, Shape], outputs: dict[str, Shape], kind: int = TensorProto.INT64
    ) -> ModelProto:
        """All that was written.

        Args:
            inputs: name -> shape, of type `kind`.
            outputs: name -> shape, float32.
        """
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(*each) for each in with_kind(inputs, kind)],
            [helper.make_tensor_value_info(*each) for each in with_kind(outputs)],
            list(self.constants.values()),
        )
        opsets = [helper.make_opsetid(*each) for each in OPSETS.items()]
        version = helper.find_min_ir_version_for(opsets, ignore_unknown=True)
        return helper.make_model(graph, opset_imports=opsets, ir_version=version)


def with_kind(
    shapes: dict[str, Shape], kind: int = TensorProto.FLOAT
) -> list[tuple[str, int, Shape]]:
    return [(name, kind, shape) for name, shape in shapes.items()]
