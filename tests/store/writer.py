"""A process that answers until it is killed: `writer.py PLACE READER ROUND`.  Prints every id that is accepted."""

import sys
from uuid import uuid4

from overread.store import Read, Store


def main(place: str, reader: int, number: int) -> None:
    with Store.open(place, timeout=30) as store:
        print("ready", flush=True)
        lease = store.next_item(number, reader, 60)
        while lease is not None:
            read = Read(str(uuid4()), lease.item, reader, "label", 0, number)
            print("sent", read.client_id, flush=True)
            _, lease = store.record_and_next(read, 60)
            print("accepted", read.client_id, flush=True)
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
