"""The order of the steps: what must be done before one begins.  Asked before anything heavy is imported."""

from overread.errors import RunError
from overread.project.folder import Project, identity_of
from overread.project.news import news_of
from overread.project.next_step import next_step
from overread.project.words import command

__all__ = ["check_learn", "check_select", "check_update", "complete_round", "makes_no_difference", "nothing_left"]

UNASKED = "none: reads that came between rounds"
"""In place of a sampler, of a round whose items nobody was asked for."""


def check_learn(project: Project) -> None:
    """RunError where phase 1 is done."""
    if project.rounds:
        raise RunError(f"phase 1 of {project.folder} is done. {next_step(project)}")


def check_select(project: Project) -> int:
    """The number of the round that a selection begins.

    Errors: RunError before phase 1, while another round is open, where nothing is left to read, and as of `_number`.
    """
    number = _number(project)
    if len(project.store.rounds()) == number:
        update = command("update", project.folder)
        raise RunError(
            f"round {number} is being read: finish it with `{update}` once everything is read, or end it as it is with "
            f"`{update} --early`, before the next one"
        )
    if news_of(project).all_read:
        raise nothing_left(project)
    return number


def nothing_left(project: Project) -> RunError:
    """What is said where every item is read."""
    return RunError(f"nothing is left to read in {project.folder}. {next_step(project)}")


def check_update(project: Project, early: bool) -> int:
    """The number of the round that an update completes: the one that is being read, else one of its own.

    Errors: RunError where reads are missing and it is not `early`, where no round is open and nothing has changed since
    the last update, before phase 1, and as of `_number`.
    """
    number = _number(project)
    if len(project.store.rounds()) != number:
        if not news_of(project).changed:
            raise RunError(
                "no round is being read, and no label from readers has changed since the last update. "
                f"{next_step(project)}"
            )
        return number
    done = project.store.progress(number)
    missing = done.items - done.finished
    if missing and not early:
        raise RunError(
            f"{missing} of the {done.items} items of round {number} {'has' if missing == 1 else 'have'} not all reads "
            f"that were asked for: have them read with `{command('serve', project.folder)}`, or go on without them "
            f"with `{command('update', project.folder, '--early')}`"
        )
    return number


def makes_no_difference(project: Project) -> bool:
    """Whether no round is open, and what readers say is what the last update learnt, by the rule of consensus of now.

    Errors: RunError as of `_number`.
    """
    return len(project.store.rounds()) != _number(project) and not news_of(project).changed


def complete_round(project: Project) -> None:
    """Close the round of the last entry in the database; one that an update made of its own is added there first.

    Again: no effect.  So an update that was killed behind its last file is completed by the next step.
    """
    done, stored = len(project.rounds) - 1, project.store.rounds()
    if done and len(stored) == done - 1 and project.rounds[-1].get("unasked"):
        stored.append(project.store.open_round(UNASKED, []))
    if done and len(stored) == done and stored[-1].open:
        project.store.close_round(done)


def _number(project: Project) -> int:
    """The number of the round that comes next, or is being read.

    RunError before phase 1, after a change of the configuration, and where database and files do not fit.
    """
    folder = project.folder
    if not project.rounds:
        raise RunError(f"phase 1 comes first: `{command('learn', folder)}`")
    if project.state["config_id"] != identity_of(project.config):
        raise RunError(f"config.yaml of {folder} has changed since phase 1: put it back, or begin another project")
    complete_round(project)
    stored, done = len(project.store.rounds()), len(project.rounds) - 1
    if stored not in (done, done + 1):
        raise RunError(
            f"the database of {folder} has {stored} rounds and its files {done}: they are not of the same time, "
            "restore both"
        )
    return done + 1
