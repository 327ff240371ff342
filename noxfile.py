"""`nox -s tests lint types`: each in an environment of its own."""

import nox

nox.options.sessions = ["tests", "tests-cluster", "docs", "lint", "types"]
nox.options.error_on_missing_interpreters = True

PROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    """Return what the dependency group of the project asks for."""
    return list(nox.project.dependency_groups(PROJECT, name))


@nox.session
def tests(session: nox.Session) -> None:
    session.install("-e", ".[embedded,metrics]", *group("tests"))
    session.run("pytest", *session.posargs)


@nox.session(name="tests-cluster")
def tests_cluster(session: nox.Session) -> None:
    session.install("-e", ".[embedded,metrics]", *group("tests"))
    session.run("pytest", "-m", "kills or cluster", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Make the site, and run what the documents say."""
    session.install("-e", ".[embedded,metrics]", *group("docs"), *group("tests"))
    session.run("sphinx-build", "-n", "-W", "--keep-going", "-q", "docs", "build/docs")
    session.run("pytest", "-m", "documents", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("hadolint", "deploy/Dockerfile")


@nox.session
def types(session: nox.Session) -> None:
    session.install("-e", ".[embedded,metrics]", *group("types"))
    session.run("mypy")
    session.run("pyright", "tests/typing")


@nox.session
def bench(session: nox.Session) -> None:
    session.install("-e", ".[embedded,metrics]", *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)
