"""A simulated channel, for people who want to see the service at work."""

from rosey_dbsvc.cli.demo.showing import Demo as Demo
from rosey_dbsvc.cli.demo.showing import show as show
