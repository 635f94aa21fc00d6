"""What the papers published, table by table: other data, other sizes, other evaluators than ours."""

from collections.abc import Mapping

Figures = Mapping[str, Mapping[str, float]]
"""Figures by row (a method) and column (a world, or what is measured)."""

SOURCE = "Wang et al., Example-Guided Style-Consistent Image Synthesis from Semantic Labeling, CVPR 2019"

FID: Figures = {
    "pix2pixHD": {"faces": 39.86, "dance": 92.33, "streets": 157.46},
    "MUNIT": {"faces": 148.57, "dance": 158.47, "streets": 235.84},
    "PairedMUNIT": {"faces": 142.08, "dance": 161.22, "streets": 259.95},
    "style-consistent": {"faces": 31.26, "dance": 33.39, "streets": 96.23},
}
"""Table 1: Fréchet Inception distance, less is better. Sketch→Face, Pose→Dance, Parsing→Street."""

LEPE: Figures = {
    "pix2pixHD": {"faces": 0.0050, "dance": 0.0163},
    "MUNIT": {"faces": 0.0107, "dance": 0.0958},
    "PairedMUNIT": {"faces": 0.0080, "dance": 0.0502},
    "style-consistent": {"faces": 0.0085, "dance": 0.0186},
}
"""Table 2: label endpoint error, less is better."""

ABLATION_FID: Mapping[str, float] = {
    "style-consistent": 31.26,
    "w/o adaptive weights": 35.59,
    "w/o style adversary": 58.08,
    "w/o semantic loss": 76.59,
}
"""Table 4, faces: FID, less is better."""

ABLATION_EYES: Mapping[str, float] = {
    "style-consistent": 0.643,
    "w/o adaptive weights": 0.654,
    "w/o style adversary": 0.703,
    "w/o semantic loss": 0.898,
}
"""Table 5, faces: VGG distance of the eyes' patches to the exemplar's, less is better."""

SPS: Figures = {
    "pix2pixHD": {"pixel": 83.85, "class": 36.17, "iou": 0.310},
    "MUNIT": {"pixel": 58.58, "class": 18.99, "iou": 0.139},
    "PairedMUNIT": {"pixel": 62.96, "class": 22.41, "iou": 0.160},
    "style-consistent": {"pixel": 84.71, "class": 39.44, "iou": 0.333},
    "real photo": {"pixel": 86.74, "class": 52.25, "iou": 0.452},
}
"""Table 6, streets: semantic parsing score: per-pixel and per-class accuracy in percent, class IoU; more is better."""
