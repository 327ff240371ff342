"""Groups of errors, as people see them."""

import pytest

from rosey_dbsvc.errors import ConnectionLost, NotADatabase, sole_error


def test_one_error_is_itself_however_deep_it_is() -> None:
    error = NotADatabase()
    with pytest.raises(NotADatabase) as raised, sole_error():
        raise ExceptionGroup("", [ExceptionGroup("", [error])])
    assert raised.value is error


def test_of_several_of_ours_the_first_stands_for_them() -> None:
    first = ConnectionLost("first")
    with pytest.raises(ConnectionLost) as raised, sole_error():
        raise ExceptionGroup("", [first, ExceptionGroup("", [NotADatabase("second")])])
    assert raised.value is first


@pytest.mark.parametrize(
    "errors", [[NotADatabase(), ValueError("a bug")], [ValueError("one"), ValueError("another")]]
)
def test_with_one_that_is_not_they_stay_a_group(errors: list[Exception]) -> None:
    with pytest.raises(ExceptionGroup) as raised, sole_error():
        raise ExceptionGroup("", errors)
    assert [*raised.value.exceptions] == errors
