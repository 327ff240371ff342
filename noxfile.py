"""Checks and tools of the project, each in an environment of its own: `nox -l` lists them."""

import nox

nox.options.sessions = ["tests", "tests-cluster", "docs", "lint", "types"]
nox.options.error_on_missing_interpreters = True

PROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str) -> None:
    """Install the package with its extras, and these dependency groups."""
    requirements = nox.project.dependency_groups(PROJECT, *groups)
    session.install("-e", ".[embedded,metrics]", *requirements)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, except those of the sessions `tests-cluster` and `docs`."""
    install(session, "tests")
    session.run("pytest", *session.posargs)


@nox.session(name="tests-cluster")
def tests_cluster(session: nox.Session) -> None:
    """Run the tests that kill processes at random moments, or need three servers."""
    install(session, "tests")
    session.run("pytest", "-m", "kills or cluster", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site in build/docs, and run the commands and programs of the documents."""
    install(session, "docs", "tests")
    session.run("sphinx-build", "-n", "-W", "--keep-going", "-q", "docs", "build/docs")
    session.run("pytest", "-m", "documents", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format, and the Dockerfile."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("hadolint", "deploy/Dockerfile")


@nox.session
def types(session: nox.Session) -> None:
    """Check types: all code with mypy, and a bot that uses the client with pyright."""
    install(session, "types")
    session.run("mypy")
    session.run("pyright", "tests/typing")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the performance; the results are in build/bench."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def generate(session: nox.Session) -> None:
    """Write the generated parts of the documents."""
    install(session)
    session.run("python", "docs/generate.py", *session.posargs)


@nox.session
def picture(session: nox.Session) -> None:
    """Run the demo in a terminal, and write docs/demo.svg."""
    install(session)
    session.run("python", "docs/picture.py", env={"PYTHONPATH": "tests"})
