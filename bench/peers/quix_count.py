"""Quix Streams on the job of `bench/throughput.py`.

    python quix_count.py cells BOOTSTRAP TOPIC RECORDS PER_RECORD

A dict of our own in `update`, event by event. Its windows want a keyed topic and skip
messages without a key in silence, so they cannot do this job on this data.
"""

import os
import sys
import tempfile
from importlib.metadata import version

from cells import Cells, decoder
from quixstreams import Application
from stopwatch import Stopwatch


def main() -> None:
    _, bootstrap, topic, records, per_record = sys.argv[1:]
    release = f"Quix Streams {version('quixstreams')}"
    watch = Stopwatch(int(records), int(per_record), version=release)
    counted, decode = Cells(), decoder(int(per_record))
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"quix-{os.getpid()}",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        state_dir=tempfile.mkdtemp(),
        loglevel="ERROR",
        consumer_extra_config={"fetch.queue.backoff.ms": 5},
    )

    def count(value: bytes) -> None:
        for event in decode(value):
            counted.add(event)
        watch.add()

    app.dataframe(app.topic(topic, value_deserializer="bytes")).update(count)
    app.run()


if __name__ == "__main__":
    main()
