"""Every property by name."""

from tests.fuzz import geometry, headers, models, windows

PROPERTIES = {
    f"{module.__name__.rpartition('.')[2]}: {check.__name__}": check
    for module in (geometry, headers, models, windows)
    for check in module.PROPERTIES
}
