"""Write the generated parts of the documents: `nox -s generate`.

A part is between `<!-- generated: NAME -->` and `<!-- end -->`. With `--check`, nothing is written;
exit code 1 means that a file is not current.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rosey_dbsvc.operations import describe

ROOT: Final = Path(__file__).parents[1]
FILES: Final = ("README.md",)
PARTS: Final[dict[str, Callable[[], str]]] = {"operations": describe.markdown}
PART: Final = re.compile(r"(<!-- generated: (\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def updated(text: str) -> str:
    """Return the text with its generated parts made anew."""
    return PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n", text)


def main(*arguments: str) -> int:
    """Write the files that are not current, or name them; return the exit code."""
    old = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
    new = {name: updated(text) for name, text in old.items()}
    changed = [name for name in FILES if old[name] != new[name]]
    if arguments == ("--check",):
        sys.stdout.writelines(f"{name}: run `nox -s generate`\n" for name in changed)
        return int(bool(changed))
    for name in changed:
        (ROOT / name).write_text(new[name], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
