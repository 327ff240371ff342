"""What a bot calls in place of a BotDatabase."""
