"""The review page in a browser: reading by keyboard, undo, keys of one's own, and what must never be drawn."""

from browser import Sit

from overread.store import StoredRead
from overread.web import Site


def said(site: Site) -> list[StoredRead]:
    """Every read in the database that stands."""
    return list(site.store.current_reads())


def newest(site: Site) -> int:
    """The number of the last event."""
    return max(read.sequence for item in range(site.store.count_items()) for read in site.store.history(item))


def test_a_round_is_read_by_keyboard_alone(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home)
    ada.press("1", "2", "3", "0", "s")
    ada.ready().page.keyboard.press("c")
    # Keys that are typed are no answers.
    ada.page.keyboard.type("Sharp at the 2 edges")
    ada.page.keyboard.press("Enter")
    # What is hers of twelve reads; the image that she skipped is.
    assert ada.text(".numbers").startswith("4 of 6 for you")
    ada.press("2")
    ada.wait(".empty h2:text('Done, but for what you skipped')")
    ada.settled()
    reads = said(site)
    assert [read.label for read in reads if read.kind == "label"].count(1) == 2
    assert sorted(read.kind for read in reads) == ["cannot-tell", "label", "label", "label", "label"]
    assert [read.comment for read in reads if read.comment] == ["Sharp at the 2 edges"]
    assert all(read.shown == {} and read.seconds is not None and read.seconds >= 0 for read in reads)


def test_a_key_that_is_held_down_is_one_answer(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).ready()
    ada.page.keyboard.down("1")
    for _ in range(3):
        ada.ready().page.keyboard.down("1")
    ada.page.keyboard.up("1")
    ada.settled()
    assert len(said(site)) == 1


def test_undo_shows_the_image_again_with_what_was_said(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).ready()
    first = ada.page.get_attribute("img.picture", "src")
    ada.page.keyboard.press("c")
    ada.page.keyboard.type("hm")
    ada.page.keyboard.press("Enter")
    ada.press("3").settled()
    ada.press("u")
    ada.wait(".answer.before")
    assert ada.page.get_attribute("img.picture", "src") == first
    assert ada.text(".answer.before .name") == "noise"
    assert ada.page.input_value("#comment") == "hm"
    ada.press("1").settled()
    assert [(read.label, read.comment) for read in said(site)] == [(0, "hm")]
    # Once more after the page was opened anew: the browser still knows.
    ada.page.reload()
    ada.press("u")
    ada.wait(".answer.before")
    assert ada.text(".answer.before .name") == "disc"
    ada.settled()
    assert said(site) == []


def test_what_was_skipped_comes_again_by_one_key_and_can_be_skipped_again(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).press("s", "s", "1", "1", "1", "1")
    ada.wait(".empty p:text('You skipped 2 images that still wait for a reader. 4 images wait for another reader.')")
    # The button has the focus.
    ada.page.keyboard.press("Enter")
    ada.press("s", "2")
    ada.wait(".empty p:text('You skipped 1 image that still waits for a reader.')")
    assert len(said(site)) == 5
    ada.page.keyboard.press("Enter")
    ada.press("3")
    ada.wait(".empty h2:text('Your part is done')")
    assert "6 images wait for another reader." in ada.text(".empty")
    assert ada.text(".numbers").startswith("6 of 6 for you")
    assert sorted(read.label or 0 for read in said(site)) == [0, 0, 0, 0, 1, 2]
    ada.page.click("text=Project")
    # What was said of one view is no longer so in another.
    assert ada.page.inner_text("#said") == ""


def test_each_skipped_image_comes_once_for_one_press_however_many_there_are(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).press(*"ssssss")
    for number in (6, 5):
        ada.wait(f".empty p:has-text('You skipped {number} images')")
        ada.page.keyboard.press("Enter")
        ada.press(*"sssss"[: number - 1], "1")
    ada.wait(".empty p:has-text('You skipped 4 images')")
    skipped = [
        sum(read.kind == "skip" for read in site.store.history(item)) for item in range(site.store.count_items())
    ]
    assert sorted(skipped)[-6:] == [1, 2, 3, 3, 3, 3]
    assert len(said(site)) == 2


def test_time_left_is_for_what_can_still_be_read_and_comes_after_five_answers(home: str, desk: Sit) -> None:
    ada = desk(home).press("1", "2", "3", "1").ready()
    assert ada.text(".numbers") == "4 of 6 for you · 4 today"
    ada.press("2").ready()
    assert ada.text(".numbers") == "5 of 6 for you · 5 today · under 1 min left"


def test_the_third_undo_in_a_row_asks_first(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).press("1", "2", "3", "1").settled().press("u", "u").settled()
    ada.wait(".answer.before .name:text('noise')")
    shown = ada.page.get_attribute("img.picture", "src")
    ada.press("u")
    ada.wait(".sure:has-text('You took 2 answers back')")
    assert len(said(site)) == 2
    # An answer is for the image shown, and after it one key is enough again.
    ada.press("2").settled()
    assert ada.page.is_hidden(".sure")
    ada.press("u", "u").settled()
    assert ada.page.is_hidden(".sure")
    assert len(said(site)) == 1
    ada.press("u", "u").settled()
    ada.wait(".answer.before .name:text('disc')")
    assert said(site) == []
    assert ada.page.get_attribute("img.picture", "src") != shown
    ada.press("u")
    ada.wait(".sure:has-text('You took 3 answers back')")


def test_a_digit_without_a_class_is_said(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).press("7")
    ada.page.locator(".said").get_by_text("7 is no class here.").wait_for()
    assert ada.page.inner_text("#said") == "7 is no class here."
    assert said(site) == []


def test_undo_in_a_browser_that_did_not_see_the_answer(home: str, site: Site, desk: Sit) -> None:
    desk(home).press("3").settled()
    elsewhere = desk(home).ready()
    elsewhere.page.keyboard.press("u")
    elsewhere.page.locator(".side").get_by_text("You took this answer back").wait_for()
    assert said(site) == []
    elsewhere.press("1").settled()
    assert [read.label for read in said(site)] == [0]


def test_own_keys_and_conflicts_which_are_said(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).ready()
    ada.page.keyboard.press(",")
    ada.page.click("[data-action='class:2']")
    ada.page.keyboard.press("s")
    assert "“S” means “Skip” already" in ada.text("dialog [role=status]")
    ada.page.click("[data-action='class:2']")
    ada.page.keyboard.press("x")
    ada.page.keyboard.press("Escape")
    ada.wait("[data-class='2'] kbd:text('X')")
    ada.press("x").settled()
    ada.page.reload()
    ada.press("x").settled()
    # The old key means nothing now.
    ada.press("3", "1").settled()
    assert sorted(read.label for read in said(site) if read.label is not None) == [0, 2, 2]


PRESS = "(e) => document.body.dispatchEvent(new KeyboardEvent('keydown', {...e, bubbles: true}))"


def test_keys_of_other_layouts(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home)
    for event, label in (
        ({"code": "Digit1", "key": "&"}, 0),  # AZERTY without Shift
        ({"code": "Digit2", "key": "2", "shiftKey": True}, 1),  # and with it
        ({"code": "Numpad3", "key": "3"}, 2),
        ({"code": "KeyS", "key": "ы"}, None),  # the place of S on a Cyrillic keyboard
        ({"code": "Semicolon", "key": "S"}, None),  # Dvorak with Caps Lock
    ):
        before = ada.ready().page.get_attribute("img.picture", "src")
        # Without its lock the numeric pad moves, and with Control a key is for the browser.
        ada.page.evaluate(PRESS, {"code": "Numpad1", "key": "End"})
        ada.page.evaluate(PRESS, {"code": "Digit1", "key": "1", "ctrlKey": True})
        ada.page.evaluate(PRESS, event)
        ada.eventually(f"document.querySelector('img.picture').src !== '{before}'")
        ada.settled()
        assert [read.label for read in said(site) if read.sequence == newest(site)] == (
            [] if label is None else [label]
        )
    # What the keyboard prints stands on the key.
    assert ada.text("[data-class='0'] kbd") == "1 &"


def test_zoom_pan_and_light_begin_anew_with_every_image(home: str, desk: Sit) -> None:
    ada = desk(home).ready()
    fitted = ada.text(".size")
    box = ada.page.locator(".stage").bounding_box()
    assert box is not None
    shown = ada.page.locator("img.picture").bounding_box()
    # Sixteen pixels fill the stage.
    assert shown is not None
    assert shown["height"] > 0.9 * box["height"]
    ada.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    ada.page.mouse.wheel(0, -400)
    ada.eventually(f"document.querySelector('.size').textContent !== '{fitted}'")
    before = ada.page.locator("img.picture").bounding_box()
    ada.page.keyboard.press("ArrowLeft")
    after = ada.page.locator("img.picture").bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] > before["x"]
    ada.page.keyboard.press("i")
    ada.page.keyboard.press("PageUp")
    style = ada.page.get_attribute("img.picture", "style") or ""
    assert "brightness(1.05) invert(1)" in style
    ada.press("1").ready()
    assert ada.text(".size") == fitted
    assert "invert" not in (ada.page.get_attribute("img.picture", "style") or "")
