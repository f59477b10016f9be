"""The estimate of a frame on an Ethernet: headers for every packet that it needs, and no fewer."""

import pytest

from swarm.sovereignty.on_wire import on_wire_bytes


@pytest.mark.parametrize(
    ("payload_bytes", "packets"), [(1, 1), (1428, 1), (1429, 2), (2 * 1448 - 20, 2), (2 * 1448 - 19, 3)]
)
def test_each_full_segment_has_one_header(payload_bytes: int, packets: int) -> None:
    assert on_wire_bytes(payload_bytes) == payload_bytes + 20 + 66 * packets


def test_a_long_frame_costs_under_five_per_cent() -> None:
    assert 0.045 < on_wire_bytes(262_144) / 262_144 - 1 < 0.05
