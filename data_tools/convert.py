"""``drive convert DATASET RAW OUT``: raw recordings to logs, in parallel, resumable.

A data set is a module ``data_tools.<dataset>`` with three names:

``Options``
    A frozen dataclass; its fields become command line flags (tyro), its docstring their help. ``content`` (a
    ``ClassVar[tuple[str, ...]]``, default none) lists the fields that change what is written into a log (as opposed
    to which logs are written): a folder once begun with other values of these is refused, not mixed.
``list_logs(raw: Path, options: Options) -> list[Spec]``
    What is to be converted, sorted. A spec is any picklable object with a ``name: str``, the name of the log folder;
    it should be light, everything heavy is read in convert_log. Raises UserError where RAW is not this data set.
``convert_log(raw: Path, spec: Spec, out_root: Path, options: Options) -> None``
    Writes ``out_root / spec.name`` with drive.logs.writer.LogWriter. Called in a spawned process, one log at a time.
    Raises UserError for bad input: it becomes one line, the log is left out, the other logs are kept.

Finished logs (their manifest opens and their file sizes are right) are skipped, so the same command goes on after
a kill. Exit code: 0 all done, 1 some logs failed, 2 wrong usage or a folder that is not ours.
"""
