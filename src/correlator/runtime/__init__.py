"""The world: logs, clocks, files and sockets around the pure core."""
