"""The generator with everything around it that a client would otherwise have to do, as one module to export."""

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from deploy.metadata import Metadata, Precision
from export.centres import centres_of
from likeness.command import BadInput
from shards.inputs import INPUTS, Expansion, Io, Spec
from trainer.checkpoints.synthesis import Synthesis
from trainer.networks.spectral import fold

OPSETS = range(18, 25)
DEFAULT_OPSET = 20
BF16_OPSET = 22
_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Recipe:
    """What an exported graph shall be.

    Raises BadInput for an opset that the exporter does not write, or that lacks the precision.
    """

    opset: int = DEFAULT_OPSET
    """Version of ONNX's operator set, 18 to 24."""
    io: Io = "float"
    """What the graph takes and gives, see `deploy.metadata.Metadata`."""
    precision: Precision = "fp32"
    """Of its arithmetic."""
    dynamic_size: bool = False
    """Whether pictures may have any height and width that are multiples of the model's."""

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise BadInput(f"opset {self.opset}: choose one from {OPSETS.start} to {OPSETS.stop - 1}")
        if self.precision == "bf16" and self.opset < BF16_OPSET:
            raise BadInput(f"opset {self.opset} has no convolution in bfloat16; choose {BF16_OPSET} or later")


class Served(nn.Module):
    """Takes what `Metadata.specs` says of a recipe's io, and gives the picture as it says.

    Ids become one-hot channels here, uint8 becomes floats and pictures become uint8 again: (v/255 - 0.5)/0.5 and back,
    rounded to the nearest. Weights and activations of fp16 and bf16 have that type; the statistics of norms stay
    float32, and so do the tensors that come in and go out, and in bf16 transposed convolutions, which TensorRT does
    not have in that type. int8 is made of the float32 graph afterwards.
    """

    def __init__(self, synthesis: Synthesis, recipe: Recipe) -> None:
        super().__init__()
        self.names, self.schema, self.recipe = synthesis.inputs, synthesis.schema, recipe
        # Spectral norm has no nodes in a graph: weights are what they come to.
        fold(synthesis.module)
        self.dtype = _TYPES.get(recipe.precision, torch.float32)
        self.module = synthesis.module if self.dtype == torch.float32 else _converted(synthesis.module, self.dtype)
        self.register_buffer("ids", torch.tensor(self.schema.ids, dtype=torch.int32).view(1, -1, 1, 1))

    def forward(self, *inputs: Tensor) -> Tensor:
        expanded = (self._expanded(name, tensor) for name, tensor in zip(self.names, inputs, strict=True))
        image: Tensor = self.module(*expanded)
        if self.dtype != torch.float32:
            image = image.float()
        if self.recipe.io == "uint8":
            # TensorRT has uint8 at its very ends only: the conversion comes last.
            return image.add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)
        return image

    def _expanded(self, name: str, tensor: Tensor) -> Tensor:
        expansion = Expansion(
            photo=self._photo, label=self._label, numbers=lambda numbers: numbers, values=self._of_our_type
        )
        expanded: Tensor = INPUTS[name].expand(tensor, expansion)
        return expanded

    def _photo(self, tensor: Tensor) -> Tensor:
        if self.recipe.io == "uint8":
            tensor = tensor.float().permute(0, 3, 1, 2).div(127.5).sub(1)
        return self._of_our_type(tensor)

    def _label(self, tensor: Tensor) -> Tensor:
        if self.schema.ids:
            return torch.eq(tensor.to(torch.int32).unsqueeze(1), torch.as_tensor(self.ids)).to(self.dtype)
        if self.recipe.io == "uint8":
            tensor = tensor.float().div(255)
        return self._of_our_type(tensor)

    def _of_our_type(self, tensor: Tensor) -> Tensor:
        # A cast to the same type would be a node of its own in the graph.
        return tensor if self.dtype == torch.float32 else tensor.to(self.dtype)


class _Float32(nn.Module):
    """A layer that computes in float32 between layers of another type."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer.float()

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.layer(features.float())
        return result.to(features.dtype)


def _converted(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a module in another type; the one that was given stays float32, to be compared with."""
    copied = copy.deepcopy(module).to(dtype)
    if dtype == torch.bfloat16:
        for name, part in list(module.named_modules()):
            if isinstance(part, nn.ConvTranspose2d):
                copied.set_submodule(name, _Float32(copy.deepcopy(part)))
    return copied


def example_inputs(synthesis: Synthesis, io: Io, batch: int) -> tuple[Tensor, ...]:
    """Zeros of the right types and shapes, of the size of the label schema."""
    specs = specs_of(synthesis, io)

    def zeros(spec: Spec) -> Tensor:
        return torch.zeros(batch, *(side or 0 for side in spec.shape), dtype=getattr(torch, spec.dtype))

    return tuple(zeros(specs[name]) for name in synthesis.inputs)


def specs_of(synthesis: Synthesis, io: Io, dynamic_size: bool = False) -> dict[str, Spec]:
    """What the inputs of the exported graph will be."""
    return replace(metadata_of(synthesis, Recipe(io=io)), dynamic_size=dynamic_size).specs()


def metadata_of(synthesis: Synthesis, recipe: Recipe) -> Metadata:
    """What the file will say of itself, before its gates. Raises BadInput as `centres_of` does."""
    return Metadata(
        method=synthesis.method,
        schema=synthesis.schema,
        checkpoint_sha256=synthesis.sha256,
        mlflow_run_id=synthesis.run_id,
        images_seen=synthesis.images_seen,
        perceptual=synthesis.perceptual,
        io=recipe.io,
        precision=recipe.precision,
        dynamic_size=recipe.dynamic_size,
        size_multiple=synthesis.size_multiple,
        style_length=synthesis.style_length,
        feature_channels=synthesis.feature_channels,
        reach=synthesis.reach,
        options=synthesis.config["options"],
        feature_centres=centres_of(synthesis),
    )
