"""Where things stand in a drawing: nothing lies over anything else, whatever the graph."""

from hypothesis import given
from hypothesis import strategies as st

from correlator.explain.place import place

NAMES = [f"s{number}" for number in range(14)]
SIZES = st.fixed_dictionaries({name: st.tuples(st.floats(40, 300), st.floats(30, 120)) for name in NAMES})
PAIRS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).filter(lambda pair: pair[0] != pair[1]), max_size=40, unique=True
)
Sizes = dict[str, tuple[float, float]]
Pairs = list[tuple[str, str]]


@given(SIZES, PAIRS)
def test_no_two_boxes_overlap_and_all_lie_inside(sizes: Sizes, links: Pairs) -> None:
    placed = place(sizes, links)
    assert sorted(placed.boxes) == sorted(sizes)
    boxes = list(placed.boxes.values())
    for number, (x, y, width, height) in enumerate(boxes):
        assert 0 <= x <= x + width <= placed.width + 1e-6
        assert -1e-6 <= y <= y + height <= placed.height + 1e-6
        for other_x, other_y, other_width, other_height in boxes[:number]:
            is_beside = x >= other_x + other_width or other_x >= x + width
            assert is_beside or y >= other_y + other_height or other_y >= y + height


@given(SIZES, PAIRS)
def test_every_link_has_a_way_from_box_to_box_that_crosses_no_other(sizes: Sizes, links: Pairs) -> None:
    placed = place(sizes, links)
    for pair in links:
        assert pair in placed.ways or pair[::-1] in placed.ways
    for (source, target), points in placed.ways.items():
        assert points[0][0] == placed.boxes[source][0] + placed.boxes[source][2]
        assert points[-1][0] == placed.boxes[target][0]
        assert points == sorted(points, key=lambda point: point[0])
        for name, (x, y, width, height) in placed.boxes.items():
            if name not in (source, target):
                assert not [point for point in points if x <= point[0] <= x + width and y < point[1] < y + height]


@given(SIZES, PAIRS)
def test_the_same_graph_is_placed_the_same(sizes: Sizes, links: Pairs) -> None:
    assert place(sizes, links) == place(sizes, links)


def test_nothing_takes_no_room() -> None:
    placed = place({}, [])
    assert (placed.width, placed.height) == (0.0, 0.0)
