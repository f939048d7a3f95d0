"""When a run has read enough: the rule of `active.until` and what it makes of a round's estimates."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["StopRule", "parse_rule", "reason_to_stop"]

# Compared by the lower end of the interval: rounds look again and again, and the luckiest estimate would end a run.
LEVELS = {"label_accuracy": "label accuracy", "macro_f1": "macro-F1"}
EXAMPLES = "label_accuracy=0.95, macro_f1=0.8 or gain<0.002"


class StopRule(NamedTuple):
    """One rule: a quantity, `=` or `<`, and a number between 0 and 1."""

    quantity: str
    sign: str
    value: float


def parse_rule(text: str) -> StopRule:
    """The rule that `text` spells; spaces around its parts do not count.

    label_accuracy=X, macro_f1=X: stop where the lower end of the interval is X or more.  gain<X: stop where the next
    100 reads are expected to add less than X to the label accuracy, and less than X to the macro-F1.
    Errors: ValueError, one sentence with the way out.

    >>> parse_rule("gain<0.002")
    StopRule(quantity='gain', sign='<', value=0.002)
    """
    parts = re.fullmatch(r"\s*([^\s=<>]+)\s*([=<>]+)\s*(\S+)\s*", text)
    if parts is None:
        raise ValueError(f"it has not the form of a rule: give {EXAMPLES}")
    quantity, sign, number = parts.groups()
    wanted = "=" if quantity in LEVELS else "<" if quantity == "gain" else None
    if wanted is None:
        raise ValueError(f"nothing is known of {quantity!r}: give {EXAMPLES}")
    if sign != wanted:
        raise ValueError(f"{quantity} is compared by {wanted}, not by {sign}: give {EXAMPLES}")
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"{number!r} is no number: give {EXAMPLES}") from None
    if not 0.0 < value < 1.0:
        raise ValueError(f"{number} does not lie between 0 and 1: give {EXAMPLES}")
    return StopRule(quantity, sign, value)


def reason_to_stop(rule: StopRule, estimates: Mapping[str, Any], reads: int) -> str | None:
    """Why `rule` ends a run whose latest round has these `estimates`, in one sentence; None where it goes on.

    estimates: those of a round in results.json.  reads: so far; before any a model that is sure of itself expects
    no gain, and nothing has tested it, so that `gain` waits.  What is not known (None or NaN) stops nothing.
    """
    if rule.quantity == "gain":
        if reads == 0:
            return None
        gains = [estimates["next_100_reads"][key] for key in LEVELS]
        if not all(gain is not None and gain < rule.value for gain in gains):
            return None
        return (
            f"the next 100 reads are expected to add {gains[0]:.4f} to the label accuracy and {gains[1]:.4f} to the "
            f"macro-F1, less than {rule.value:g} each"
        )
    low = estimates[rule.quantity]["low"]
    if low is None or not low >= rule.value:
        return None
    return f"the estimated {LEVELS[rule.quantity]} is at least {low:.3f}, and {rule.value:g} was asked for"
