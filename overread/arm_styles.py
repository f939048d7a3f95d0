"""One look for every arm: the colour, marker and line that a name has in all figures of all grids.

Colour-blind readers tell eight of the colours apart (Okabe and Ito); who sees none goes by marker and name.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["ArmStyle", "arm_styles"]

BLUE, VERMILLION, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
AMBER, SKY, INK, BROWN, GREY = "#E69F00", "#56B4E9", "#222222", "#8C6D46", "#8A8F94"
COLOURS = (BLUE, VERMILLION, GREEN, PINK, AMBER, SKY, INK, BROWN, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
DASHED = "--"


class ArmStyle(NamedTuple):
    """How one arm is drawn; no two arms of a figure share both colour and marker."""

    colour: str
    marker: str
    line: str = "-"


# The arms of the committed grids.  Relatives have one colour: cross-entropy is blue, `paper, entropy` amber, `default`
# green.  What stands in one grid differs in colour or marker; a test compares them.
KNOWN = {
    "default": ArmStyle(GREEN, "o"),
    "default, random": ArmStyle(INK, "D"),
    "default, prior as it is": ArmStyle(BROWN, "X"),
    "default, readers who err in 10 %": ArmStyle(PINK, "D", DASHED),
    "default, frozen": ArmStyle(SKY, "D"),
    "cross-entropy, random": ArmStyle(BLUE, "o"),
    "cross-entropy, disagreement": ArmStyle(BLUE, "s", DASHED),
    "out-of-fold label quality": ArmStyle(GREY, "^"),
    "as published, entropy": ArmStyle(VERMILLION, "s"),
    "as published without the leak": ArmStyle(GREEN, "^"),
    "paper, entropy": ArmStyle(AMBER, "v"),
    "paper, entropy, adjusted in hindsight": ArmStyle(AMBER, "P", DASHED),
    "paper, random": ArmStyle(PINK, "D"),
    "paper, least-confidence": ArmStyle(SKY, "P"),
    "paper, margin": ArmStyle(INK, "X"),
    "paper, bald": ArmStyle(BROWN, "<"),
    "paper, coreset": ArmStyle(BLUE, "h", DASHED),
    "noise model, random": ArmStyle(SKY, "P"),
    "noise model, entropy": ArmStyle(INK, "X"),
    "noise model, disagreement": ArmStyle(BROWN, "<"),
    "noise model, posterior-entropy": ArmStyle(BLUE, "h", DASHED),
    "noise model, posterior-least-confidence": ArmStyle(VERMILLION, "p", DASHED),
    "no noise matrix, entropy": ArmStyle(VERMILLION, "X"),
    "symmetric noise matrix": ArmStyle(BLUE, "^"),
    "free noise matrix": ArmStyle(SKY, "v"),
    "prior as it is": ArmStyle(BROWN, "X"),
    "all classes alike": ArmStyle(BROWN, "<", DASHED),
    "random": ArmStyle(INK, "D"),
    "entropy": ArmStyle(GREY, "s"),
    "posterior-entropy": ArmStyle(GREY, "h", DASHED),
    "readers thought right": ArmStyle(AMBER, "P"),
    "readers who err in 10 %, estimated": ArmStyle(PINK, "D"),
    "readers who err in 10 %, known": ArmStyle(PINK, "^", DASHED),
    "readers who err in 10 %, thought right": ArmStyle(AMBER, "v", DASHED),
    "VOG 0": ArmStyle(BLUE, "o"),
    "VOG 0.2": ArmStyle(VERMILLION, "s"),
    "VOG 0.5": ArmStyle(GREEN, "^"),
    "VOG 1": ArmStyle(PINK, "D"),
    "normalised by class": ArmStyle(BLUE, "P"),
    "evaluation pass": ArmStyle(GREEN, "X"),
    "picks of the last epoch": ArmStyle(PINK, "v"),
}


def arm_styles(arms: Iterable[str]) -> dict[str, ArmStyle]:
    """The style of each of `arms`, in their order: from the table of known names, else from a hash of the name.

    Where that is taken by an earlier arm, or by a known one, the next free pair of colour and marker is, with a free
    colour first.  So a name has one style wherever nothing else claims it.  From the 109th arm on pairs come again.

    >>> arm_styles(["mine", "default"])["default"]
    ArmStyle(colour='#009E73', marker='o', line='-')
    """
    names = dict.fromkeys(arms)
    styles: dict[str, ArmStyle] = {}
    # Known names first, so that an unknown one takes nothing from them.
    for name in sorted(names, key=lambda name: name not in KNOWN):
        styles[name] = _free_style(name, list(styles.values()))
    return {name: styles[name] for name in names}


def _free_style(name: str, taken: list[ArmStyle]) -> ArmStyle:
    pairs, colours = {style[:2] for style in taken}, {style.colour for style in taken}
    wanted = _wanted_styles(name)
    free = [style for style in wanted if style[:2] not in pairs]
    if not free:
        return wanted[0]
    if free[0] == wanted[0] and (name in KNOWN or wanted[0].colour not in colours):
        return wanted[0]
    return next((style for style in free if style.colour not in colours), free[0])


def _wanted_styles(name: str) -> list[ArmStyle]:
    """Every style, those first that `name` asks for: its own where it is known, then all from the one of its hash."""
    every = [ArmStyle(colour, marker) for marker in MARKERS for colour in COLOURS]
    start = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:4]) % len(every)
    turned = every[start:] + every[:start]
    return [KNOWN[name], *turned] if name in KNOWN else turned
