"""Draw what `files-source demo` prints as the README's picture."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parent.parent / ".readme" / "demo.svg"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("files-source")), "demo"]
        environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": "100", "DLT_DATA_DIR": folder}
        printed = subprocess.run(
            command, cwd=folder, env=environment, check=True, capture_output=True, text=True
        ).stdout
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print("[bold green]$[/] [bold]make demo[/]")
    console.print(Text.from_ansi(printed.rstrip()), soft_wrap=True)
    PICTURE.write_text(console.export_svg(title="make demo"))


if __name__ == "__main__":
    main()
