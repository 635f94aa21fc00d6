"""NVlabs/MUNIT: the auto-encoders and discriminators of both domains, labels as pictures and photos."""

import argparse
import re

from shards.records import LabelSchema
from trainer.convert.official_names import BLOCK_CONVOLUTIONS, DiscriminatorSizes, GeneratorSizes
from trainer.convert.official_options import read_options
from trainer.convert.official_weights import Names, Weights, read_weights
from trainer.convert.plan import RGB, Plan, System, check_channels, joined
from trainer.methods._two_domains import MunitOptions

STYLE_DOWNSAMPLINGS = 4
CONTENT = "enc_content.model.0.conv.weight"
"""The first tensor of an auto-encoder."""
WEIGHTS = {
    "gan_w": "realism_weight",
    "recon_x_w": "image_weight",
    "recon_s_w": "style_weight",
    "recon_c_w": "content_weight",
    "recon_x_cyc_w": "cycle_weight",
}
"""Their weights of losses to ours."""
JUDGE = "cnns.0.0.conv.weight"
"""The first tensor of a domain's discriminators."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels", choices=("a", "b"), default="a", help="the domain of label pictures; the other has photos"
    )


def _plan(arguments: argparse.Namespace, schema: LabelSchema) -> Plan:
    weights = read_weights(arguments.weights, f"a.{CONTENT}")
    letters = {"label": arguments.labels, "photo": "b" if arguments.labels == "a" else "a"}
    sizes = {domain: auto_encoder_sizes(weights, letter) for domain, letter in letters.items()}
    told = read_options(arguments.config)
    told.must_be("gen.activ", "relu", "auto-encoders")
    told.must_be("gen.pad_type", "reflect", "auto-encoders")
    for domain, letter in letters.items():
        check_channels(weights, sizes[domain].channels, RGB, f"pictures (domain {letter})")
    label = sizes["label"]
    code, hidden = perceptron_sizes(weights, letters["label"])
    options = label.options | {"style_channels": code, "generator_hidden": hidden}
    for name, seen_in in (
        ("gen.dim", label.base),
        ("gen.n_downsample", label.downsamplings),
        ("gen.n_res", label.blocks),
        ("gen.style_dim", code),
        ("gen.mlp_dim", hidden),
    ):
        told.agrees(name, seen_in, weights.file)
    options |= told.weights(WEIGHTS, {name: field.default for name, field in MunitOptions.model_fields.items()})
    if told.number("vgg_w"):
        told.notes.append(f"vgg_w {told.values['vgg_w']:g}: training goes on without the domain-invariant loss")
    names = [auto_encoder(label, domain).inside(f"{letter}.") for domain, letter in letters.items()]
    sources = [(weights, joined(names))]
    summary = [f"label pictures are domain {letters['label']}, photos domain {letters['photo']}", label.in_words()]
    summary.append(f"style codes of {code} numbers, {hidden} hidden")
    if arguments.discriminator:
        networks = read_weights(arguments.discriminator, f"a.{JUDGE}")
        seen = discriminator_sizes(networks, letters["label"])
        for option, wanted in (("norm", "none"), ("activ", "lrelu"), ("pad_type", "reflect"), ("gan_type", "lsgan")):
            told.must_be(f"dis.{option}", wanted, "discriminators")
        for name, seen_in in (("dim", seen.base), ("n_layer", seen.layers), ("num_scales", seen.scales)):
            told.agrees(f"dis.{name}", seen_in, networks.file)
        options |= seen.options | {"discriminator_scales": seen.scales}
        names = [
            discriminators(seen, f"{domain}_discriminator").inside(f"{letter}.") for domain, letter in letters.items()
        ]
        sources.append((networks, joined(names)))
        summary.append(f"{seen.scales} discriminators for each ({seen.in_words()})")
    return Plan("munit", options, sources, "; ".join(summary), told)


def auto_encoder_sizes(weights: Weights, letter: str) -> GeneratorSizes:
    """Of one domain's auto-encoder. Raises BadInput when it is another network."""
    content = f"{letter}.enc_content.model"
    base, channels, *_ = weights.shape(f"{content}.0.conv.weight", 4)
    pattern = re.escape(content)
    downsamplings = len(weights.numbers(rf"{pattern}\.(\d+)\.conv\.")) - 1
    blocks = len(weights.numbers(rf"{pattern}\.\d+\.model\.(\d+)\."))
    return GeneratorSizes(channels, base, downsamplings, blocks)


def perceptron_sizes(weights: Weights, letter: str) -> tuple[int, int]:
    """The length of a style code, and the numbers in each hidden layer of the perceptron that reads it."""
    hidden, code = weights.shape(f"{letter}.mlp.model.0.fc.weight", 2)
    return code, hidden


def auto_encoder(sizes: GeneratorSizes, domain: str) -> Names:
    """Names of the auto-encoder of a domain, `label` or `photo`. AdaIN has buffers that nothing reads."""
    content, style, decoder = f"{domain}_content", f"{domain}_style", f"{domain}_decoder"
    levels = range(sizes.downsamplings)
    blocks = range(sizes.blocks)

    layers = {"enc_content.model.0.conv": f"{content}.first.1"}
    layers |= {f"enc_content.model.{level + 1}.conv": f"{content}.down.{level}.1" for level in levels}
    trunk = f"enc_content.model.{sizes.downsamplings + 1}.model"
    for block in blocks:
        for number, place in enumerate(BLOCK_CONVOLUTIONS):
            layers[f"{trunk}.{block}.model.{number}.conv"] = f"{content}.trunk.{block}.body.{place}"
    for block in blocks:
        for number, part in enumerate(("first", "second")):
            layers[f"dec.model.0.model.{block}.model.{number}.conv"] = f"{decoder}.trunk.{block}.{part}.1"
    norms = {f"{layer.removesuffix('.conv')}.norm": layer for layer in layers}

    layers["enc_style.model.0.conv"] = f"{style}.first.1"
    layers |= {f"enc_style.model.{k + 1}.conv": f"{style}.down.{k}.1" for k in range(STYLE_DOWNSAMPLINGS)}
    # Between the last convolution and the code stands the mean.
    layers[f"enc_style.model.{STYLE_DOWNSAMPLINGS + 2}"] = f"{style}.code"
    layers |= {f"mlp.model.{number}.fc": f"{decoder}.perceptron.{2 * number}" for number in range(3)}

    tensors: dict[str, str] = {}
    for level in levels:
        # Each upsampling is a place of its own.
        up = f"dec.model.{2 * level + 2}"
        layers[f"{up}.conv"] = f"{decoder}.up.{level}.2"
        tensors |= {
            f"{up}.norm.gamma": f"{decoder}.up.{level}.3.gain",
            f"{up}.norm.beta": f"{decoder}.up.{level}.3.bias",
        }
    layers[f"dec.model.{2 * sizes.downsamplings + 1}.conv"] = f"{decoder}.last.1"
    return Names(layers, tensors, norms)


def discriminator_sizes(weights: Weights, letter: str) -> DiscriminatorSizes:
    """Of one domain's discriminators. Raises BadInput when they are other networks."""
    base, channels, *_ = weights.shape(f"{letter}.{JUDGE}", 4)
    layers = len(weights.numbers(rf"{letter}\.cnns\.0\.(\d+)\.conv\."))
    return DiscriminatorSizes(channels, base, weights.numbers(rf"{letter}\.cnns\.(\d+)\.")[-1] + 1, layers)


def discriminators(sizes: DiscriminatorSizes, ours: str) -> Names:
    """Names of a domain's discriminators; the first sees full size."""
    layers = {}
    for scale in range(sizes.scales):
        for stage in range(sizes.layers):
            layers[f"cnns.{scale}.{stage}.conv"] = f"{ours}.copies.{scale}.{3 * stage + 1}"
        layers[f"cnns.{scale}.{sizes.layers}"] = f"{ours}.copies.{scale}.{3 * sizes.layers}"
    return Names(layers)


SYSTEM = System(
    files="gen_01000000.pt of NVlabs/MUNIT; dis_01000000.pt",
    examples=("gen_01000000.pt --labels a --label classes --height 144 --out checkpoint-munit",),
    weights="gen_01000000.pt: the auto-encoders of both domains",
    discriminator="dis_01000000.pt: the discriminators of both domains",
    config="config.yaml, or the file of configs/ that the run was started with",
    add_arguments=_add_arguments,
    plan=_plan,
)
