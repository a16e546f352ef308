"""A sandbox for code that a model wrote, and for the tests that the code has to pass.

Layers, each detected by a trial run: a separate session with a process group that is killed; an unprivileged user if
the caller is root; rlimits; a supervisor: when it or its caller ends, all processes below it end; user, network,
IPC, PID and mount namespaces with a separate root; Landlock; a separate session keyring; a seccomp
filter that allows what CPython needs (`syscalls`); a watch on the memory of all processes together. The minimum is the
session, rlimits and namespaces. Code runs without this minimum only with `allow_unsandboxed`.

The code and its tests never share a process, see `reasoner.sandbox.inner`.

NOT covered:
- Bugs of the kernel in the allowed system calls.
- Side channels: caches, timing, load. The clock, the machine's name and its processor can be read.
- World-readable files below /usr and in the interpreter's directory, and without Landlock a new /proc.
- Processor time of the machine: each process has `cpu_seconds`, and up to `processes` of them run for `seconds`.
- Memory beyond `memory_mib` between two checks, some twenty per second; without the watch, up to
  `processes` times `memory_mib`. Not counted: the kernel's memory for pipes, mappings and descriptors, bounded by
  `processes` times `open_files` and the kernel's limits for a user, and the files of the scratch directory, bounded by
  `disk_mib`.
- Without seccomp (on a processor other than x86-64 and ARM64): memory that belongs to no process, such as shared memory
  segments, and the settings of the supervisor, such as its limits.
- Locks of files: each one is granted and excludes nobody, so processes of one program that write one file, or one file
  of SQLite, must take turns by other means.
- A wrong answer that passes: tests prove only what they check, and code may recognise them by their arguments.
- With `allow_unsandboxed` on a machine that lacks layers: whatever the missing ones would stop. Rlimits and the process
  group remain, but a daemon in its own session survives, files and network are open, and files may fill the disk.
"""
