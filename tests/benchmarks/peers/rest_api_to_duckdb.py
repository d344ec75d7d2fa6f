"""dlt's own source for any REST API, set up for this one."""

import os

import dlt
from dlt.sources.rest_api import rest_api_source

if __name__ == "__main__":
    source = rest_api_source(
        {
            "client": {
                "base_url": os.environ["OPENAI_BASE_URL"],
                "auth": {"type": "bearer", "token": os.environ["OPENAI_API_KEY"]},
                "paginator": {
                    "type": "cursor",
                    "cursor_path": "last_id",
                    "cursor_param": "after",
                    "has_more_path": "has_more",
                },
            },
            "resources": [
                {
                    "name": "files",
                    "columns": {
                        "created_at": {"data_type": "timestamp"},
                        "expires_at": {"data_type": "timestamp"},
                    },
                    "endpoint": {
                        "path": "files",
                        "params": {"limit": 10_000, "order": "asc"},
                        "data_selector": "data",
                    },
                }
            ],
        }
    )
    dlt.pipeline("files", destination=dlt.destinations.duckdb("inventory.duckdb"), dataset_name="openai_files").run(
        source
    )
