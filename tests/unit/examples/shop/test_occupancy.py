from examples.shop.occupancy import MeanSinceLastRead, Occupancy


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_use_is_averaged_over_the_time_between_two_reads() -> None:
    clock = Clock()
    occupancy = Occupancy(4, clock)
    mean = MeanSinceLastRead(occupancy)
    occupancy.move(busy=2)
    clock.now_s = 1.0
    occupancy.move(busy=-2, queued=3)
    clock.now_s = 4.0
    assert mean.read() == (0.5, 2.25)


def test_each_reader_has_its_own_last_read() -> None:
    clock = Clock()
    occupancy = Occupancy(1, clock)
    often, seldom = MeanSinceLastRead(occupancy), MeanSinceLastRead(occupancy)
    clock.now_s = 1.0
    often.read()
    occupancy.move(busy=1)
    clock.now_s = 2.0
    assert often.read() == (1.0, 0.0)
    assert seldom.read() == (0.5, 0.0)


def test_no_time_between_two_reads_is_no_use() -> None:
    mean = MeanSinceLastRead(Occupancy(1, Clock()))
    assert mean.read() == (0.0, 0.0)
