"""A package by name, so that tests can share models and no installed package called `tests` is found first."""
