"""The networks once more, in plain NumPy: slow, in float64, and written from the specification alone.

Arrays are (N, C, H, W). A state is a state dict as arrays; its names are all that is taken over from the torch modules.
"""

from collections.abc import Mapping, Sequence
from itertools import count

import numpy as np

from likeness.array import Array

State = Mapping[str, Array]


def reflect(x: Array, border: int) -> Array:
    """A border that mirrors the picture about its outermost pixels, which are not repeated."""

    def mirrored(size: int) -> list[int]:
        last = size - 1
        return [last - abs(last - abs(place)) for place in range(-border, size + border)]

    return x[:, :, mirrored(x.shape[2])][:, :, :, mirrored(x.shape[3])]


def zero_pad(x: Array, border: int) -> Array:
    samples, channels, height, width = x.shape
    padded = np.zeros((samples, channels, height + 2 * border, width + 2 * border))
    padded[:, :, border : border + height, border : border + width] = x
    return padded


def convolution(x: Array, weight: Array, bias: Array, stride: int = 1, padding: int = 0) -> Array:
    """weight: (C_out, C_in, k, k). Each output is the sum over a window of the zero-padded input, plus bias."""
    x = zero_pad(x, padding)
    kernel = weight.shape[-1]
    height, width = ((size - kernel) // stride + 1 for size in x.shape[2:])
    out = np.zeros((len(x), len(weight), height, width)) + bias[:, None, None]
    for row in range(kernel):
        for column in range(kernel):
            seen = x[:, :, row : row + stride * height : stride, column : column + stride * width : stride]
            out += np.einsum("oc,nchw->nohw", weight[:, :, row, column], seen, optimize=True)
    return out


def transposed_convolution(x: Array, weight: Array, bias: Array) -> Array:
    """Stride 2, padding 1, output padding 1; weight: (C_in, C_out, k, k). Each input pixel paints its kernel.

    The canvas holds every painted pixel and one row and column beyond; padding takes one off on each side of it.
    """
    stride, padding, beyond = 2, 1, 1
    samples, _, height, width = x.shape
    kernel = weight.shape[-1]
    rows, columns = ((size - 1) * stride + kernel + beyond for size in (height, width))
    canvas = np.zeros((samples, weight.shape[1], rows, columns))
    for row in range(kernel):
        for column in range(kernel):
            painted = np.einsum("co,nchw->nohw", weight[:, :, row, column], x, optimize=True)
            canvas[:, :, row : row + stride * height : stride, column : column + stride * width : stride] += painted
    return canvas[:, :, padding : rows - padding, padding : columns - padding] + bias[:, None, None]


def instance_norm(x: Array) -> Array:
    """Without parameters; biased variance, eps 1e-5."""
    mean = x.mean((2, 3), keepdims=True)
    variance = ((x - mean) ** 2).mean((2, 3), keepdims=True)
    out: Array = (x - mean) / np.sqrt(variance + 1e-5)
    return out


def relu(x: Array) -> Array:
    return np.where(x > 0, x, 0.0)


def leaky_relu(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x)


def residual_block(x: Array, first: tuple[Array, Array], second: tuple[Array, Array]) -> Array:
    """first, second: weight and bias of the two convolutions."""
    inner = relu(instance_norm(convolution(reflect(x, 1), *first)))
    return x + instance_norm(convolution(reflect(inner, 1), *second))


def cell_means(x: Array, cells: int) -> Array:
    """Mean colours of a cells×cells grid, channel by channel: (N, C·cells²)."""
    samples, channels, height, width = x.shape
    tall, wide = height // cells, width // cells
    means = np.empty((samples, channels, cells, cells))
    for row in range(cells):
        for column in range(cells):
            cell = x[:, :, row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
            means[:, :, row, column] = cell.mean((2, 3))
    return means.reshape(samples, -1)


def colour_shift(x: Array, colour: Array, state: State, prefix: str) -> Array:
    """Scales and shifts channels by what two dense layers read from the colours; scales come first."""
    hidden = relu(colour @ state[f"{prefix}.hidden.weight"].T + state[f"{prefix}.hidden.bias"])
    amounts = hidden @ state[f"{prefix}.amounts.weight"].T + state[f"{prefix}.amounts.bias"]
    channels = x.shape[1]
    out: Array = x * (1 + amounts[:, :channels, None, None]) + amounts[:, channels:, None, None]
    return out


def generator(x: Array, state: State, colour: Array | None = None) -> Array:
    """Specification 2.1; as many blocks and levels as the state holds. colour: what `cell_means` gives."""
    features = generator_features(x, state, colour)
    return np.tanh(convolution(reflect(features, 3), state["last.1.weight"], state["last.1.bias"]))


def generator_features(x: Array, state: State, colour: Array | None = None) -> Array:
    """All of the generator but its last three modules."""

    def layer(name: str) -> tuple[Array, Array]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    x = relu(instance_norm(convolution(reflect(x, 3), *layer("first.1"))))
    for level in range(_many(state, "down.{}.0.weight")):
        x = relu(instance_norm(convolution(x, *layer(f"down.{level}.0"), stride=2, padding=1)))
    for block in range(_many(state, "trunk.{}.body.1.weight")):
        x = residual_block(x, layer(f"trunk.{block}.body.1"), layer(f"trunk.{block}.body.5"))
    for level in range(_many(state, "up.{}.0.weight")):
        x = instance_norm(transposed_convolution(x, *layer(f"up.{level}.0")))
        if colour is not None:
            x = colour_shift(x, colour, state, f"colour.{level}")
        x = relu(x)
    return x


def patchgan(x: Array, state: State, prefix: str = "") -> list[Array]:
    """Specification 2.2: the outputs of the four stages and, last, the scores."""
    outputs = []
    for stage, stride in enumerate((2, 2, 2, 1)):
        x = convolution(
            x, state[f"{prefix}stages.{stage}.0.weight"], state[f"{prefix}stages.{stage}.0.bias"], stride, padding=2
        )
        x = leaky_relu(instance_norm(x) if stage else x)
        outputs.append(x)
    return [*outputs, convolution(x, state[f"{prefix}stages.4.weight"], state[f"{prefix}stages.4.bias"], padding=2)]


def multi_scale_patchgan(x: Array, state: State, scales: int) -> list[list[Array]]:
    """pix2pixHD 2.3: from full size, which the copy with the highest index sees, down."""
    outputs = []
    for copy in reversed(range(scales)):
        outputs.append(patchgan(x, state, f"copies.{copy}."))
        x = average_pool(x)
    return outputs


def adaptive_instance_norm(x: Array, scale: Array, bias: Array) -> Array:
    """MUNIT 2; scale, bias: (N, C)."""
    return instance_norm(x) * scale[:, :, None, None] + bias[:, :, None, None]


def sample_norm(x: Array, gain: Array, bias: Array) -> Array:
    """MUNIT 2: each sample by its own mean and unbiased standard deviation; gain, bias: (C, 1, 1)."""
    out = np.empty_like(x)
    for number, sample in enumerate(x):
        centred = sample - sample.mean()
        deviation = np.sqrt((centred**2).sum() / (sample.size - 1))
        out[number] = centred / (deviation + 1e-5) * gain + bias
    return out


def adaptive_residual_block(x: Array, amounts: Array, state: State, prefix: str = "") -> Array:
    """amounts: (N, 4·C): each norm's biases come before its scales."""
    first_bias, first_scale, second_bias, second_scale = np.split(amounts, 4, axis=1)

    def padded(x: Array, name: str) -> Array:
        return convolution(reflect(x, 1), state[f"{prefix}{name}.1.weight"], state[f"{prefix}{name}.1.bias"])

    inner = relu(adaptive_instance_norm(padded(x, "first"), first_scale, first_bias))
    inner = adaptive_instance_norm(padded(inner, "second"), second_scale, second_bias)
    return x + inner


def content_encoder(x: Array, state: State) -> Array:
    """MUNIT 2; as many blocks and levels as the state holds."""

    def layer(name: str) -> tuple[Array, Array]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    x = relu(instance_norm(convolution(reflect(x, 3), *layer("first.1"))))
    for level in range(_many(state, "down.{}.1.weight")):
        x = relu(instance_norm(convolution(reflect(x, 1), *layer(f"down.{level}.1"), stride=2)))
    for block in range(_many(state, "trunk.{}.body.1.weight")):
        x = residual_block(x, layer(f"trunk.{block}.body.1"), layer(f"trunk.{block}.body.5"))
    return x


def style_encoder(x: Array, state: State) -> Array:
    """MUNIT 2: codes (N, 8)."""
    x = relu(convolution(reflect(x, 3), state["first.1.weight"], state["first.1.bias"]))
    for level in range(4):
        x = relu(convolution(reflect(x, 1), state[f"down.{level}.1.weight"], state[f"down.{level}.1.bias"], stride=2))
    return x.mean((2, 3)) @ state["code.weight"][:, :, 0, 0].T + state["code.bias"]


def decoder(content: Array, style: Array, state: State) -> Array:
    """MUNIT 2; as many blocks and levels as the state holds."""
    amounts = style
    for number in (0, 2, 4):
        amounts = amounts @ state[f"perceptron.{number}.weight"].T + state[f"perceptron.{number}.bias"]
        amounts = relu(amounts) if number < 4 else amounts
    x, each = content, 4 * content.shape[1]
    for block in range(_many(state, "trunk.{}.first.1.weight")):
        x = adaptive_residual_block(x, amounts[:, block * each : (block + 1) * each], state, f"trunk.{block}.")
    for level in range(_many(state, "up.{}.2.weight")):
        name = f"up.{level}."
        x = x.repeat(2, axis=2).repeat(2, axis=3)
        x = convolution(reflect(x, 2), state[f"{name}2.weight"], state[f"{name}2.bias"])
        x = relu(sample_norm(x, state[f"{name}3.gain"], state[f"{name}3.bias"]))
    return np.tanh(convolution(reflect(x, 3), state["last.1.weight"], state["last.1.bias"]))


def scaled_discriminators(x: Array, state: State) -> list[Array]:
    """MUNIT 2: the scores of each scale, from full size down."""
    scores = []
    for copy in range(_many(state, "copies.{}.1.weight")):
        inner = x
        for stage in range(4):
            name = f"copies.{copy}.{3 * stage + 1}"
            inner = convolution(reflect(inner, 1), state[f"{name}.weight"], state[f"{name}.bias"], stride=2)
            inner = leaky_relu(inner)
        scores.append(convolution(inner, state[f"copies.{copy}.12.weight"], state[f"copies.{copy}.12.bias"]))
        x = average_pool(x)
    return scores


def local_enhancer(x: Array, global_state: State, state: State) -> Array:
    """pix2pixHD 2.2: the global generator's features of the halved input, added behind the front end."""

    def layer(name: str) -> tuple[Array, Array]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    coarse = generator_features(average_pool(x), global_state)
    x = relu(instance_norm(convolution(reflect(x, 3), *layer("first.1"))))
    x = relu(instance_norm(convolution(x, *layer("down.0"), stride=2, padding=1))) + coarse
    for block in range(_many(state, "trunk.{}.body.1.weight")):
        x = residual_block(x, layer(f"trunk.{block}.body.1"), layer(f"trunk.{block}.body.5"))
    x = relu(instance_norm(transposed_convolution(x, *layer("up.0"))))
    return np.tanh(convolution(reflect(x, 3), *layer("last.1")))


def average_pool(x: Array) -> Array:
    """3×3, stride 2, padding 1; at the border the mean of the pixels that exist."""
    height, width = x.shape[2:]
    out = np.empty((*x.shape[:2], (height + 1) // 2, (width + 1) // 2))
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            window = x[:, :, max(0, 2 * row - 1) : 2 * row + 2, max(0, 2 * column - 1) : 2 * column + 2]
            out[:, :, row, column] = window.mean((2, 3))
    return out


def max_pool(x: Array) -> Array:
    """2×2, stride 2; an odd last row or column is left out."""
    height, width = (size // 2 * 2 for size in x.shape[2:])
    x = x[:, :, :height, :width]
    corners = [x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return np.maximum.reduce(corners)


def bilinear(x: Array, size: int) -> Array:
    """To size×size. Pixels are squares whose centres lie at half numbers; beyond the outermost centres is the edge."""

    def along(x: Array, axis: int) -> Array:
        old = x.shape[axis]
        slices = []
        for place in range(size):
            source = min(max((place + 0.5) * old / size - 0.5, 0.0), old - 1.0)
            before = int(source)
            part = source - before
            after = min(before + 1, old - 1)
            slices.append((1 - part) * x.take(before, axis) + part * x.take(after, axis))
        return np.stack(slices, axis)

    return along(along(x, 2), 3)


def vgg19(x: Array, state: State, resize_below: int = 0, imagenet_norm: bool = False) -> list[Array]:
    """Specification 2.3: relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1."""
    if x.shape[2] < resize_below:
        x = bilinear(x, resize_below)
    if imagenet_norm:
        # ImageNet's constants as networks keep them, which is in float32.
        mean, std = (np.float64(np.float32(numbers)) for numbers in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        x = ((x + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    taken = []
    index = 0
    for block, convolutions in enumerate((2, 2, 4, 4, 1)):
        if block:
            x = max_pool(x)
            index += 1
        for number in range(convolutions):
            name = f"features.{index}"
            x = relu(convolution(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1))
            index += 2
            if number == 0:
                taken.append(x)
    return taken


def squared(scores: Array, wanted: float) -> float:
    """LSGAN's term."""
    return float(((scores - wanted) ** 2).mean())


def distances(ours: Sequence[Array], theirs: Sequence[Array]) -> Array:
    """Mean |difference| per sample and layer: (N, layers)."""
    return np.array(
        [[np.abs(a[n] - b[n]).mean() for a, b in zip(ours, theirs, strict=True)] for n in range(len(ours[0]))]
    )


def _many(state: State, name: str) -> int:
    """How many numbered parts of that name there are."""
    return next(number for number in count() if name.format(number) not in state)
