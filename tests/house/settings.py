"""Settings as the house tests type them."""

from nemo_prorl.config.load import stated_values
from nemo_prorl.config.problems import missing_paths


def filled_in(root: str, overrides: list[str]) -> list[str]:
    """`overrides` with a value for everything that a user has to give."""
    missing = missing_paths(stated_values(root, overrides))
    return [*overrides, *(f"{'.'.join(map(str, path))}=given" for path in missing)]
