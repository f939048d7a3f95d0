"""Which command comes next."""

from overread.project.folder import Project
from overread.project.news import news_of
from overread.project.queue_file import table_file
from overread.project.words import command, counted

__all__ = ["next_step"]

BUDGET = "50"
"""What messages propose, so that the command works as it stands."""


def next_step(project: Project, *, served: bool = False) -> str:
    """One sentence or two with the command that comes next.

    served: for somebody who has the page open, and need not be told of `overread serve`.
    """
    folder = project.folder
    if not project.rounds:
        return f"Next: {command('learn', folder)}"
    update = command("update", folder)
    rounds = project.store.rounds()
    if not rounds or not rounds[-1].open or rounds[-1].number < len(project.rounds):
        return _between_rounds(project, update)
    done = project.store.progress(rounds[-1].number)
    how_far = (
        f"Round {rounds[-1].number}: {done.finished} of {counted(done.items, 'item')} "
        f"{'is' if done.finished == 1 else 'are'} read, {counted(done.answered, 'read')}."
    )
    if done.finished == done.items:
        return f"{how_far} Next: {update}"
    if served:
        return f"{how_far} Next: read the others here, then {update}"
    table = command("import", folder, table_file(folder, rounds[-1].number), "--reader", "NAME")
    return f"{how_far} Next: {command('serve', folder)}, or {table}, then {update}"


def _between_rounds(project: Project, update: str) -> str:
    news = news_of(project)
    if news.changed:
        come = f"{counted(news.changed, 'label')} from readers {'is' if news.changed == 1 else 'are'} new or changed"
        return f"{come} since the last update. Next: {update}"
    export = command("export", project.folder, "--out", "cleaned.csv")
    if news.all_read:
        return f"Every item is read. Next: {export}"
    return f"Next: {command('select', project.folder, '--budget', BUDGET)}, or {export}"
