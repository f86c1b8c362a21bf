"""The circuit breaker, on a clock of its own."""

from services.notify.circuit import FAILURES, Circuit


def circuit() -> Circuit:
    return Circuit(base=1, cap=8, chance=lambda: 1.0)


def broken(one: Circuit, now: float) -> Circuit:
    for _ in range(FAILURES):
        one.failed(now)
    return one


def test_it_opens_only_after_failures_in_a_row() -> None:
    """One success in between begins the count anew."""
    one = circuit()
    for _ in range(3 * FAILURES):
        for _ in range(FAILURES - 1):
            one.failed(0)
        assert one.room(0, 8, 3) == 5
        one.succeeded()
    assert broken(one, 0).room(0, 8, 0) == 0


def test_while_open_nothing_goes_and_then_one_call_asks() -> None:
    """Half open: one at a time, however much room there is."""
    one = broken(circuit(), 10)
    assert one.room(10.9, 8, 0) == 0
    assert one.room(11, 8, 0) == 1
    assert one.room(11, 8, 1) == 0


def test_a_failed_probe_doubles_the_wait_up_to_its_cap_and_success_ends_it() -> None:
    """1, 2, 4, 8, 8 seconds; then as usual, from the beginning."""
    one, now = broken(circuit(), 0), 0.0
    for wait in (1, 2, 4, 8, 8):
        assert one.room(now + wait - 0.1, 8, 0) == 0
        now += wait
        assert one.room(now, 8, 0) == 1
        one.failed(now)
    one.succeeded()
    assert one.room(now, 8, 0) == 8
    assert broken(one, now).room(now + 1, 8, 0) == 1


def test_calls_that_began_before_it_opened_make_it_no_longer() -> None:
    """Eight calls hang and fail together: that is one outage, not four."""
    one = broken(circuit(), 0)
    for _ in range(FAILURES):
        one.failed(0.5)
    assert one.room(1, 8, 0) == 1
