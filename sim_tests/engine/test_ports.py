"""Every port of every component has a meaning, and the signature, the page and the sidecar say the same of it."""

from pathlib import Path

import pytest
from amaranth.lib import wiring

from bitting.unit.protocol import fuse_words
from bitting.unit.spec import PRESETS
from bitting_rtl.engine.export import sidecar
from bitting_rtl.engine.top import Top
from bitting_rtl.lib import ports
from bitting_rtl.lib.ports import Port, Ports

pytestmark = pytest.mark.filterwarnings("ignore:.*created but never used")

PAGE = Path(__file__).parents[2] / "docs" / "rtl-ports.md"
COMPONENTS = list(ports.components())
DERIVED = [kind for kind in COMPONENTS if kind.__mro__[1] is not wiring.Component]
OWN = [kind for kind in COMPONENTS if kind not in DERIVED]


def test_all_components_are_there():
    rtl = Path(ports.__file__).parents[1]
    written = sum(path.read_text().count("(wiring.Component):") for path in rtl.rglob("*.py"))
    assert len(OWN) == written
    assert {kind.__name__ for kind in DERIVED} == {"Int8Engine", "ShuffledCodes"}


@pytest.mark.parametrize("spec", [ports.EXAMPLE, *ports.OTHERS.values()], ids=lambda spec: spec.name)
@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_every_port_has_a_meaning_and_its_row(kind, spec):
    component = ports.example(kind, spec)
    assert isinstance(component.signature, Ports)
    documented = component.signature.ports
    assert documented.keys() == set(component.signature.members)
    rows = component.signature.table().splitlines()[2:]
    for (name, port), row in zip(documented.items(), rows, strict=True):
        assert port.meaning.strip() and port.timing.strip(), name
        assert component.signature.members[name] == port.member
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells == [f"`{name}`", port.direction, port.shape, port.meaning, port.timing]


@pytest.mark.parametrize(("kind", "parent"), [(kind, kind.__mro__[1]) for kind in DERIVED], ids=lambda kind: kind.__name__)
def test_a_derived_component_has_the_ports_of_its_parent(kind, parent):
    """The page says so. The int8 engine wants 8-bit codes, so both are made for a family that has them."""
    assert set(kind(PRESETS["wide"]).signature.members) == set(parent(PRESETS["wide"]).signature.members)


def test_the_sidecar_lists_the_ports_of_the_top():
    for baked, top in ((False, Top(ports.EXAMPLE)), (True, Top(ports.EXAMPLE, fuses=fuse_words(bytes(16))))):
        listed = {entry.pop("name"): entry for entry in sidecar(ports.EXAMPLE, baked)["ports"]}
        assert listed == {
            name: {"direction": port.direction, "width": port.width, "meaning": port.meaning, "timing": port.timing}
            for name, port in top.signature.ports.items()
        }
        assert [name for name in listed if "fuse" in name] == ([] if baked else ["fuse_address", "fuse_data"])


def test_the_page_is_that_of_the_sources():
    command = "python -m bitting_rtl.lib.ports > docs/rtl-ports.md"
    assert PAGE.read_text() == ports.page(), f"docs/rtl-ports.md and the components differ; to mend it: {command}"


@pytest.mark.parametrize("spec", [ports.EXAMPLE, *ports.OTHERS.values()], ids=lambda spec: spec.name)
@pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)
def test_the_page_has_every_port_of_every_kind_of_family(kind, spec):
    section = PAGE.read_text().partition(f"\n## {kind.__name__}\n")[2].partition("\n## ")[0]
    for row in ports.example(kind, spec).signature.table().splitlines():
        assert row in section


def test_a_port_is_a_value_or_a_stream():
    nested = Port(wiring.In(wiring.Signature({"x": wiring.In(1)})), "several ports in one")
    with pytest.raises(TypeError, match="list its members one by one"):
        Ports({"nested": nested}).table()
