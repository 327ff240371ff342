"""How fast it is, against what else there is: `nox -s bench`."""
