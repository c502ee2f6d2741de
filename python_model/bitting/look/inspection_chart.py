"""The same as `bitting inspect` prints, as a picture: layers with their cycles, the scratch memory over time, the lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitting.look import drawing
from bitting.look.hiding import Seen
from bitting.look.inspection import Inspection

_ROW = 18
_COLOURS = {
    Seen.HIDDEN: "#2a9d5c",
    Seen.REFUSED: "#2a9d5c",
    Seen.PARTLY: "#c98f00",
    Seen.CLEAR: "#c8402f",
    Seen.UNNOTICED: "#c8402f",
}


def draw(path: Path, found: Inspection, title: str, mode: int) -> None:
    """Write the picture; `mode`: of the file.

    Raises:
        BittingError: if the file can not be written.
    """
    import altair

    parts = [_layers(found), _memory(found), _lock(found)]
    chart = altair.vconcat(*parts, title=title, spacing=28).resolve_scale(color="independent")
    drawing.write(path, chart.configure_view(stroke=None), mode)


def _layers(found: Inspection) -> Any:
    """Columns of text, and the cycles as bars."""
    import altair

    values = []
    for number, layer in enumerate(found.layers):
        share = found.share(layer)
        values.append(
            {
                "layer": number,
                "kind": layer.kind,
                "shape": layer.shape or "sealed",
                "tiles x codes": f"{layer.tiles} x {layer.codes}",
                "MACs": "sealed" if layer.macs is None else str(layer.macs),
                "reads, writes": "sealed" if layer.reads is None else f"{layer.reads}, {layer.writes}",
                "least": layer.cycles.least,
                "most": layer.cycles.least if layer.cycles.most is None else layer.cycles.most,
                "said": str(layer.cycles) + (f" ({100 * share:.1f}%)" if share is not None else ""),
            }
        )
    height = _ROW * len(values)
    base = altair.Chart(drawing.rows(values), height=height).encode(y=altair.Y("layer:O", axis=None))
    widths = {"layer": 30, "kind": 90, "shape": 120, "tiles x codes": 90, "MACs": 70, "reads, writes": 80}
    columns = [
        base.mark_text(align="left").encode(text=f"{name}:N", x=altair.value(0)).properties(
            width=width, title=altair.Title(name, fontSize=11, anchor="start")
        )
        for name, width in widths.items()
    ]  # fmt: skip
    bars = base.mark_bar(color="#4c78a8").encode(x=altair.X("least:Q", title=None))
    spread = base.mark_bar(color="#4c78a8", opacity=0.35).encode(x="least:Q", x2="most:Q")
    said = base.mark_text(align="left", dx=4).encode(x="most:Q", text="said:N")
    title = altair.Title("cycles" if found.cycles.known else "cycles, as far as known", fontSize=11, anchor="start")
    return altair.hconcat(*columns, (bars + spread + said).properties(width=260, title=title), spacing=6)


def _memory(found: Inspection) -> Any:
    """Addresses upwards, layers to the right: a box for each tenant, from who wrote it to who read it last."""
    import altair

    values = [
        {
            "whose": tenant.who,
            "since": tenant.since,
            "until": (len(found.layers) - 1 if tenant.until is None else tenant.until) + 1,
            "first": tenant.first,
            "end": tenant.last + 1,
        }
        for tenant in found.tenants
    ]
    base = altair.Chart(drawing.rows(values), width=620, height=220)
    layers = altair.Scale(domain=[-1, len(found.layers)], nice=False)
    x = altair.X("since:Q", title="layer (the input comes before layer 0)", scale=layers, axis=altair.Axis(tickMinStep=1))
    y = altair.Y("first:Q", title=f"address, of {found.spec.scratch_words} words")
    boxes = base.mark_rect(stroke="white", opacity=0.8).encode(
        x=x, x2="until:Q", y=y, y2="end:Q", color=altair.Color("whose:N", legend=None)
    )
    names = base.mark_text(align="left", baseline="bottom", dx=3, dy=-2).encode(x=x, y="first:Q", text="whose:N")
    sealed = any(tenant.until is None for tenant in found.tenants)
    return (boxes + names).properties(title="scratch memory" + ": all but the input's place is sealed" * sealed)


def _lock(found: Inspection) -> Any:
    import altair

    values = [{"row": number, "what": row.what, "is": row.seen, "how": row.how} for number, row in enumerate(found.hidings)]
    base = altair.Chart(drawing.rows(values), height=_ROW * len(values)).encode(y=altair.Y("row:O", axis=None))
    colours = altair.Scale(domain=list(_COLOURS), range=list(_COLOURS.values()))
    columns = [
        base.mark_text(align="left", fontWeight="bold" if name == "is" else "normal").encode(
            text=f"{name}:N",
            x=altair.value(0),
            color=altair.Color("is:N", scale=colours, legend=None) if name == "is" else altair.value("black"),
        ).properties(width=width)
        for name, width in (("what", 170), ("is", 60), ("how", 500))
    ]  # fmt: skip
    return altair.hconcat(*columns, title=f"what {found.lock} hides", spacing=6)
