"""A package as a notebook shows it: a table, and the sharing picture. Text of the package is escaped."""

from __future__ import annotations

import html

from plait._results import Summary

_OWN, _SHARED = "#e07b39", "#3b7dd8"


def size_text(count: int) -> str:
    """``1.5 MiB``"""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1023.95 or unit == "GiB":
            return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return ""


def _picture(summary: Summary) -> str:
    """A bar for each function: what only it uses beside what others use too."""
    largest = max((one.weight_bytes for one in summary.functions), default=0)
    if not largest:
        return ""
    width, height, left = 420, 22, 150
    rows = []
    for number, one in enumerate(summary.functions):
        y = number * height
        shared, own = (width * part / largest for part in (one.weight_bytes - one.own_bytes, one.own_bytes))
        rows.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end" font-size="12" fill="currentColor">{html.escape(one.name)}</text>'
                    f'<rect x="{left}" y="{y + 4}" width="{shared:.1f}" height="14" fill="{_SHARED}"><title>'
                    f'{size_text(one.weight_bytes - one.own_bytes)} shared</title></rect>'
                    f'<rect x="{left + shared:.1f}" y="{y + 4}" width="{own:.1f}" height="14" fill="{_OWN}"><title>'
                    f'{size_text(one.own_bytes)} own</title></rect>')
    return (f'<svg width="{left + width + 10}" height="{height * len(summary.functions)}" role="img" '
            f'aria-label="weights of each function">{"".join(rows)}</svg>'
            f'<div><span style="color:{_SHARED}">■</span> shared with another function '
            f'<span style="color:{_OWN}">■</span> its own</div>')


def package_html(name: str, summary: Summary) -> str:
    """The table of functions, the bars, and the bytes that each two have in common."""
    def cell(text: str) -> str:
        return f"<td style='text-align:left'>{text}</td>"

    def values(those: tuple[object, ...]) -> str:
        return "<br>".join(html.escape(str(one)) for one in those)
    rows = "".join(
        "<tr>" + cell("<b>" + html.escape(one.name) + "</b>" + (" (default)" if one.name == summary.default_function and
                                                             len(summary.functions) > 1 else ""))
        + cell(values(one.inputs)) + cell(values(one.outputs)) + cell(values(one.states)) + cell(str(sum(one.operations.values())))
        + cell(size_text(one.weight_bytes)) + cell(size_text(one.own_bytes)) + "</tr>"
        for one in summary.functions)
    head = "".join(f"<th style='text-align:left'>{title}</th>"
                   for title in ("function", "inputs", "outputs", "states", "operations", "weights", "its own"))
    text = (f"<div><b>{html.escape(name)}</b>: {len(summary.functions)} functions, weights {size_text(summary.unique_bytes)}; "
            f"without sharing {size_text(summary.referenced_bytes)}</div><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    if len(summary.functions) > 1:
        names = [html.escape(one.name) for one in summary.functions]
        matrix = "".join("<tr><th>" + names[i] + "</th>" + "".join(cell(size_text(shared)) for shared in row) + "</tr>"
                         for i, row in enumerate(summary.sharing))
        text += (_picture(summary) + "<details><summary>weights in common, function by function</summary><table><thead><tr><th></th>"
                 + "".join(f"<th>{one}</th>" for one in names) + f"</tr></thead><tbody>{matrix}</tbody></table></details>")
    return text
