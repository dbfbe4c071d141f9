import pytest

from serin.api.units import parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("500ms", 0.5), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1h1m1s1ms", 3661.001), ("168h", 604800)],
)
def test_durations_as_go_and_kubernetes_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize("text", ["", "10", "10 m", "1.5h", "-5s", "5m ", "1d", "h", "5M"])
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write whole numbers with h, m, s or ms"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.95", 0.95),
        ("500m", 0.5),
        ("-3", -3.0),
        ("+.5", 0.5),
        ("2.", 2.0),
        ("2Gi", 2 * 1024**3),
        ("1k", 1e3),
        ("3E", 3e18),
        ("3E2", 300.0),
        ("1e-4", 1e-4),
        ("250u", 2.5e-4),
        ("7n", 7e-9),
    ],
)
def test_quantities_as_kubernetes_writes_them(text: str, number: float) -> None:
    assert parse_quantity(text) == pytest.approx(number, rel=1e-12)


@pytest.mark.parametrize("text", ["", ".", "five", "1 Gi", "0x1", "1e", "nan", "inf", "1,5", "5%"])
def test_what_is_no_quantity_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write a number as text"):
        parse_quantity(text)
