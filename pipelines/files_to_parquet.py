"""Load what is new in an account into Parquet: lake/openai_files/files/*.parquet.

python pipelines/files_to_parquet.py           the account of OPENAI_API_KEY
python pipelines/files_to_parquet.py --demo    a made-up account, without a key

A folder only ever gets new rows, so a file is loaded once it is settled: a minute after its creation.
For a bucket, give its URL (s3://, gs://, az://) and configure its credentials as dlt documents.
"""

import argparse

import dlt
from dlt.extract.source import DltSource

from files_source import openai_files
from files_source.demo import made_up


def load(source: DltSource) -> None:
    """Finish what an earlier run left behind, then load what is new."""
    pipeline = dlt.pipeline(
        "files_to_parquet",
        destination=dlt.destinations.filesystem("lake"),
        dataset_name="openai_files",
    )
    if pipeline.has_pending_data:
        pipeline.run()
    print(pipeline.run(source))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="load a made-up account")
    if parser.parse_args().demo:
        with made_up(files=2_000) as client:
            load(openai_files(client=client))
    else:
        load(openai_files())
