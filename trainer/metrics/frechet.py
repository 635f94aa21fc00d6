"""Distances between two sets of pictures, each given by some network's features: Fréchet's, and the kernel distance."""

from collections.abc import Callable, Sequence

import numpy as np

from likeness.array import Array
from trainer.metrics.metric import Columns, FigureOf, Judged, Metric

RESAMPLES = 200
"""For an interval; each takes milliseconds for a hundred features."""
Features = Callable[[Sequence[Array]], Array]
"""uint8 (H, W, 3) pictures to numbers (N, D), each picture by itself."""


def frechet_distance(first: Array, second: Array) -> float:
    """Fréchet's distance between the Gaussians of two sets of features, (N, D) and (M, D); FID is this of Inception's.

    |m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^(1/2)) with unbiased covariances (Heusel et al. 2017, equation 6). NaN when a
    set has less than two rows. It is biased: it grows as the sets shrink, so that only sets of one size compare.
    """
    if min(len(first), len(second)) < 2:
        return float("nan")
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    apart = first.mean(0) - second.mean(0)
    one, other = _root(first), _root(second)
    # With S = R'R, the eigenvalues of S1 S2 are the squared singular values of R1 R2': no root of a matrix that is
    # hardly positive, and no D×D matrix where there are fewer pictures than features.
    common = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    # Of equal sets, rounding may leave a little less than 0.
    return max(0.0, float(apart @ apart + (one**2).sum() + (other**2).sum() - 2 * common))


def _root(features: Array) -> Array:
    """R with R'R the unbiased covariance of features (N, D): float64 (min(N, D), D)."""
    centred = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    # Fewer pictures than features: the centred rows are such an R, and a small one. Otherwise QR gives a D×D one, since
    # Q'Q = 1 drops out of (QR)'(QR).
    if len(centred) <= centred.shape[1]:
        return np.asarray(centred)
    return np.asarray(np.linalg.qr(centred, mode="r"))


def kernel_distance(first: Array, second: Array) -> float:
    """The unbiased squared maximum mean discrepancy of two sets of features (N, D), (M, D); KID is this of Inception's.

    The kernel is (x·y / D + 1)³ (Bińkowski et al. 2018), taken over the sets as a whole, not over random parts. Around
    0, also below it, for two samples of one distribution. NaN when a set has less than two rows.
    """
    if min(len(first), len(second)) < 2:
        return float("nan")
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return float(_others_mean(first) + _others_mean(second) - 2 * _kernel(first, second).mean())


def _kernel(first: Array, second: Array) -> Array:
    return np.asarray((first @ second.T / first.shape[1] + 1) ** 3)


def _others_mean(features: Array) -> float:
    """The kernel's mean over all pairs of different rows."""
    # Without the diagonal, a picture beside itself, which would bias the estimate (Gretton et al. 2012, lemma 6).
    count = len(features)
    kernel = _kernel(features, features)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def features_metric(
    prefix: str, network: Features, frechet: str = "", kernel: str = "", of: str = "", resamples: int = RESAMPLES
) -> Metric:
    """Distances between the painted pictures and the target photos in a network's features.

    Columns `<prefix>/ours` and `<prefix>/target`, float32 (N, D). frechet, kernel: the figures' names, by default
    `<prefix>_frechet` and `<prefix>_kernel`. of: the network in words, for people. resamples: as of `FigureOf`.
    """

    def measure(judged: Sequence[Judged]) -> dict[str, Array]:
        painted, targets = [one.picture for one in judged], [one.target for one in judged]
        return {
            f"{prefix}/ours": network(painted).astype(np.float32),
            f"{prefix}/target": network(targets).astype(np.float32),
        }

    def figure(distance: Callable[[Array, Array], float]) -> Callable[[Columns], float]:
        return lambda columns: distance(columns[f"{prefix}/ours"], columns[f"{prefix}/target"])

    where = f"in features of {of or prefix}"
    between = f"between the painted pictures and the target photos of all pairs as they are given, {where}"
    again = "a photo that several pairs share counts with each"
    return Metric(
        measure,
        {
            frechet or f"{prefix}_frechet": FigureOf(
                figure(frechet_distance),
                "less",
                f"Fréchet distance {between}; {again}. 0 is the photos themselves; grows as pairs get fewer.",
                resamples=resamples,
                biased=True,
            ),
            # Unbiased, and yet marked as biased below: a resampled set repeats pictures, which beside themselves are
            # the diagonal again.
            kernel or f"{prefix}_kernel": FigureOf(
                figure(kernel_distance),
                "less",
                f"Kernel distance (unbiased squared MMD) {between}; {again}. About 0, also a little below it, is the "
                "photos themselves.",
                resamples=resamples,
                biased=True,
            ),
        },
    )
