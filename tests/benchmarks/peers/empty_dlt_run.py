"""What a run of dlt takes that has nothing to load, into a database that it loaded into before."""

import sys

import dlt


@dlt.resource(name="files")
def rows():
    if "--first" in sys.argv:
        yield {"id": "file-1"}


if __name__ == "__main__":
    dlt.pipeline("files", destination=dlt.destinations.duckdb("inventory.duckdb"), dataset_name="openai_files").run(
        rows
    )
