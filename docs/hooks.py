"""What MkDocs does not do by itself: pages that lie elsewhere in the repository, and formulas without scripts."""

from __future__ import annotations

import html
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Of the repository, beside docs/: published results, and what pages link to. At the same place in the site.
ELSEWHERE = ("leaderboards/**/*", "benchmarks/recipes/*", "benchmarks/statistics/*.py")
KINDS = (".md", ".csv", ".json", ".png", ".py", ".toml")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies elsewhere."""
    root = Path(config.docs_dir).parent
    for path in sorted(path for pattern in ELSEWHERE for path in root.glob(pattern)):
        if path.suffix in KINDS:
            files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they are in the repository, where docs/ is a folder, lead to the same places in the site.

    Plain replacement, in blocks of code as well; pages of docs/ lie in no folder below it.
    """
    if page.file.src_uri.startswith(("leaderboards/", "benchmarks/")):
        return re.sub(r"\]\(((?:\.\./)+)docs/", r"](\1", markdown)
    return markdown.replace("](../", "](")


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas as MathML, which browsers draw themselves."""

    def mathml(found: re.Match[str]) -> str:
        drawn = convert(html.unescape(found[2]), display="inline" if found[1] == "span" else "block")
        # Bars around a number of pixels; by themselves they are taken for an operator, with space on both sides.
        return drawn.replace("<mo>&#x0007C;</mo>", '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;</mo>')

    return _FORMULA.sub(mathml, content)
