import pytest
from hypothesis import given
from hypothesis import strategies as st

from overread.config import load_config
from overread.errors import ConfigError
from overread.stopping import StopRule, parse_rule, reason_to_stop


def estimates(
    low: float = 0.5, gain: float = 0.1, other_gain: float | None = 0.1
) -> dict[str, dict[str, float | None]]:
    interval: dict[str, float | None] = {"estimate": low + 0.1, "low": low, "high": low + 0.2}
    return {
        "label_accuracy": interval,
        "macro_f1": interval,
        "next_100_reads": {"label_accuracy": gain, "macro_f1": other_gain},
    }


@given(st.sampled_from(["label_accuracy=", "macro_f1=", "gain<"]), st.floats(0.001, 0.999))
def test_every_rule_is_read_back(start: str, value: float) -> None:
    rule = parse_rule(f"{start}{value}")
    assert f"{rule.quantity}{rule.sign}" == start
    assert rule.value == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label_acuracy=0.9", "nothing is known of 'label_acuracy'"),
        ("label_accuracy", "not the form of a rule"),
        ("label_accuracy<0.9", "compared by =, not by <"),
        ("gain=0.002", "compared by <, not by ="),
        ("gain<much", "'much' is no number"),
        ("label_accuracy=95", "does not lie between 0 and 1"),
        ("gain<0", "does not lie between 0 and 1"),
        ("macro_f1=nan", "does not lie between 0 and 1"),
    ],
)
def test_a_bad_rule_is_refused_with_the_way_out(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^active.until='{text}' cannot be used: .*{message}.*give label_accuracy=0"):
        load_config(settings=[f"active.until={text}"])


def test_a_level_is_reached_by_the_lower_end() -> None:
    rule = StopRule("label_accuracy", "=", 0.55)
    assert reason_to_stop(rule, estimates(low=0.549), 9) is None
    assert "at least 0.550" in str(reason_to_stop(rule, estimates(low=0.55), 0))


@pytest.mark.parametrize(
    ("first", "second", "stops"), [(0.001, 0.001, True), (0.001, 0.003, False), (0.002, 0.0, False), (0.0, None, False)]
)
def test_neither_gain_may_be_large(first: float, second: float | None, stops: bool) -> None:
    rule, found = parse_rule("gain<0.002"), estimates(gain=first, other_gain=second)
    assert (reason_to_stop(rule, found, 100) is not None) is stops
    # Nothing has tested the model yet.
    assert reason_to_stop(rule, found, 0) is None
