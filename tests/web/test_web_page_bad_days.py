"""The review page on bad days: no network, a server that is killed, two tabs, a session that ends, refused answers."""

from pathlib import Path
from uuid import uuid4

from browser import Desk, Sit
from playwright.sync_api import APIResponse, Route
from served import Served

from overread.project.folder import open_project
from overread.store import Read
from overread.web import Site


def events(site: Site) -> list[tuple[str, int | None]]:
    """Everything that was ever recorded, in order."""
    history = [read for item in range(site.store.count_items()) for read in site.store.history(item)]
    return [(read.kind, read.label) for read in sorted(history, key=lambda read: read.sequence)]


def test_network_gone_and_back_loses_and_doubles_nothing(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home, bad_days=True).press("1").settled().ready()
    ada.page.wait_for_load_state("networkidle")
    ada.context.set_offline(True)
    # Reading goes on with the images that are here.
    ada.press("2", "3")
    ada.wait(".banner:has-text('2 answers are kept on this computer')")
    # One was sent in vain, so that nobody knows whether the server has it; the other is simply dropped.
    ada.press("u")
    ada.wait(".answer.before")
    ada.press("1")
    assert len(ada.outbox()) == 2
    ada.context.set_offline(False)
    ada.page.evaluate("dispatchEvent(new Event('online'))")
    ada.settled()
    assert ada.page.is_hidden(".banner >> nth=0")
    assert events(site) == [("label", 0), ("label", 1), ("label", 0)]


def test_the_end_without_a_network_is_not_the_end_of_the_round(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home, bad_days=True).ready()
    ada.page.wait_for_load_state("networkidle")
    ada.context.set_offline(True)
    ada.press("1", "1", "1", "1")
    ada.wait(".empty h2:text('No image is here now')")
    assert "4 answers wait for the network. More images come as soon as they are sent." in ada.text(".empty")
    ada.context.set_offline(False)
    ada.page.evaluate("dispatchEvent(new Event('online'))")
    ada.press("1", "1")
    ada.wait(".empty h2:text('Your part is done')")
    assert events(site) == [("label", 0)] * 6


def test_answers_kept_while_offline_outlive_the_tab(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home, bad_days=True).ready()
    ada.page.wait_for_load_state("networkidle")
    ada.page.route("**/api/reads", lambda route: route.abort())
    ada.press("1", "2")
    ada.wait(".banner:has-text('2 answers')")
    ada.page.close()
    again = Desk(ada.context.new_page(), ada.context, ada.problems)
    again.page.goto(home)
    again.settled()
    assert events(site) == [("label", 0), ("label", 1)]


def test_an_answer_whose_receipt_was_lost_is_recorded_once_and_can_be_taken_back(
    home: str, site: Site, desk: Sit
) -> None:
    ada = desk(home, bad_days=True).ready()
    lost: list[APIResponse] = []

    def lose(route: Route) -> None:
        if lost:
            route.fallback()
            return
        lost.append(route.fetch())
        route.abort()

    ada.page.route("**/api/reads", lose)
    ada.press("1")
    ada.wait(".banner:has-text('1 answer is kept')")
    ada.press("u", "3").settled()
    assert events(site) == [("label", 0), ("undo", None), ("label", 2)]
    assert [read.label for read in site.store.current_reads()] == [2]


def test_the_server_is_killed_and_comes_back(study: Path, desk: Sit) -> None:
    with Served(study) as served:
        ada = desk(served.home, bad_days=True).press("1").settled().ready()
        ada.page.wait_for_load_state("networkidle")
        served.kill()
        ada.press("2", "3")
        ada.wait(".banner:has-text('2 answers are kept')")
        served.start()
        ada.page.click(".banner button")
        ada.settled().press("1").settled()
        with open_project(study) as project:
            assert sorted(read.label or 0 for read in project.store.current_reads()) == [0, 0, 1, 2]


def test_two_tabs_of_one_reader(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).ready()
    other = Desk(ada.context.new_page(), ada.context, ada.problems)
    other.page.goto(home)
    other.wait("h1:text('You are reading in another tab')")
    other.page.keyboard.press("1")
    # The button has the focus.
    other.page.keyboard.press("Enter")
    other.ready().press("2").settled()
    ada.wait("h1:text('You are reading in another tab')")
    ada.page.keyboard.press("3")
    assert events(site) == [("label", 1)]


def test_two_tabs_where_there_are_no_locks(home: str, desk: Sit) -> None:
    ada = desk(home, None)
    # As over plain http in a local network.
    ada.context.add_init_script("Object.defineProperty(navigator, 'locks', {value: undefined})")
    ada.context.add_init_script("Object.defineProperty(crypto, 'randomUUID', {value: undefined})")
    ada.page.reload()
    ada.page.fill("#name", "Ada")
    ada.page.keyboard.press("Enter")
    ada.press("1").settled()
    other = Desk(ada.context.new_page(), ada.context, ada.problems)
    other.page.goto(home)
    other.page.click("text=Read here instead")
    other.ready()
    ada.wait("h1:text('You are reading in another tab')")


def test_a_session_that_ends_costs_no_answer(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home, bad_days=True).ready()
    ada.page.wait_for_load_state("networkidle")
    ada.context.clear_cookies()
    ada.press("2")
    ada.wait(".note:has-text('1 answer of Ada is kept on this computer')")
    ada.page.click(".names button:text('Ada')")
    ada.ready().settled()
    assert events(site) == [("label", 1)]


def test_a_refused_answer_is_set_aside_and_the_rest_goes_on(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home, bad_days=True).ready()
    sentence = "the id stands for another <b>read</b> already"
    refuse = {"error": {"code": "conflict", "message": sentence}}
    ada.page.route("**/api/reads", lambda route: route.fulfill(status=409, json=refuse), times=1)
    ada.press("1")
    ada.wait(".banner.refused")
    # The sentence of the server, as text.
    assert sentence.removeprefix("the id") in ada.text(".banner.refused")
    assert ada.page.locator(".banner b").count() == 0
    ada.press("2").settled()
    assert events(site) == [("label", 1)]
    ada.page.click(".banner.refused button:text('Send again')")
    ada.settled()
    assert events(site) == [("label", 1), ("label", 0)]
    assert ada.page.is_hidden(".banner.refused")


def test_a_refused_answer_that_is_taken_back_takes_no_other_one_along(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home, bad_days=True).press("1").settled().ready()
    refuse = {"error": {"code": "data", "message": "this cannot be"}}
    ada.page.route("**/api/reads", lambda route: route.fulfill(status=422, json=refuse), times=1)
    ada.press("2")
    ada.wait(".banner.refused")
    ada.press("u")
    ada.wait(".answer.before")
    assert ada.page.is_hidden(".banner.refused")
    ada.press("3").settled()
    assert events(site) == [("label", 0), ("label", 2)]


def test_a_full_disk_is_said_and_tried_again(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home, bad_days=True).ready()
    full = {"error": {"code": "full", "message": "the disk of the database is full: make room"}}
    ada.page.route("**/api/reads", lambda route: route.fulfill(status=507, json=full), times=2)
    ada.press("1")
    ada.wait(".banner:has-text('The disk of the database is full: make room. 1 answer is kept')")
    ada.settled()
    assert events(site) == [("label", 0)]


def test_an_image_that_others_have_now_is_answered_all_the_same(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).ready()
    ada.settled()
    for reader in site.store.readers():
        for lease in site.store.leases(1, reader.id):
            site.store.release(reader.id, lease.item)
    ada.press("2").settled()
    assert events(site) == [("label", 1)]


def test_a_round_that_is_closed_meanwhile(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).ready()
    site.store.close_round(1)
    ada.press("1", "1", "1", "1").settled()
    ada.wait("h2:text('There is nothing to read now')")
    assert events(site) == [("label", 0)] * 4


def test_undo_of_an_answer_whose_round_is_over_takes_back_no_other_one(home: str, site: Site, desk: Sit) -> None:
    ada = desk(home).press("1").settled()
    site.store.close_round(1)
    site.store.open_round("random", range(6, 9))
    me = site.store.readers()[0].id
    # By another device of hers, and so the last one of the open round.
    site.store.record(Read(str(uuid4()), 6, me, "label", 2, 2))
    ada.press("u").settled()
    ada.page.locator(".side").get_by_text("The round of this answer is over").wait_for()
    assert events(site) == [("label", 0), ("label", 2)]
    # What she says now takes the place of what she said.
    ada.press("2").settled()
    assert sorted(read.label or 0 for read in site.store.current_reads()) == [1, 2]


def test_undo_takes_back_the_answer_of_this_device_though_another_one_came_later(
    home: str, site: Site, desk: Sit
) -> None:
    ada = desk(home).press("1").settled()
    desk(home).press("3").settled()
    ada.press("u").settled()
    assert [read.label for read in site.store.current_reads()] == [2]
