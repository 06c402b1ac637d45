"""Streams: the ordered events of many users, their files, and cuts of them."""

from penstock.traffic.streams.columns import Streams
from penstock.traffic.streams.stream_files import read_streams, write_streams
from penstock.traffic.streams.stream_parts import (
    join_streams,
    select_streams,
    split_streams,
    windows_of,
)

__all__ = [
    "Streams",
    "join_streams",
    "read_streams",
    "select_streams",
    "split_streams",
    "windows_of",
    "write_streams",
]
