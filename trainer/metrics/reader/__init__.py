"""A small network that reads labels off pictures of a procedural world.

It is trained on pictures that the world draws, whose every label is known; it finds the 68 landmarks of a face, the 18
keypoints of a dancer, or a street's class of each pixel. What it reads off a painted picture is compared with the
label that was to be painted. It is no published detector: figures made with it say `reader` or `world` in their names
and compare with each other only, beside what it makes of true photos.
"""
