"""A street drawn from far to near, with whatever brush."""

from collections.abc import Callable

import numpy as np

from likeness.array import Array
from shards.worlds.streets.brushes import Brush
from shards.worlds.streets.camera import View
from shards.worlds.streets.people import cycle, person
from shards.worlds.streets.scenery import barrier, building, lamp, sign, signal, tree
from shards.worlds.streets.street import FAR, HEIGHT, NEAR, ROAD, SIDEWALK, TERRAIN, VEGETATION, VOID, State, Thing
from shards.worlds.streets.vehicles import vehicle


def paint_street(state: State, brush: Brush) -> None:
    """Walks through the street from far to near."""
    view = View(state)
    brush.sky(state.horizon)
    ground(state, view, brush)
    # A thing is drawn at its far end's turn, so that what stands before a long front comes after it.
    for number, thing in sorted(enumerate(state.things), key=lambda entry: -(entry[1][2] + entry[1][3])):
        if not view.hidden(thing):
            brush.begin(number)
            THINGS[thing[0].rstrip("+-")](thing, view, brush)
    bonnet = np.array([[0.08, 0.57], [0.2, 0.542], [0.38, 0.53], [0.62, 0.53], [0.8, 0.542], [0.92, 0.57]])
    brush.put(bonnet, VOID, "bonnet", 0.0)
    brush.deck(np.array([[[0.3, 0.546], [0.42, 0.536], [0.5, 0.535], [0.44, 0.55]]]), "glass", 0.0, 1.2)


def ground(state: State, view: View, brush: Brush) -> None:
    far = float(view.at(0.0, 0.0, FAR)[1])
    low = HEIGHT + 0.02
    # Hills with woods close the view; their outline stands still, like all that is far away.
    x = np.linspace(-0.02, 1.02, 27)
    shift = 5.0 * state.heading
    ridge = 0.014 + 0.011 * np.sin(7 * (x + shift)) + 0.006 * np.sin(19 * (x + shift) + 1)
    hills = np.stack([x, state.horizon - ridge], axis=1)
    brush.put(np.concatenate([hills, [[1.02, far + 0.01], [-0.02, far + 0.01]]]), VEGETATION, "leaf", FAR * 0.55)
    brush.ground(np.array([[-0.02, far], [1.02, far], [1.02, low], [-0.02, low]]), TERRAIN, "grass")
    z = np.array([NEAR, 2, 2.5, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40, 55, 75, 100, FAR])

    def strip(left: float, right: float) -> Array:
        outline = [view.at(left - state.offset, 0.0, z), view.at(right - state.offset, 0.0, z)[::-1]]
        return np.concatenate(outline)

    edge, outer = state.half_road, state.half_road + state.sidewalk
    brush.ground(strip(-outer, outer), SIDEWALK, "pavement")
    brush.ground(strip(-edge, edge), ROAD, "road")
    for side in (-1, 1):
        brush.deck(strip(side * edge, side * (edge + 0.22))[None], "kerb", 12.0)
        brush.deck(strip(side * (edge - 2.05), side * (edge - 1.95))[None], "line", 12.0, 0.9)
        brush.deck(strip(side * 0.1, side * 0.22)[None], "line", 12.0)


THINGS: dict[str, Callable[[Thing, View, Brush], None]] = {
    "building": building, "tree": tree, "fence": barrier, "wall": barrier, "lamp": lamp, "sign": sign,
    "light": signal, "car": vehicle, "truck": vehicle, "bus": vehicle, "train": vehicle, "person": person,
    "bicycle": cycle, "motorcycle": cycle, "rider": cycle, "biker": cycle,
}  # fmt: skip
