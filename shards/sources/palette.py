"""Colours for classes whose publisher's own palette nobody needs: Pascal VOC's colour map."""

BLACK = (0, 0, 0)


def colour(index: int) -> tuple[int, int, int]:
    """The RGB colour of a class of Pascal VOC's colour map, 0 to 255; 0 is black, and all 256 differ.

    The bits of the index are dealt out to red, green and blue in turn, to the highest bits first.
    """
    rgb = [0, 0, 0]
    for bit in range(8):
        rgb[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    red, green, blue = rgb
    return red, green, blue


def colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours of `count` classes, at most 255: those from 1 on, so that black is left for what has no label."""
    return tuple(colour(index + 1) for index in range(count))
