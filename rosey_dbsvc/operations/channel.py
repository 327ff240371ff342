"""Operations on the channel: user counts, high water marks and the bot's status."""

from typing import TypedDict

from msgspec import UNSET, UnsetType

from rosey_dbsvc.operations.base import Count, Event, Flag, Number, Text


class StatsUserCount(Event, frozen=True, gc=False):
    """Append to the history of user counts."""

    name = "stats.user_count"

    chat_count: Count = 0
    connected_count: Count = 0


class StatsHighWater(Event, frozen=True, gc=False):
    """Raise the high water marks that are exceeded."""

    name = "stats.high_water"

    chat_count: Count = 0
    connected_count: Count = 0


class StatusData(TypedDict, total=False):
    """The columns of `current_status` that a bot may set."""

    bot_name: Text | None
    bot_rank: Number
    bot_afk: Flag
    channel_name: Text | None
    current_chat_users: Count | None
    current_connected_users: Count | None
    playlist_items: Count | None
    current_media_title: Text | None
    current_media_duration: Number
    bot_start_time: Number
    bot_connected: Flag


class StatusUpdate(Event, frozen=True, gc=False):
    """Update the bot's current status from `status_data`; log a plain `status`."""

    name = "status.update"

    status_data: StatusData | UnsetType = UNSET
    status: Text = "unknown"
    details: Text = ""

    def log_line(self) -> str:
        """Return the plain status, if there is no `status_data`."""
        return f"Bot status: {self.status} - {self.details}" if self.status_data is UNSET else ""


OPERATIONS = (StatsUserCount, StatsHighWater, StatusUpdate)
