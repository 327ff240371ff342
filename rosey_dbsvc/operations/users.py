"""Operations on users and their sessions."""

from rosey_dbsvc.operations.base import Event, Username


class UserJoined(Event, frozen=True, gc=False):
    """Start a session for the user."""

    name = "user.joined"

    username: Username


class UserLeft(Event, frozen=True, gc=False):
    """End the user's session and add its length to the total."""

    name = "user.left"

    username: Username


OPERATIONS = (UserJoined, UserLeft)
