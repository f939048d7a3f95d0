"""Who may read: adding readers, and changing their roles and passwords."""

from overread.errors import ConfigError
from overread.store import Reader, Role, Store
from overread.store.texts import reader_name, tidy_name
from overread.web.passwords import hash_password

__all__ = ["describe_people", "find_reader", "remove_reader", "set_reader"]


def find_reader(store: Store, name: str) -> Reader | None:
    """The reader with this name, active or not."""
    return next((reader for reader in store.readers() if reader.name == tidy_name(name)), None)


def set_reader(store: Store, name: str, role: Role | None, password: str | None) -> Reader:
    """The reader with this name, added where there is none, and active.

    role: None leaves it as it was; a new one is a reader.  password: None leaves it as it was.  DataError for a name,
    ConfigError for a password that cannot be.
    """
    tidy = reader_name(name)
    password_hash = None if password is None else hash_password(password)
    reader = find_reader(store, tidy)
    if reader is None:
        return store.add_reader(tidy, role or "reader", password_hash)
    return store.change_reader(reader.id, role=role, password_hash=password_hash, active=True)


def remove_reader(store: Store, name: str) -> Reader:
    """The reader with this name, who cannot sign in any more; his reads stay.  ConfigError where there is none."""
    reader = find_reader(store, name)
    if reader is None:
        raise ConfigError(f"there is no reader {tidy_name(name)!r}; `overread reader DIR` lists them")
    return store.change_reader(reader.id, active=False)


def describe_people(store: Store) -> list[str]:
    """A line for every reader."""
    return [
        f"{reader.name}: "
        + ", ".join(
            [
                reader.role,
                "with a password" if reader.password_hash else "without a password",
                *([] if reader.active else ["removed"]),
            ]
        )
        for reader in store.readers()
    ]
