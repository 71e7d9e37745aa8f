"""The log format: one folder a log, Arrow IPC, memory-mapped, lossless."""
