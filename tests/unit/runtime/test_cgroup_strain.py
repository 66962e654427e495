"""What the kernel writes about devices and pressure, read."""

from __future__ import annotations

from nsrun.runtime.cgroup_strain import DeviceUse, Pressure, Waiting, parse_blkio, parse_io_stat, parse_pressure

IO_STAT = """8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0
8:0 rbytes=90430464 wbytes=299008000 rios=8950 wios=1252 dbytes=50331648 dios=3021 cost.usage=7
"""
PRESSURE = """some avg10=1.50 avg60=0.25 avg300=0.00 total=12345
full avg10=0.50 avg60=0.00 avg300=0.00 total=999
"""
SERVICE_BYTES = """254:0 Read 4096
254:0 Write 1048576
254:0 Sync 1052672
254:0 Async 0
254:0 Discard 0
254:0 Total 1052672
7:0 Read 512
Total 1053184
"""
SERVICED = """254:0 Read 1
254:0 Write 16
254:0 Total 17
Total 17
"""


def test_devices_on_v2() -> None:
    assert parse_io_stat(IO_STAT) == (
        DeviceUse(device="8:16", read_bytes=1459200, written_bytes=314773504, reads=192, writes=353),
        DeviceUse(device="8:0", read_bytes=90430464, written_bytes=299008000, reads=8950, writes=1252),
    )
    assert parse_io_stat("") == ()


def test_devices_that_did_nothing_are_passed_over() -> None:
    """As kernels before 5.15 write them, on one line with the next; as later ones do, without any figure."""
    assert parse_io_stat("7:1 7:0 8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n259:0\n") == (
        DeviceUse(device="8:0", read_bytes=1, written_bytes=2, reads=3, writes=4),
    )


def test_devices_on_v1() -> None:
    assert parse_blkio(SERVICE_BYTES, SERVICED) == (
        DeviceUse(device="254:0", read_bytes=4096, written_bytes=1048576, reads=1, writes=16),
        DeviceUse(device="7:0", read_bytes=512),
    )
    assert parse_blkio("Total 0\n", "") == ()
    assert parse_blkio("", "8:0 Write 3\n") == (DeviceUse(device="8:0", writes=3),)


def test_pressure() -> None:
    assert parse_pressure(PRESSURE) == Pressure(
        some=Waiting(avg10=1.5, avg60=0.25, avg300=0.0, total=12345),
        full=Waiting(avg10=0.5, avg60=0.0, avg300=0.0, total=999),
    )


def test_pressure_of_an_older_kernel_and_of_none() -> None:
    """cpu.pressure has no ``full`` line before 5.13."""
    found = parse_pressure(PRESSURE.splitlines()[0])
    assert found is not None
    assert found.full is None
    assert parse_pressure("") is None
    assert parse_pressure("full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n") is None
    assert parse_pressure("some avg10=nothing\n") is None
